// Inference requests in JSON, with binary tensors behind it, and tensors written as JSON.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "glet/error.h"
#include "glet/web/json.h"
#include "glet/web/json_values.h"
#include "glet/web/oip_json.h"
#include "targets.h"

namespace glet::fuzz {
namespace {

std::uint64_t sum(std::span<const std::byte> bytes) {
  std::uint64_t total = 0;
  for (const std::byte byte : bytes) total += static_cast<std::uint64_t>(byte);
  return total;
}

// All that was read, touched once: nothing when it was refused.
std::optional<std::uint64_t> read(web::OipJsonReader& reader, std::string_view json,
                                  std::span<const std::byte> tensors) {
  try {
    const web::OipRequest request = reader.read(json, tensors, nullptr);
    std::uint64_t total = sum(std::as_bytes(std::span(request.id))) + request.outputs.size();
    for (const web::OipInput& input : request.inputs) {
      total += sum(input.bytes) + sum(std::as_bytes(std::span(input.name)));
    }
    return total;
  } catch (const WireError&) {
    return std::nullopt;
  }
}

// What can be said in JSON reads back as the same bits.
void write_and_read(web::OipType type, std::span<const std::byte> row) {
  row = row.first(row.size() / web::oip_bytes(type) * web::oip_bytes(type));
  std::string text = "[";
  if (!web::append_values(text, type, row)) return;
  text += ']';
  std::vector<std::byte> back(row.size());
  web::JsonReader reader(text);
  web::read_values(reader, type, back);
  reader.end();
  require(std::ranges::equal(back, row), "values read back as the same");
}

}  // namespace

void oip_json(Bytes given) {
  const auto [bytes, choice] = chosen(given);
  const std::string_view text = text_of(bytes);
  const std::string_view json =
      text.substr(0, text.size() - std::min<std::size_t>(choice, text.size()));
  const auto tensors = std::as_bytes(std::span(text.substr(json.size())));
  web::OipJsonReader reader;
  const auto first = read(reader, json, tensors);
  require(first == read(reader, json, tensors), "the same reader reads the same again");
  if (first) {
    web::JsonReader whole(json);
    whole.skip();
    whole.end();
  }
  using enum web::OipType;
  for (const web::OipType type : {kInt8, kUint16, kInt64, kUint64, kFp16, kBf16, kFp32, kFp64}) {
    write_and_read(type, std::as_bytes(std::span(text)));
  }
}

std::vector<std::string> oip_json_seeds() {
  std::vector<std::string> out;
  for (
      const char* json : {
          R"({"id":"7","inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1.5,-2e3,0,4]}]})",
          R"({"inputs":[{"name":"x","shape":[2,2],"datatype":"INT64","data":[[1,2],[3,-4]]}],)"
          R"("outputs":[{"name":"y","parameters":{"binary_data":true,"classification":3}}]})",
          R"({"parameters":{"timeout":1000,"binary_data_output":true,"q":[{}]},"inputs":[)"
          R"({"name":"s\u00e9\n","datatype":"BYTES","shape":[2],"data":["a","\ud83d\ude00"]}]})",
          R"({"inputs":[{"name":"m","datatype":"BF16","shape":[1],"parameters":{)"
          R"("shared_memory_region":"r","shared_memory_offset":8,"shared_memory_byte_size":64}}]})",
      }) {
    out.emplace_back(std::string(json) + '\0');
  }
  const std::string binary =
      R"({"inputs":[{"name":"x","datatype":"FP16","shape":[4],"parameters":{"binary_data_size":8}}]})";
  out.push_back(binary + "01234567" + '\x08');
  return out;
}

}  // namespace glet::fuzz
