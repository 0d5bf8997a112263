#include "glet/net/protocol.h"

#include <cmath>

#include "glet/error.h"
#include "glet/net/msgpack.h"

namespace glet::net {
namespace {

constexpr std::uint32_t kMaxTensors = 64;
constexpr std::uint32_t kMaxDimensions = 16;
constexpr std::string_view kOnDevice = "cuda";
constexpr double kNanosPerMilli = 1e6;

std::optional<std::int64_t> optional_integer(MsgpackReader& reader) {
  if (reader.nil()) return std::nullopt;
  return reader.integer();
}

Nanos milliseconds(MsgpackReader& reader) {
  const double value = reader.number();
  if (!std::isfinite(value) || std::abs(value) > 1e12) throw WireError("a time is out of range");
  return Nanos(static_cast<std::int64_t>(value * kNanosPerMilli));
}

double to_milliseconds(Nanos time) {
  return static_cast<double>(time.count()) / kNanosPerMilli;
}

// Reads a whole frame as one map; `field(key, reader)` reads the value or skips it.
template <typename F>
void read_map(std::span<const std::byte> frame, F&& field) {
  MsgpackReader reader(frame);
  const std::uint32_t fields = reader.map_size();
  for (std::uint32_t i = 0; i < fields; ++i) {
    const std::string_view key = reader.string();
    field(key, reader);
  }
  if (!reader.at_end()) throw WireError("malformed msgpack header: bytes after the map");
}

}  // namespace

ClientHeader read_client_header(std::span<const std::byte> frame) {
  ClientHeader header;
  read_map(frame, [&header](std::string_view key, MsgpackReader& reader) {
    if (key == "op") {
      header.op = reader.string();
    } else if (key == "id") {
      header.id = optional_integer(reader);
    } else if (key == "model") {
      header.model = reader.string();
    } else if (key == "inputs") {
      header.inputs = reader.skip();
    } else if (key == "deadline_ms") {
      if (!reader.nil()) header.deadline_ms = reader.number();
    } else if (key == "traceparent") {
      if (!reader.nil()) header.traceparent = reader.string();
    } else if (key == "version") {
      header.version = optional_integer(reader);
    } else if (key == "role") {
      header.role = reader.string();
    } else {
      reader.skip();
    }
  });
  if (header.op.empty())
    throw WireError("the header has no `op`; valid: hello, infer, cancel, models, stats");
  return header;
}

std::string encode_specs(const std::vector<exec::TensorSpec>& specs,
                         const std::vector<bool>& on_device) {
  std::string out;
  MsgpackWriter writer(out);
  writer.array(static_cast<std::uint32_t>(specs.size()));
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const exec::TensorSpec& spec = specs[i];
    const bool is_there = i < on_device.size() && on_device[i];
    writer.array(is_there ? 4 : 3);
    writer.string(spec.name);
    writer.string(exec::dtype_name(spec.dtype));
    writer.array(static_cast<std::uint32_t>(spec.shape.size()));
    for (const std::int64_t size : spec.shape) writer.integer(size);
    if (is_there) writer.string(kOnDevice);
  }
  return out;
}

std::vector<exec::TensorSpec> decode_specs(std::span<const std::byte> bytes,
                                           std::vector<bool>* on_device) {
  MsgpackReader reader(bytes);
  const std::uint32_t count = reader.array_size();
  if (count > kMaxTensors) {
    throw WireError(std::to_string(count) + " tensors claimed; at most " +
                    std::to_string(kMaxTensors) + " are valid");
  }
  std::vector<exec::TensorSpec> specs;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t fields = reader.array_size();
    if (fields != 3 && !(fields == 4 && on_device != nullptr)) {
      throw WireError("a tensor is [name, dtype, [shape]]");
    }
    exec::TensorSpec& spec = specs.emplace_back();
    spec.name = reader.string();
    spec.dtype = exec::dtype_from_name(reader.string());
    if (spec.is_bytes()) spec.max_bytes = exec::kAnyLength;
    const std::uint32_t dimensions = reader.array_size();
    if (dimensions > kMaxDimensions) {
      throw WireError("tensor '" + spec.name + "' claims " + std::to_string(dimensions) +
                      " dimensions; at most " + std::to_string(kMaxDimensions) + " are valid");
    }
    for (std::uint32_t d = 0; d < dimensions; ++d) spec.shape.push_back(reader.integer());
    if (on_device != nullptr) on_device->push_back(fields == 4);
    if (fields == 4 && reader.string() != kOnDevice) {
      throw WireError("tensor '" + spec.name + "': memory of an unknown kind; valid: cuda");
    }
  }
  return specs;
}

std::string encode_hello(std::string_view role) {
  std::string out;
  MsgpackWriter writer(out);
  writer.map(3);
  writer.string("op");
  writer.string("hello");
  writer.string("version");
  writer.integer(kProtocolVersion);
  writer.string("role");
  writer.string(role);
  return out;
}

std::string encode_infer(std::int64_t id, std::string_view model, std::string_view encoded_inputs,
                         std::optional<double> deadline_ms, std::string_view traceparent) {
  std::string out;
  MsgpackWriter writer(out);
  writer.map(4 + (deadline_ms ? 1 : 0) + (traceparent.empty() ? 0 : 1));
  writer.string("op");
  writer.string("infer");
  writer.string("id");
  writer.integer(id);
  writer.string("model");
  writer.string(model);
  writer.string("inputs");
  writer.raw(encoded_inputs);
  if (deadline_ms) {
    writer.string("deadline_ms");
    writer.number(*deadline_ms);
  }
  if (!traceparent.empty()) {
    writer.string("traceparent");
    writer.string(traceparent);
  }
  return out;
}

std::string encode_op(std::string_view op, std::int64_t id,
                      const std::vector<std::string>& fields) {
  std::string out;
  MsgpackWriter writer(out);
  writer.map(static_cast<std::uint32_t>(2 + fields.size()));
  writer.string("op");
  writer.string(op);
  writer.string("id");
  writer.integer(id);
  for (const std::string& field : fields) writer.raw(field);
  return out;
}

void encode_result(std::int64_t id, std::string_view encoded_outputs, const ResultTimes& times,
                   std::string& out) {
  out.clear();
  MsgpackWriter writer(out);
  writer.map(7);
  writer.string("op");
  writer.string("result");
  writer.string("id");
  writer.integer(id);
  writer.string("outputs");
  writer.raw(encoded_outputs);
  writer.string("batch");
  writer.integer(times.batch);
  writer.string("queue_ms");
  writer.number(to_milliseconds(times.queued));
  writer.string("batch_ms");
  writer.number(to_milliseconds(times.batched));
  writer.string("execute_ms");
  writer.number(to_milliseconds(times.executed));
}

std::string encode_error(std::optional<std::int64_t> id, std::string_view code,
                         std::string_view message) {
  std::string out;
  MsgpackWriter writer(out);
  writer.map(4);
  writer.string("op");
  writer.string("error");
  writer.string("id");
  if (id) {
    writer.integer(*id);
  } else {
    writer.nil();
  }
  writer.string("error");
  writer.string(code);
  writer.string("message");
  writer.string(message);
  return out;
}

ServerHeader read_server_header(std::span<const std::byte> frame) {
  ServerHeader header;
  read_map(frame, [&header](std::string_view key, MsgpackReader& reader) {
    if (key == "op") {
      header.op = reader.string();
    } else if (key == "id") {
      header.id = optional_integer(reader);
    } else if (key == "outputs") {
      header.outputs = reader.skip();
    } else if (key == "body") {
      header.body = reader.skip();
    } else if (key == "batch") {
      header.times.batch = static_cast<int>(reader.integer());
    } else if (key == "queue_ms") {
      header.times.queued = milliseconds(reader);
    } else if (key == "batch_ms") {
      header.times.batched = milliseconds(reader);
    } else if (key == "execute_ms") {
      header.times.executed = milliseconds(reader);
    } else if (key == "error") {
      header.error = reader.string();
    } else if (key == "message") {
      header.message = reader.string();
    } else if (key == "version") {
      header.version = optional_integer(reader);
    } else {
      reader.skip();
    }
  });
  return header;
}

std::string_view outcome_code(exec::Outcome outcome) {
  switch (outcome) {
    case exec::Outcome::kOk:
      return "ok";
    case exec::Outcome::kLate:
      return "late";
    case exec::Outcome::kFull:
      return "full";
    case exec::Outcome::kFailed:
      return "failed";
    case exec::Outcome::kUnavailable:
      return "unavailable";
    case exec::Outcome::kInvalid:
      return "invalid_input";
    case exec::Outcome::kCancelled:
      return "cancelled";
  }
  return "failed";
}

exec::Outcome outcome_from_code(std::string_view code) {
  for (const auto outcome :
       {exec::Outcome::kLate, exec::Outcome::kFull, exec::Outcome::kUnavailable,
        exec::Outcome::kInvalid, exec::Outcome::kCancelled}) {
    if (code == outcome_code(outcome)) return outcome;
  }
  return exec::Outcome::kFailed;
}

}  // namespace glet::net
