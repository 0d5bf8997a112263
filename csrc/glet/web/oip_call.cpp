#include "glet/web/oip_call.h"

#include <algorithm>
#include <cstring>

#include "glet/web/oip_rows.h"

namespace glet::web {
namespace {

constexpr std::size_t kBorrowFrom = 4 << 10;  // smaller rows are copied: a holder costs more
constexpr double kMicrosPerMilli = 1e3;
// A row of a call is submitted as (generation, index, row) of the call's tag.
constexpr int kRowBits = 8;
static_assert(kMaxRows <= 1 << kRowBits);

std::uint64_t row_call(std::uint64_t tag, std::size_t row) {
  return (tag >> 32 << 32) | (tag & 0xffffffff) << kRowBits | row;
}
std::uint64_t tag_of(std::uint64_t row_call) {
  return (row_call >> 32 << 32) | (row_call & 0xffffffff) >> kRowBits;
}
std::size_t row_of(std::uint64_t row_call) {
  return row_call & ((1 << kRowBits) - 1);
}

OipCode code_of(exec::Outcome outcome) {
  switch (outcome) {
    case exec::Outcome::kLate:
      return OipCode::kLate;
    case exec::Outcome::kFull:
      return OipCode::kFull;
    case exec::Outcome::kUnavailable:
      return OipCode::kUnavailable;
    case exec::Outcome::kInvalid:
      return OipCode::kInvalid;
    default:
      return OipCode::kFailed;
  }
}

std::string shape_text(const std::vector<std::int64_t>& shape, bool batched) {
  std::string text = batched ? "[-1" : "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 || batched ? ", " : "") + std::to_string(shape[i]);
  }
  return text + "]";
}

std::string describe(const exec::TensorSpec& spec) {
  return std::string(oip_name(oip_type(spec.dtype))) + " " + shape_text(spec.shape, true) + " or " +
         shape_text(spec.shape, false);
}

template <typename Specs>
auto find_spec(const Specs& specs, std::string_view name) {
  return std::find_if(specs.begin(), specs.end(),
                      [name](const exec::TensorSpec& spec) { return spec.name == name; });
}

std::string not_there(const net::ServedModel& served, std::string_view what, std::string_view name,
                      const std::vector<exec::TensorSpec>& specs) {
  std::vector<std::string> names;
  std::string all;
  for (const exec::TensorSpec& spec : specs) {
    names.push_back(spec.name);
    all += (all.empty() ? "'" : ", '") + spec.name + "'";
  }
  const auto near = net::nearest_name(name, names);
  return "model '" + served.name() + "' has no " + std::string(what) + " " + net::quoted(name) +
         (near ? "; did you mean '" + *near + "'?" : "; valid: " + all);
}

// Of a tensor in device memory; `first` is row 0 of it.
std::string row_frame(exec::DeviceTensor first, std::size_t row) {
  first.offset += first.bytes * row;
  return exec::device_frame(first);
}

net::Message frame_of(std::span<const std::byte> bytes, const std::shared_ptr<const void>& keep) {
  if (keep && bytes.size() >= kBorrowFrom) return net::Message::borrowed(bytes, keep);
  return net::Message(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace

std::size_t OipOutput::bytes() const {
  std::size_t total = 0;
  for (const net::Message& row : rows) total += row.size();
  return total;
}

std::optional<OipRefusal> refuse_model(const net::DoorHost& host, std::string_view model,
                                       std::string_view version) {
  if (host.find_model(model) == nullptr) {
    if (!host.starting()) return OipRefusal{OipCode::kNotFound, host.unknown_model(model)};
    return OipRefusal{OipCode::kUnavailable, "no model " + net::quoted(model) +
                                                 " yet: the frontend has just started and waits "
                                                 "for its backends"};
  }
  if (version.empty() || version == "1") return std::nullopt;
  return OipRefusal{OipCode::kNotFound, "model " + net::quoted(model) + " has no version " +
                                            net::quoted(version) + "; valid: '1'"};
}

// ---- the check ----

std::optional<std::string> OipCalls::place(const net::ServedModel& served,
                                           const OipRequest& request, Plan& plan) const {
  const auto& specs = served.signature().inputs;
  plan.places.assign(specs.size(), request.inputs.size());
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    const std::string_view name = request.inputs[i].name;
    const auto spec = find_spec(specs, name);
    if (spec == specs.end()) return not_there(served, "input", name, specs);
    std::size_t& slot = plan.places[static_cast<std::size_t>(spec - specs.begin())];
    if (slot != request.inputs.size()) {
      return "model '" + served.name() + "' input '" + spec->name + "' is given twice";
    }
    slot = i;
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (plan.places[i] != request.inputs.size()) continue;
    return "model '" + served.name() + "' input '" + specs[i].name + "' is missing; expected " +
           describe(specs[i]);
  }
  return std::nullopt;
}

std::optional<std::string> OipCalls::cut(const net::ServedModel& served, OipInput& input,
                                         const exec::TensorSpec& spec, Plan& plan) {
  const std::string where = "model '" + served.name() + "' input '" + spec.name + "': ";
  const OipType type = oip_type(spec.dtype);
  const auto& shape = input.shape;
  const bool batched = shape.size() == spec.shape.size() + 1;
  const bool fits = (batched || shape.size() == spec.shape.size()) &&
                    std::equal(spec.shape.rbegin(), spec.shape.rend(), shape.rbegin());
  if (input.datatype != oip_name(type) || !fits) {
    return where + "got " + net::quoted(input.datatype) + " " + shape_text(shape, false) +
           ", expected " + describe(spec);
  }
  const std::int64_t count = batched ? shape.front() : 1;
  if (count < 1 || count > kMaxRows) {
    return where + "a batch of " + std::to_string(count) + "; valid is 1 to " +
           std::to_string(kMaxRows);
  }
  if (!plan.rows.empty() && (batched != plan.batched || count != plan.count)) {
    return where + "its batch is " + (batched ? std::to_string(count) : "none") +
           ", that of another input " + (plan.batched ? std::to_string(plan.count) : "none") +
           "; all inputs have the same";
  }
  plan.batched = batched;
  plan.count = count;
  if (input.shm) {
    std::string reason;
    const auto bytes =
        regions_.find(input.shm->region, input.shm->offset, input.shm->byte_size, reason);
    if (!bytes) return where + reason;
    if (bytes->device) {
      if (const auto wrong = cut_there(spec, *bytes->device, plan)) return where + *wrong;
      return std::nullopt;
    }
    input.bytes = bytes->host;
    input.keep.reset();
  }
  auto rows = cut_rows(input.bytes, type, spec.elements(), static_cast<std::size_t>(count));
  if (rows.empty()) {
    return where + std::to_string(input.bytes.size()) + " bytes do not make " +
           std::string(oip_name(type)) + " " + shape_text(shape, false);
  }
  plan.rows.push_back(std::move(rows));
  plan.inputs_there.emplace_back();
  return std::nullopt;
}

std::optional<std::string> OipCalls::check_outputs(const net::ServedModel& served,
                                                   OipRequest& request, Plan& plan) const {
  const auto& specs = served.signature().outputs;
  for (std::size_t i = 0; i < request.outputs.size(); ++i) {
    OipWanted& wanted = request.outputs[i];
    const auto spec = find_spec(specs, wanted.name);
    if (spec == specs.end()) return not_there(served, "output", wanted.name, specs);
    for (std::size_t j = 0; j < i; ++j) {
      if (request.outputs[j].name == wanted.name) {
        return "output '" + spec->name + "' is asked for twice";
      }
    }
    if (wanted.classification < 0 ||
        (wanted.classification > 0 && oip_type(spec->dtype) == OipType::kBytes)) {
      return "output '" + spec->name + "': classification is a number > 0, of a numeric output";
    }
    if (!wanted.shm) continue;
    const std::string where = "output '" + spec->name + "': ";
    std::string reason;
    auto place =
        regions_.find(wanted.shm->region, wanted.shm->offset, wanted.shm->byte_size, reason);
    if (!place) return where + reason;
    if (!place->device) continue;
    const auto number = static_cast<std::size_t>(spec - specs.begin());
    if (const auto wrong = write_there(*spec, number, *place->device, wanted, plan)) {
      return where + *wrong;
    }
  }
  std::sort(plan.outputs_there.begin(), plan.outputs_there.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  return std::nullopt;
}

std::optional<std::string> OipCalls::plan(const net::ServedModel& served, OipRequest& request,
                                          Plan& plan) {
  if (auto reason = place(served, request, plan)) return reason;
  const auto& specs = served.signature().inputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (auto reason = cut(served, request.inputs[plan.places[i]], specs[i], plan)) return reason;
  }
  return check_outputs(served, request, plan);
}

// ---- the life of a call ----

std::uint64_t OipCalls::start(std::uint64_t owners, OipRequest& request, Nanos now) {
  if (const auto refusal = refuse_model(*host_, request.model, request.version)) {
    owner_.oip_failed(owners, refusal->code, refusal->message);
    return 0;
  }
  const net::ServedModel& served = *host_->find_model(request.model);
  Plan planned;
  if (const auto reason = plan(served, request, planned)) {
    host_->count_refused(request.model, exec::Outcome::kInvalid);
    owner_.oip_failed(owners, OipCode::kInvalid, *reason);
    return 0;
  }
  const auto count = static_cast<std::size_t>(planned.count);
  const auto [tag, call] = calls_.take();
  call->owners = owners;
  call->model.assign(request.model);
  call->version = "1";
  call->id.assign(request.id);
  call->batched = planned.batched;
  call->binary = request.binary;
  call->rows_left = count;
  call->submitted.assign(count, 0);
  call->rows.clear();
  call->rows.resize(count);
  call->wanted = std::move(request.outputs);
  std::optional<double> deadline_ms;
  if (request.timeout_us.value_or(0) != 0) deadline_ms = *request.timeout_us / kMicrosPerMilli;
  host_->traced_by(request.traceparent);
  for (std::size_t row = 0; row < count; ++row) {
    std::vector<net::Message> frames;
    frames.reserve(planned.rows.size());
    for (std::size_t i = 0; i < planned.rows.size(); ++i) {
      if (planned.inputs_there[i]) {
        frames.emplace_back(std::string_view(row_frame(*planned.inputs_there[i], row)));
      } else {
        frames.push_back(frame_of(planned.rows[i][row], request.inputs[planned.places[i]].keep));
      }
    }
    for (const auto& [number, first] : planned.outputs_there) {
      frames.emplace_back(std::string_view(row_frame(first, row)));
    }
    const std::uint64_t submitted =
        host_->submit(door_, row_call(tag, row), request.model, std::move(frames), planned.device,
                      deadline_ms, now);
    Call* going = calls_.find(tag);
    if (going == nullptr) return 0;  // it failed, and with it the call
    if (submitted != 0) going->submitted[row] = submitted;
  }
  return calls_.find(tag) == nullptr ? 0 : tag;
}

void OipCalls::cancel(std::uint64_t tag) {
  if (Call* call = calls_.find(tag)) end(tag, *call);
}

void OipCalls::end(std::uint64_t tag, Call& call) {
  std::vector<std::uint64_t> submitted;
  std::swap(submitted, call.submitted);
  call.rows.clear();
  call.wanted.clear();
  calls_.release(tag);
  for (const std::uint64_t row : submitted) {
    if (row != 0) host_->cancel(row);
  }
}

void OipCalls::answered(std::uint64_t row, const net::ServedModel& model,
                        std::vector<net::Message>& outputs) {
  const std::uint64_t tag = tag_of(row);
  Call* call = calls_.find(tag);
  if (call == nullptr) return;
  call->rows[row_of(row)] = std::move(outputs);
  outputs.clear();
  call->submitted[row_of(row)] = 0;
  if (--call->rows_left == 0) finish(tag, *call, model);
}

void OipCalls::failed(std::uint64_t row, exec::Outcome outcome, std::string_view message) {
  const std::uint64_t tag = tag_of(row);
  Call* call = calls_.find(tag);
  if (call == nullptr) return;
  const std::uint64_t owners = call->owners;
  call->submitted[row_of(row)] = 0;
  end(tag, *call);
  owner_.oip_failed(owners, code_of(outcome), message);
}

std::optional<std::string> OipCalls::output_of(Call& call, const exec::TensorSpec& spec,
                                               std::size_t number, const OipWanted& wanted,
                                               OipOutput& output) {
  output.name = spec.name;
  output.type = oip_type(spec.dtype);
  output.binary = wanted.binary;
  if (call.batched) output.shape.push_back(static_cast<std::int64_t>(call.rows.size()));
  for (auto& row : call.rows) {
    net::Message& frame = row[number];
    output.rows.push_back(wanted.classification > 0
                              ? classes_of(frame.bytes(), output.type, wanted.classification)
                              : std::move(frame));
  }
  if (wanted.classification > 0) {
    output.type = OipType::kBytes;
    output.shape.push_back(
        std::min<std::int64_t>(wanted.classification, static_cast<std::int64_t>(spec.elements())));
  } else {
    output.shape.insert(output.shape.end(), spec.shape.begin(), spec.shape.end());
  }
  if (!wanted.shm) return std::nullopt;
  if (wanted.is_there) {
    output.rows.clear();
    output.shm = wanted.shm;
    return std::nullopt;
  }
  std::string reason;
  const auto place =
      regions_.find(wanted.shm->region, wanted.shm->offset, wanted.shm->byte_size, reason);
  if (!place) return "output '" + spec.name + "': " + reason;
  const std::size_t bytes = output.bytes();
  if (bytes > place->size()) {
    return "output '" + spec.name + "' has " + std::to_string(bytes) +
           " bytes, shared_memory_byte_size is " + std::to_string(place->size());
  }
  if (place->device) return "output '" + spec.name + "': its region was registered anew";
  std::byte* to = place->host.data();
  for (const net::Message& row : output.rows) {
    std::memcpy(to, row.data(), row.size());
    to += row.size();
  }
  output.rows.clear();
  output.shm = wanted.shm;
  output.shm->byte_size = bytes;
  return std::nullopt;
}

void OipCalls::finish(std::uint64_t tag, Call& call, const net::ServedModel& model) {
  const auto& specs = model.signature().outputs;
  OipResponse response;
  std::optional<std::string> reason;
  const bool fits = std::all_of(call.rows.begin(), call.rows.end(),
                                [&](const auto& row) { return row.size() == specs.size(); });
  if (!fits) reason = "model '" + model.name() + "' has changed while it ran";
  const std::size_t count = call.wanted.empty() ? specs.size() : call.wanted.size();
  response.outputs.resize(count);
  for (std::size_t i = 0; i < count && !reason; ++i) {
    OipWanted all;
    all.binary = call.binary;
    const OipWanted& wanted = call.wanted.empty() ? all : call.wanted[i];
    const auto spec = call.wanted.empty() ? specs.begin() + static_cast<std::ptrdiff_t>(i)
                                          : find_spec(specs, wanted.name);
    if (spec == specs.end()) {
      reason = "model '" + model.name() + "' has no output '" + wanted.name + "' any more";
      break;
    }
    reason = output_of(call, *spec, static_cast<std::size_t>(spec - specs.begin()), wanted,
                       response.outputs[i]);
  }
  const std::uint64_t owners = call.owners;
  response.model = call.model;
  response.version = call.version;
  response.id = call.id;
  end(tag, call);
  if (reason) return owner_.oip_failed(owners, OipCode::kFailed, *reason);
  owner_.oip_done(owners, std::move(response));
}

}  // namespace glet::web
