#include "glet/net/served_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "glet/error.h"

namespace glet::net {
namespace {

std::string describe(const exec::TensorSpec& spec) {
  std::string text = std::string(exec::dtype_name(spec.dtype)) + " [";
  for (std::size_t i = 0; i < spec.shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(spec.shape[i]);
  }
  return text + "]";
}

std::string list_names(const std::vector<exec::TensorSpec>& specs) {
  std::string text;
  for (const exec::TensorSpec& spec : specs) {
    text += (text.empty() ? "" : ", ") + spec.name + " " + describe(spec);
  }
  return text;
}

}  // namespace

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 64;
  std::string out = "'";
  for (const char c : text.substr(0, kLongest)) out += c >= ' ' && c != 127 ? c : '?';
  return out + (text.size() > kLongest ? "...'" : "'");
}

ServedModel::ServedModel(std::string name, exec::Signature signature, double slo_ms)
    : name_(std::move(name)),
      signature_(std::move(signature)),
      slo_ms_(slo_ms),
      encoded_inputs_(encode_specs(signature_.inputs)),
      encoded_outputs_(encode_specs(signature_.outputs)) {
  if (!std::isfinite(slo_ms) || slo_ms <= 0) {
    throw ArgumentError("[ServedModel] model '" + name_ + "': slo_ms " + std::to_string(slo_ms) +
                        "; a positive number of milliseconds is valid");
  }
}

std::optional<std::string> ServedModel::refuse(const ClientHeader& header,
                                               std::vector<Message>& frames,
                                               DeviceTensors& device) const {
  device = {};
  if (header.inputs.empty()) {
    return "model '" + name_ + "': the header has no `inputs`; expected " +
           list_names(signature_.inputs);
  }
  const bool usual =
      header.inputs.size() == encoded_inputs_.size() &&
      std::memcmp(header.inputs.data(), encoded_inputs_.data(), encoded_inputs_.size()) == 0;
  if (!usual) {
    if (auto reason = refuse_claims(header.inputs, frames, device)) return reason;
  }
  return refuse_sizes(frames, device);
}

std::optional<std::string> ServedModel::refuse_claims(std::span<const std::byte> inputs,
                                                      std::vector<Message>& frames,
                                                      DeviceTensors& device) const {
  std::vector<exec::TensorSpec> claims;
  std::vector<bool> on_device;
  try {
    claims = decode_specs(inputs, &on_device);
  } catch (const GletError& e) {
    return "model '" + name_ + "': " + e.what();
  }
  const auto& wanted = signature_.inputs;
  std::vector<std::size_t> place(wanted.size(), claims.size());
  for (std::size_t c = 0; c < claims.size(); ++c) {
    const auto found = std::find_if(wanted.begin(), wanted.end(),
                                    [&](const auto& spec) { return spec.name == claims[c].name; });
    if (found == wanted.end()) {
      return "model '" + name_ + "' has no input " + quoted(claims[c].name) + "; expected " +
             list_names(wanted);
    }
    std::size_t& slot = place[static_cast<std::size_t>(found - wanted.begin())];
    if (slot != claims.size()) {
      return "model '" + name_ + "' input " + quoted(claims[c].name) + " is given twice";
    }
    slot = c;
    if (claims[c].dtype != found->dtype || claims[c].shape != found->shape) {
      return "model '" + name_ + "' input '" + found->name + "': got " + describe(claims[c]) +
             ", expected " + describe(*found);
    }
    if (!on_device[c]) continue;
    const auto number = static_cast<std::size_t>(found - wanted.begin());
    if (found->is_bytes() || number >= DeviceTensors::kMost) {
      return "model '" + name_ + "' input '" + found->name + "' cannot be device memory: " +
             (found->is_bytes() ? "it is of strings" : "only the first 16 inputs can");
    }
    device.inputs |= static_cast<std::uint16_t>(1 << number);
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (place[i] == claims.size()) {
      return "model '" + name_ + "' input '" + wanted[i].name + "' is missing; expected " +
             list_names(wanted);
    }
  }
  if (frames.size() != wanted.size()) return refuse_sizes(frames, device);
  std::vector<Message> ordered;
  ordered.reserve(frames.size());
  for (const std::size_t from : place) ordered.push_back(std::move(frames[from]));
  frames = std::move(ordered);
  return std::nullopt;
}

std::optional<std::string> ServedModel::refuse_sizes(std::span<const Message> frames,
                                                     DeviceTensors device) const {
  const auto& wanted = signature_.inputs;
  if (frames.size() != wanted.size()) {
    return "model '" + name_ + "': " + std::to_string(frames.size()) + " tensor frames for " +
           std::to_string(wanted.size()) + " inputs; expected one each of " + list_names(wanted);
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (DeviceTensors::has(device.inputs, i)) {
      const auto there = exec::read_device_frame(frames[i].bytes());
      if (there && there->bytes == wanted[i].bytes()) continue;
      return "model '" + name_ + "' input '" + wanted[i].name + "': " +
             (there ? std::to_string(there->bytes) + " bytes of device memory, expected " +
                          std::to_string(wanted[i].bytes())
                    : "its frame does not name device memory") +
             " (" + describe(wanted[i]) + ")";
    }
    if (wanted[i].is_bytes()) {
      const std::string wrong = wanted[i].misfit(frames[i].bytes());
      if (wrong.empty()) continue;
      return "model '" + name_ + "' input '" + wanted[i].name + "': its frame " + wrong + " (" +
             describe(wanted[i]) + ")";
    }
    if (frames[i].size() == wanted[i].bytes()) continue;
    return "model '" + name_ + "' input '" + wanted[i].name + "': frame of " +
           std::to_string(frames[i].size()) + " bytes, expected " +
           std::to_string(wanted[i].bytes()) + " (" + describe(wanted[i]) + ")";
  }
  return std::nullopt;
}

std::optional<std::string> ServedModel::refuse_outputs(std::span<const Message> frames,
                                                       DeviceTensors device) const {
  const auto& wanted = signature_.outputs;
  bool fits = frames.size() == wanted.size();
  for (std::size_t i = 0; fits && i < wanted.size(); ++i) {
    fits = DeviceTensors::has(device.outputs, i) ? frames[i].size() == 0
                                                 : wanted[i].misfit(frames[i].bytes()).empty();
  }
  if (fits) return std::nullopt;
  return "model '" + name_ + "': its executor answered with " + std::to_string(frames.size()) +
         " tensors that do not fit " + list_names(wanted);
}

std::optional<std::string> nearest_name(std::string_view wanted,
                                        const std::vector<std::string>& names) {
  constexpr std::size_t kLongest = 128;  // the distance is quadratic, and the name is a peer's
  if (wanted.size() > kLongest) return std::nullopt;
  std::optional<std::string> best;
  std::size_t best_distance = wanted.size() / 2 + 1;
  for (const std::string& name : names) {
    if (name.size() > kLongest) continue;
    std::vector<std::size_t> row(name.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= wanted.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= name.size(); ++j) {
        const std::size_t change = diagonal + (wanted[i - 1] == name[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = name;
    }
  }
  return best;
}

}  // namespace glet::net
