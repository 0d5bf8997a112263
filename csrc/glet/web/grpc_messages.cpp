#include "glet/web/grpc_messages.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "glet/error.h"
#include "glet/web/grpc_contents.h"
#include "glet/web/grpc_reader.h"
#include "glet/web/protobuf.h"
#include "glet/web/zlib.h"

namespace glet::web {
namespace {

constexpr std::string_view kRequest = "ModelInferRequest";
constexpr std::size_t kMostTensors = 64;
constexpr std::size_t kMostDimensions = 16;
constexpr int kMostClasses = 1 << 20;

std::string quoted(std::string_view text) {
  return "'" + std::string(text.substr(0, 64)) + "'";
}

// An InferParameter: a value of one of its kinds.
struct Parameter {
  enum class Kind { kNone, kBool, kInt64, kUint64, kDouble, kText };
  Kind kind = Kind::kNone;
  std::uint64_t bits = 0;
  std::string_view text;

  // Throws WireError unless it is an integer >= 0.
  std::uint64_t count(std::string_view key) const {
    const bool is_count =
        kind == Kind::kUint64 || (kind == Kind::kInt64 && static_cast<std::int64_t>(bits) >= 0);
    if (!is_count) {
      throw WireError("parameter " + quoted(key) + ": an int64_param >= 0 is valid");
    }
    return bits;
  }

  std::string_view string(std::string_view key) const {
    if (kind != Kind::kText) {
      throw WireError("parameter " + quoted(key) + ": a string_param is valid");
    }
    return text;
  }

  double number(std::string_view key) const {
    if (kind != Kind::kDouble) return static_cast<double>(count(key));
    double value = 0;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value) || value < 0) {
      throw WireError("parameter " + quoted(key) + ": a number >= 0 is valid");
    }
    return value;
  }
};

Parameter read_parameter(std::span<const std::byte> message, Parameter value) {
  using Kind = Parameter::Kind;
  ProtoReader reader(message, "InferParameter");
  while (reader.next()) {
    if (reader.is(1, WireType::kVarint)) {
      value = {Kind::kBool, reader.varint(), {}};
    } else if (reader.is(2, WireType::kVarint)) {
      value = {Kind::kInt64, reader.varint(), {}};
    } else if (reader.is(3, WireType::kBytes)) {
      value = {Kind::kText, 0, reader.text()};
    } else if (reader.is(4, WireType::kFixed64)) {
      value = {Kind::kDouble, reader.fixed64(), {}};
    } else if (reader.is(5, WireType::kVarint)) {
      value = {Kind::kUint64, reader.varint(), {}};
    } else {
      reader.skip();
    }
  }
  return value;
}

// One entry of a map<string, InferParameter>.
std::pair<std::string_view, Parameter> read_entry(std::span<const std::byte> message) {
  std::pair<std::string_view, Parameter> entry;
  ProtoReader reader(message, "parameters");
  while (reader.next()) {
    if (reader.is(1, WireType::kBytes)) {
      entry.first = reader.text();
    } else if (reader.is(2, WireType::kBytes)) {
      entry.second = read_parameter(reader.bytes(), entry.second);
    } else {
      reader.skip();
    }
  }
  return entry;
}

// True when the parameter was about shared memory.
bool take_shm(std::string_view key, const Parameter& value, std::optional<OipShm>& shm) {
  if (!key.starts_with("shared_memory_")) return false;
  if (!shm) shm.emplace();
  if (key == "shared_memory_region") {
    shm->region = value.string(key);
  } else if (key == "shared_memory_offset") {
    shm->offset = value.count(key);
  } else if (key == "shared_memory_byte_size") {
    shm->byte_size = value.count(key);
  } else {
    throw WireError("unknown parameter " + quoted(key) +
                    "; valid: shared_memory_region, shared_memory_offset, shared_memory_byte_size");
  }
  return true;
}

void add_dimension(std::vector<std::int64_t>& shape, std::uint64_t size) {
  if (shape.size() == kMostDimensions) throw WireError("a shape of more than 16 dimensions");
  shape.push_back(static_cast<std::int64_t>(size));
}

void read_input(std::span<const std::byte> message, std::size_t longest, OipInput& input,
                bool& is_typed) {
  std::vector<std::span<const std::byte>> contents;
  ProtoReader reader(message, "InferInputTensor");
  while (reader.next()) {
    if (reader.is(1, WireType::kBytes)) {
      input.name = reader.text();
    } else if (reader.is(2, WireType::kBytes)) {
      input.datatype = reader.text();
    } else if (reader.is(3, WireType::kBytes)) {
      ProtoReader sizes(reader.bytes(), "InferInputTensor");
      while (!sizes.at_end()) add_dimension(input.shape, sizes.varint());
    } else if (reader.is(3, WireType::kVarint)) {
      add_dimension(input.shape, reader.varint());
    } else if (reader.is(4, WireType::kBytes)) {
      const auto [key, value] = read_entry(reader.bytes());
      take_shm(key, value, input.shm);
    } else if (reader.is(5, WireType::kBytes)) {
      contents.push_back(reader.bytes());
    } else {
      reader.skip();
    }
  }
  is_typed = !contents.empty();
  if (is_typed) read_contents(contents, longest, input);
}

void read_output(std::span<const std::byte> message, OipWanted& output) {
  output.binary = true;
  ProtoReader reader(message, "InferRequestedOutputTensor");
  while (reader.next()) {
    if (reader.is(1, WireType::kBytes)) {
      output.name = reader.text();
    } else if (reader.is(2, WireType::kBytes)) {
      const auto [key, value] = read_entry(reader.bytes());
      if (take_shm(key, value, output.shm) || key != "classification") continue;
      const std::uint64_t classes = value.count(key);
      if (classes > kMostClasses) throw WireError("parameter 'classification': up to 1048576");
      output.classification = static_cast<int>(classes);
    } else {
      reader.skip();
    }
  }
}

// Raw contents belong to the inputs that are not in shared memory, in their order.
void assign_raw(std::span<const std::span<const std::byte>> raw, bool any_typed,
                OipRequest& request) {
  if (raw.empty()) return;
  if (any_typed) {
    throw WireError("both raw_input_contents and contents; one of them holds all inputs");
  }
  std::size_t wanting = 0;
  for (const OipInput& input : request.inputs) wanting += input.shm ? 0 : 1;
  if (raw.size() != wanting) {
    throw WireError(std::to_string(raw.size()) + " raw_input_contents for " +
                    std::to_string(wanting) + " inputs outside shared memory; one each is valid");
  }
  std::size_t next = 0;
  for (OipInput& input : request.inputs) {
    if (input.shm) continue;
    input.bytes = raw[next++];
  }
}

void check_room(std::size_t count, std::string_view what) {
  if (count < kMostTensors) return;
  throw WireError("more than 64 " + std::string(what) + " in one " + std::string(kRequest));
}

std::string& begin_message(OutBody& out, std::size_t length, bool compressed = false) {
  if (length > std::numeric_limits<std::uint32_t>::max()) {
    throw WireError("an answer of " + std::to_string(length) + " bytes; gRPC has messages up to " +
                    "4 GiB");
  }
  std::string& text = out.tail();
  char head[GrpcReader::kHeadBytes] = {compressed ? '\1' : '\0'};
  const std::uint32_t swapped = __builtin_bswap32(static_cast<std::uint32_t>(length));
  std::memcpy(head + 1, &swapped, sizeof swapped);
  text.append(head, sizeof head);
  return text;
}

// An InferOutputTensor without its contents.
void write_output(const OipOutput& output, std::string& out) {
  ProtoWriter writer(out);
  writer.bytes(1, output.name);
  writer.bytes(2, oip_name(output.type));
  std::size_t sizes = 0;
  for (const std::int64_t size : output.shape) {
    sizes += ProtoWriter::varint_size(static_cast<std::uint64_t>(size));
  }
  writer.head(3, sizes);
  for (const std::int64_t size : output.shape) {
    writer.raw_varint(static_cast<std::uint64_t>(size));
  }
  if (!output.shm) return;
  const auto parameter = [&](std::string_view key, std::uint32_t kind, auto&& write_value) {
    std::string value;
    write_value(ProtoWriter(value), kind);
    std::string entry;
    ProtoWriter entry_writer(entry);
    entry_writer.bytes(1, key);
    entry_writer.bytes(2, value);
    writer.bytes(4, entry);
  };
  const auto number = [](std::uint64_t bits) {
    return [bits](ProtoWriter value, std::uint32_t kind) { value.varint(kind, bits); };
  };
  parameter("shared_memory_region", 3,
            [&](ProtoWriter value, std::uint32_t kind) { value.bytes(kind, output.shm->region); });
  parameter("shared_memory_byte_size", 2, number(output.shm->byte_size));
  if (output.shm->offset > 0) parameter("shared_memory_offset", 2, number(output.shm->offset));
}

}  // namespace

void read_infer(std::span<const std::byte> message, const std::shared_ptr<const void>& keep,
                std::size_t longest, OipRequest& request) {
  std::vector<std::span<const std::byte>> raw;
  bool any_typed = false;
  ProtoReader reader(message, kRequest);
  while (reader.next()) {
    if (reader.is(1, WireType::kBytes)) {
      request.model = reader.text();
    } else if (reader.is(2, WireType::kBytes)) {
      request.version = reader.text();
    } else if (reader.is(3, WireType::kBytes)) {
      request.id = reader.text();
    } else if (reader.is(4, WireType::kBytes)) {
      const auto [key, value] = read_entry(reader.bytes());
      if (key == "timeout") request.timeout_us = value.number(key);
    } else if (reader.is(5, WireType::kBytes)) {
      check_room(request.inputs.size(), "inputs");
      bool is_typed = false;
      OipInput& input = request.inputs.emplace_back();
      read_input(reader.bytes(), longest, input, is_typed);
      if (!input.keep) input.keep = keep;
      any_typed |= is_typed;
    } else if (reader.is(6, WireType::kBytes)) {
      check_room(request.outputs.size(), "outputs");
      read_output(reader.bytes(), request.outputs.emplace_back());
    } else if (reader.is(7, WireType::kBytes)) {
      check_room(raw.size(), "raw_input_contents");
      raw.push_back(reader.bytes());
    } else {
      reader.skip();
    }
  }
  request.binary = true;
  assign_raw(raw, any_typed, request);
}

void write_response(OipResponse& response, bool stream, OutBody& out) {
  static thread_local std::string body;  // everything before the raw contents
  static thread_local std::string output_text;
  body.clear();
  ProtoWriter writer(body);
  writer.bytes(1, response.model);
  writer.bytes(2, response.version);
  if (!response.id.empty()) writer.bytes(3, response.id);
  std::size_t raw_size = 0;
  for (const OipOutput& output : response.outputs) {
    output_text.clear();
    write_output(output, output_text);
    writer.bytes(5, output_text);
    raw_size += ProtoWriter::bytes_size(6, output.shm ? 0 : output.bytes());
  }
  const std::size_t inner = body.size() + raw_size;
  std::string* text = &begin_message(out, stream ? ProtoWriter::bytes_size(2, inner) : inner);
  if (stream) ProtoWriter(*text).head(2, inner);
  *text += body;
  for (OipOutput& output : response.outputs) {
    // Clients count: the raw contents of an output are at its place among the outputs.
    ProtoWriter(*text).head(6, output.shm ? 0 : output.bytes());
    if (output.shm) continue;
    for (net::Message& row : output.rows) {
      if (row.size() < kBorrowedBytes) {
        *text += row.text();
      } else {
        out.add(std::move(row));
        text = &out.tail();
      }
    }
  }
}

void write_stream_error(std::string_view model, std::string_view id, std::string_view message,
                        OutBody& out) {
  std::string inner;
  ProtoWriter inner_writer(inner);
  if (!model.empty()) inner_writer.bytes(1, model);
  if (!id.empty()) inner_writer.bytes(3, id);
  std::string whole;
  ProtoWriter writer(whole);
  writer.bytes(1, message);
  writer.bytes(2, inner);
  write_message(whole, out);
}

void write_flag(bool value, OutBody& out) {
  std::string message;
  if (value) ProtoWriter(message).varint(1, 1);
  write_message(message, out);
}

void write_message(std::string_view message, OutBody& out) {
  begin_message(out, message.size()) += message;
}

void pack_message(OutBody& plain, OutBody& out) {
  std::string whole;
  plain.move_to(whole);
  const std::string_view message = std::string_view(whole).substr(GrpcReader::kHeadBytes);
  const auto packed = deflate(std::span(&message, 1), Packing::kGzip);
  if (!packed || packed->size() >= message.size()) return write_message(message, out);
  begin_message(out, packed->size(), true) += *packed;
}

GrpcModelReady read_model_ready(std::span<const std::byte> message) {
  GrpcModelReady asked;
  ProtoReader reader(message, "ModelReadyRequest");
  while (reader.next()) {
    if (reader.is(1, WireType::kBytes)) {
      asked.name = reader.text();
    } else if (reader.is(2, WireType::kBytes)) {
      asked.version = reader.text();
    } else {
      reader.skip();
    }
  }
  return asked;
}

}  // namespace glet::web
