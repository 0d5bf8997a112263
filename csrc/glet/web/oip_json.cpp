#include "glet/web/oip_json.h"

#include <algorithm>
#include <utility>

#include "glet/error.h"
#include "glet/web/json_values.h"

namespace glet::web {
namespace {

constexpr std::size_t kMostTensors = 64;
constexpr std::size_t kMostDimensions = 16;
constexpr std::size_t kOwnMemoryFrom = 16 << 10;  // larger tensors are lent to the executor
constexpr std::string_view kShm = "shared_memory_";

void append_shape(std::string& out, const std::vector<std::int64_t>& shape) {
  out += '[';
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(shape[i]);
  }
  out += ']';
}

// Elements of a shape, or nothing when there are more than `most`.
std::optional<std::size_t> elements(const std::vector<std::int64_t>& shape, std::size_t most) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(count, static_cast<std::size_t>(size), &count)) return std::nullopt;
  }
  return count <= most ? std::optional(count) : std::nullopt;
}

}  // namespace

std::vector<std::byte>& OipJsonReader::take_memory() {
  if (used_ == memory_.size()) memory_.emplace_back();
  return memory_[used_++];
}

bool OipJsonReader::read_shm(std::string_view name, std::optional<OipShm>& shm) {
  if (!name.starts_with(kShm)) return false;
  const std::string_view what = name.substr(kShm.size());
  if (what != "region" && what != "offset" && what != "byte_size") return false;
  if (!shm) shm.emplace();
  if (what == "region") {
    shm->region = reader_->string();
  } else {
    const auto value = static_cast<std::uint64_t>(reader_->natural());
    (what == "offset" ? shm->offset : shm->byte_size) = value;
  }
  return true;
}

void OipJsonReader::read_parameters(OipRequest& request) {
  JsonReader& reader = *reader_;
  reader.expect('{');
  std::string_view name;
  for (bool first = true; reader.key(name, first);) {
    if (name == "timeout") {
      request.timeout_us = static_cast<double>(reader.natural());
    } else if (name == "binary_data_output") {
      request.binary = reader.boolean();
    } else {
      reader.skip();
    }
  }
}

void OipJsonReader::read_input(OipRequest& request, std::vector<Data>& data) {
  JsonReader& reader = *reader_;
  if (request.inputs.size() == kMostTensors) reader.fail("more than 64 inputs");
  OipInput& input = request.inputs.emplace_back();
  Data& where = data.emplace_back();
  bool has_shape = false;
  reader.expect('{');
  std::string_view name;
  for (bool first = true; reader.key(name, first);) {
    if (name == "name") {
      input.name = reader.string();
    } else if (name == "datatype") {
      input.datatype = reader.string();
    } else if (name == "shape") {
      has_shape = true;
      input.shape.clear();
      reader.expect('[');
      for (bool begin = true; reader.element(begin);) {
        if (input.shape.size() == kMostDimensions) reader.fail("more than 16 dimensions");
        input.shape.push_back(reader.natural());
      }
    } else if (name == "data") {
      if (where.at) reader.fail("an input has `data` twice");
      reader.peek();
      where.at = reader.position();
      // Read at once where type and shape are known by now, as they are in what clients write.
      if (has_shape && !input.datatype.empty()) {
        read_data(input, *where.at);
      } else {
        reader.skip();
      }
    } else if (name == "parameters") {
      reader.expect('{');
      std::string_view parameter;
      for (bool begin = true; reader.key(parameter, begin);) {
        if (parameter == "binary_data_size") {
          where.binary_size = static_cast<std::uint64_t>(reader.natural());
        } else if (!read_shm(parameter, input.shm)) {
          reader.skip();
        }
      }
    } else {
      reader.skip();
    }
  }
  if (input.name.empty() || input.datatype.empty() || !has_shape) {
    reader.fail("an input needs `name`, `datatype` and `shape`");
  }
  const int given = (where.at ? 1 : 0) + (where.binary_size ? 1 : 0) + (input.shm ? 1 : 0);
  if (given != 1) {
    reader.fail("input '" + std::string(input.name) +
                "' needs one of `data`, `binary_data_size` and a shared memory region");
  }
  if (where.at && input.bytes.data() == nullptr) {
    const std::size_t behind = reader.position();
    read_data(input, *where.at);
    reader.go(behind);
  }
}

void OipJsonReader::read_data(OipInput& input, std::size_t at) {
  JsonReader& reader = *reader_;
  reader.go(at);
  const auto type = oip_type(input.datatype);
  if (!type) {
    reader.fail("no datatype " + net::quoted(input.datatype) + "; valid: BOOL, INT8 to INT64, " +
                "UINT8 to UINT64, FP16, FP32, FP64, BF16, BYTES");
  }
  // An element takes two characters at least: more than that cannot be there, and no memory is
  // taken for what is only claimed.
  const auto count = elements(input.shape, json_.size());
  if (!count) reader.fail("data has fewer elements than its shape");
  if (*type == OipType::kBytes) {
    std::vector<std::byte>& memory = take_memory();
    memory.clear();
    memory.reserve(1);
    read_strings(reader, *count, memory);
    input.bytes = memory;
    return;
  }
  const std::size_t bytes = *count * oip_bytes(*type);
  if (bytes >= kOwnMemoryFrom) {
    const auto own = std::make_shared_for_overwrite<std::byte[]>(bytes);
    input.bytes = {own.get(), bytes};
    input.keep = own;
    return read_values(reader, *type, {own.get(), bytes});
  }
  std::vector<std::byte>& memory = take_memory();
  memory.reserve(bytes + 1);
  memory.resize(bytes);
  input.bytes = memory;
  read_values(reader, *type, memory);
}

void OipJsonReader::read_output(OipRequest& request) {
  JsonReader& reader = *reader_;
  if (request.outputs.size() == kMostTensors) reader.fail("more than 64 outputs");
  OipWanted& output = request.outputs.emplace_back();
  output.binary = request.binary;
  reader.expect('{');
  std::string_view name;
  for (bool first = true; reader.key(name, first);) {
    if (name == "name") {
      output.name = reader.string();
    } else if (name == "parameters") {
      reader.expect('{');
      std::string_view parameter;
      for (bool begin = true; reader.key(parameter, begin);) {
        if (parameter == "binary_data") {
          output.binary = reader.boolean();
        } else if (parameter == "classification") {
          const std::int64_t count = reader.natural();
          output.classification = static_cast<int>(std::min<std::int64_t>(count, 1 << 30));
        } else if (!read_shm(parameter, output.shm)) {
          reader.skip();
        }
      }
    } else {
      reader.skip();
    }
  }
  if (output.name.empty()) reader.fail("an output needs a `name`");
}

OipRequest OipJsonReader::read(std::string_view json, std::span<const std::byte> tensors,
                               std::shared_ptr<const void> keep) {
  JsonReader& reader = reader_.emplace(json);
  json_ = json;
  used_ = 0;
  OipRequest request;
  std::vector<Data> data;
  bool has_inputs = false;
  bool has_outputs = false;
  std::optional<std::size_t> outputs_at;
  reader.expect('{');
  std::string_view name;
  for (bool first = true; reader.key(name, first);) {
    if (name == "id") {
      request.id = reader.string();
    } else if (name == "parameters") {
      read_parameters(request);
    } else if (name == "inputs") {
      if (std::exchange(has_inputs, true)) reader.fail("`inputs` is given twice");
      reader.expect('[');
      for (bool begin = true; reader.element(begin);) read_input(request, data);
    } else if (name == "outputs") {
      if (std::exchange(has_outputs, true)) reader.fail("`outputs` is given twice");
      reader.peek();
      outputs_at = reader.position();
      reader.skip();
    } else {
      reader.skip();
    }
  }
  reader.end();
  if (!has_inputs) reader.fail("an infer request needs `inputs`");
  // After the parameters, wherever those were: they say how outputs are sent.
  if (outputs_at) {
    reader.go(*outputs_at);
    reader.expect('[');
    for (bool begin = true; reader.element(begin);) read_output(request);
  }
  for (std::size_t i = 0; i < data.size(); ++i) {
    if (!data[i].binary_size) continue;
    if (*data[i].binary_size > tensors.size()) {
      throw WireError("input '" + std::string(request.inputs[i].name) + "': binary_data_size " +
                      std::to_string(*data[i].binary_size) + ", but " +
                      std::to_string(tensors.size()) + " bytes are left in the body");
    }
    request.inputs[i].bytes = tensors.first(*data[i].binary_size);
    request.inputs[i].keep = keep;
    tensors = tensors.subspan(*data[i].binary_size);
  }
  if (!tensors.empty()) {
    throw WireError(std::to_string(tensors.size()) +
                    " bytes at the end of the body belong to no input (binary_data_size)");
  }
  return request;
}

std::optional<std::string> write_response(OipResponse& response, std::string& out,
                                          std::vector<net::Message>& frames) {
  out += R"({"model_name":)";
  append_json(out, response.model);
  out += R"(,"model_version":)";
  append_json(out, response.version);
  if (!response.id.empty()) {
    out += R"(,"id":)";
    append_json(out, response.id);
  }
  out += R"(,"outputs":[)";
  for (std::size_t i = 0; i < response.outputs.size(); ++i) {
    OipOutput& output = response.outputs[i];
    out += i == 0 ? R"({"name":)" : R"(,{"name":)";
    append_json(out, output.name);
    out += R"(,"datatype":")";
    out += oip_name(output.type);
    out += R"(","shape":)";
    append_shape(out, output.shape);
    if (output.shm) {
      out += R"(,"parameters":{"shared_memory_region":)";
      append_json(out, output.shm->region);
      out += R"(,"shared_memory_offset":)" + std::to_string(output.shm->offset);
      out += R"(,"shared_memory_byte_size":)" + std::to_string(output.shm->byte_size);
      out += R"(,"binary_data_size":0}})";  // Triton's C++ client looks for it in any parameters
    } else if (output.binary) {
      out += R"(,"parameters":{"binary_data_size":)" + std::to_string(output.bytes()) + "}}";
      for (net::Message& row : output.rows) frames.push_back(std::move(row));
    } else {
      out += R"(,"data":[)";
      for (std::size_t row = 0; row < output.rows.size(); ++row) {
        if (row > 0 && output.rows[row].size() > 0) out += ',';
        if (!append_values(out, output.type, output.rows[row].bytes())) {
          return "output '" + output.name +
                 "' has NaN, infinity or bytes that are no UTF-8, which JSON cannot say; ask for "
                 "it with the parameter binary_data true";
        }
      }
      out += "]}";
    }
  }
  out += "]}";
  return std::nullopt;
}

}  // namespace glet::web
