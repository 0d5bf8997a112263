#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "glet/error.h"
#include "glet/web/json.h"
#include "glet/web/json_values.h"
#include "glet/web/oip_types.h"

using namespace glet::web;

namespace {

template <typename T>
std::vector<T> read(OipType type, const std::string& text, std::size_t count) {
  std::vector<T> out(count);
  JsonReader reader(text);
  read_values(reader, type, std::as_writable_bytes(std::span(out)));
  reader.end();
  return out;
}

bool is_json(const std::string& text) {
  try {
    JsonReader reader(text);
    reader.skip();
    reader.end();
    return true;
  } catch (const glet::WireError&) {
    return false;
  }
}

template <typename T>
std::string written(OipType type, const std::vector<T>& values) {
  std::string out;
  return append_values(out, type, std::as_bytes(std::span(values))) ? out : "none";
}

}  // namespace

TEST_CASE("what is JSON is read over, what is not is refused") {
  for (const char* good : {"{}", "[]", " [1, -0.5e+3, \"a\\u00e9\\n\", true, false, null] ",
                           "{\"a\":{\"b\":[[]]},\"c\":1}", "\"\\ud83d\\ude00\"", "0"}) {
    CHECK_MESSAGE(is_json(good), good);
  }
  for (const char* bad : {"",
                          "{",
                          "[1,]",
                          "{\"a\":1,}",
                          "{,}",
                          "{\"a\" 1}",
                          "{a:1}",
                          "01",
                          "1.",
                          ".5",
                          "-",
                          "1e",
                          "+1",
                          "NaN",
                          "Infinity",
                          "\"\\x\"",
                          "\"\t\"",
                          "\"\\ud800\"",
                          "\"\\udc00\"",
                          "\"\xff\"",
                          "\"\xc0\x80\"",
                          "\"\xed\xa0\x80\"",
                          "tru",
                          "[1 2]",
                          "{} {}",
                          "'a'",
                          "\"a"}) {
    CHECK_MESSAGE(!is_json(bad), bad);
  }
  CHECK(is_json(std::string(60, '[') + std::string(60, ']')));
  CHECK_FALSE(is_json(std::string(100'000, '[')));
}

TEST_CASE("escapes are decoded") {
  JsonReader reader(R"("a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00")");
  CHECK(reader.string() == "a\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80");
}

TEST_CASE("data is read flat or nested, and as many as the shape says") {
  const std::vector<float> wanted{1.5F, -2, 0.25F, 1e10F};
  for (const char* text :
       {"[1.5,-2,0.25,1e10]", "[[1.5,-2],[0.25,1e10]]", "[ [ [1.5] , [-2 ] ],[[0.25],[1E10]]]"}) {
    CHECK(read<float>(OipType::kFp32, text, 4) == wanted);
  }
  for (const char* bad :
       {"[1,2,3]", "[1,2,3,4,5]", "[1,2,3,4", "[1,2,,3,4]", "[1,2,3,4,]", "1", "[[1,2][3,4]]",
        "[1,2,3,null]", "[1,2,3,\"4\"]", "[1,2,3,NaN]", "[1,2,3,1e39]", "[1,2,3,true]"}) {
    CHECK_THROWS_AS(read<float>(OipType::kFp32, bad, 4), glet::WireError);
  }
  CHECK(read<std::int64_t>(OipType::kInt64, "[]", 0).empty());
}

TEST_CASE("integers keep to the range of their type") {
  CHECK(read<std::int8_t>(OipType::kInt8, "[-128,127]", 2) == std::vector<std::int8_t>{-128, 127});
  CHECK(read<std::uint64_t>(OipType::kUint64, "[18446744073709551615]", 1).front() == UINT64_MAX);
  CHECK_THROWS_AS(read<std::int8_t>(OipType::kInt8, "[128]", 1), glet::WireError);
  CHECK_THROWS_AS(read<std::uint8_t>(OipType::kUint8, "[-1]", 1), glet::WireError);
  CHECK_THROWS_AS(read<std::int32_t>(OipType::kInt32, "[1.0]", 1), glet::WireError);
  CHECK_THROWS_AS(read<std::int64_t>(OipType::kInt64, "[9223372036854775808]", 1), glet::WireError);
}

TEST_CASE("floats are the nearest there are, both ways") {
  std::uint64_t state = 0x9e3779b97f4a7c15U;
  for (int i = 0; i < 100'000; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto bits = static_cast<std::uint32_t>(state >> 32);
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    const std::string text = written<float>(OipType::kFp32, {value});
    REQUIRE(read<float>(OipType::kFp32, "[" + text + "]", 1).front() == value);
    const std::string decimal = std::to_string(static_cast<double>(bits % 100'000'000) / 1e4);
    REQUIRE(read<float>(OipType::kFp32, "[" + decimal + "]", 1).front() ==
            std::strtof(decimal.c_str(), nullptr));
  }
  CHECK(written<float>(OipType::kFp32, {0.1F, 16777216, -0.0F}) == "0.1,16777216,-0");
  CHECK(written<double>(OipType::kFp64, {0.1, 1e300}) == "0.1,1e+300");
  CHECK(written<float>(OipType::kFp32, {NAN}) == "none");
  CHECK(read<float>(OipType::kFp32, "[1e-60]", 1).front() == 0);
  CHECK(std::signbit(read<float>(OipType::kFp32, "[-0]", 1).front()));
}

TEST_CASE("every half and every bfloat goes to float and back") {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto small = static_cast<std::uint16_t>(bits);
    const float half = half_to_float(small);
    if (!std::isnan(half)) REQUIRE(float_to_half(half) == small);
    const float bfloat = bfloat_to_float(small);
    if (!std::isnan(bfloat)) REQUIRE(float_to_bfloat(bfloat) == small);
  }
  CHECK(float_to_half(65504) == 0x7bff);
  CHECK(float_to_half(65520) == 0x7c00);
  CHECK(float_to_half(1 + 1.0F / 2048) == 0x3c00);  // a tie, to even
  CHECK(float_to_half(1 + 3.0F / 2048) == 0x3c02);
  CHECK(float_to_half(std::ldexp(1.0F, -25)) == 0);  // half the smallest, to even
  CHECK(float_to_bfloat(1 + 1.0F / 256) == 0x3f80);
  CHECK_THROWS_AS(read<std::uint16_t>(OipType::kFp16, "[70000]", 1), glet::WireError);
}

TEST_CASE("booleans and strings") {
  CHECK(written<std::uint8_t>(OipType::kBool, {1, 0}) == "true,false");
  CHECK(read<std::uint8_t>(OipType::kBool, "[true,0,false,1]", 4) ==
        std::vector<std::uint8_t>{1, 0, 0, 1});
  std::vector<std::byte> raw;
  JsonReader reader(R"(["a\"b",["",["é"]]])");
  read_strings(reader, 3, raw);
  CHECK(raw.size() == 3 * 4 + 3 + 0 + 2);
  std::string out;
  CHECK(append_values(out, OipType::kBytes, raw));
  CHECK(out == R"("a\"b","","é")");
}
