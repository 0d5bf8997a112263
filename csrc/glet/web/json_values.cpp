#include "glet/web/json_values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "glet/error.h"

namespace glet::web {
namespace {

constexpr int kDeepest = 32;              // dimensions of nested data
constexpr std::size_t kLongestText = 32;  // of any number
constexpr std::size_t kLengthBytes = 4;

// Calls `value()` for each element of an array of arrays.
template <typename F>
void walk(JsonReader& reader, F&& value) {
  reader.expect('[');
  int depth = 1;
  bool wants_value = true;  // a value or an array comes next
  bool empty = true;        // or the end of the array that has just begun
  while (depth > 0) {
    const char c = reader.peek();
    if (c == ']' && (!wants_value || empty)) {
      reader.take(c);
      --depth;
      wants_value = empty = false;
    } else if (c == ',' && !wants_value) {
      reader.take(c);
      wants_value = true;
    } else if (c == '[' && wants_value) {
      reader.take(c);
      if (++depth > kDeepest) reader.fail("data is nested too deeply");
      empty = true;
    } else if (wants_value) {
      value();
      wants_value = empty = false;
    } else {
      reader.fail("expected ',' or ']'");
    }
  }
}

template <typename T>
T read_integer(JsonReader& reader, OipType type) {
  const std::string_view token = reader.number();
  T value{};
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error == std::errc() && end == token.data() + token.size()) return value;
  if (token == "-0") return 0;
  reader.fail("data of " + std::string(oip_name(type)) + ": " + std::string(token.substr(0, 40)) +
              " is no integer from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
              std::to_string(std::numeric_limits<T>::max()));
}

// m / 10^k, where both are exact in a float: one rounding, so the nearest float (Clinger 1990).
bool read_short(std::string_view token, float& value) {
  constexpr std::uint32_t kExact = 1 << 24;
  constexpr float kPowers[] = {1e0F, 1e1F, 1e2F, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F, 1e8F, 1e9F, 1e10F};
  std::uint64_t digits = 0;
  std::size_t behind_point = 0;
  bool has_point = false;
  const bool negative = token.front() == '-';
  if (token.size() > 10) return false;
  for (const char c : token.substr(negative ? 1 : 0)) {
    if (c == '.') {
      has_point = true;
    } else if (c >= '0' && c <= '9') {
      digits = digits * 10 + static_cast<std::uint64_t>(c - '0');
      behind_point += has_point ? 1 : 0;
    } else {
      return false;
    }
  }
  if (digits > kExact) return false;
  value = static_cast<float>(digits) / kPowers[behind_point];
  if (negative) value = -value;
  return true;
}

// Beyond the largest it fails; what is nearer to 0 than the smallest becomes 0.
template <typename T>
T read_float(JsonReader& reader, OipType type) {
  const std::string_view token = reader.number();
  T value{};
  if constexpr (sizeof(T) == sizeof(float)) {
    if (read_short(token, value)) return value;
  }
  const char* end = token.data() + token.size();
  if (std::from_chars(token.data(), end, value).ec == std::errc()) return value;
  double wide = 0;
  if (std::from_chars(token.data(), end, wide).ec == std::errc()) {
    value = static_cast<T>(wide);
  } else {
    // strtod tells the two ends of the range apart.
    value = static_cast<T>(std::strtod(std::string(token).c_str(), nullptr));
  }
  if (std::isfinite(value)) return value;
  reader.fail("data of " + std::string(oip_name(type)) + ": " + std::string(token.substr(0, 40)) +
              " is larger than it can hold");
}

bool read_bool(JsonReader& reader) {
  const char c = reader.peek();
  if (c == 't' || c == 'f') return reader.boolean();
  const std::string_view token = reader.number();
  if (token != "0" && token != "1") reader.fail("data of BOOL: valid are true, false, 1 and 0");
  return token == "1";
}

template <typename T, typename F>
void fill(JsonReader& reader, std::span<std::byte> out, F&& read) {
  std::size_t at = 0;
  walk(reader, [&] {
    const T value = read();
    if (at == out.size()) reader.fail("data has more elements than its shape");
    std::memcpy(out.data() + at, &value, sizeof value);
    at += sizeof value;
  });
  if (at < out.size()) {
    reader.fail("data has " + std::to_string(at / sizeof(T)) + " elements, its shape " +
                std::to_string(out.size() / sizeof(T)));
  }
}

template <typename T>
void fill_integers(JsonReader& reader, OipType type, std::span<std::byte> out) {
  fill<T>(reader, out, [&] { return read_integer<T>(reader, type); });
}

template <typename T>
bool append_all(std::string& out, std::span<const std::byte> row) {
  constexpr std::size_t kBlock = 256;
  const std::size_t count = row.size() / sizeof(T);
  char text[kBlock * kLongestText];
  for (std::size_t i = 0; i < count;) {
    char* at = text;
    for (const std::size_t end = std::min(count, i + kBlock); i < end; ++i) {
      T value;
      std::memcpy(&value, row.data() + i * sizeof value, sizeof value);
      if constexpr (std::is_floating_point_v<T>) {
        if (!std::isfinite(value)) return false;
      }
      if (i > 0) *at++ = ',';
      at = std::to_chars(at, at + kLongestText - 1, value).ptr;
    }
    out.append(text, static_cast<std::size_t>(at - text));
  }
  return true;
}

template <typename F>
bool append_halves(std::string& out, std::span<const std::byte> row, F&& to_float) {
  std::vector<float> values(row.size() / sizeof(std::uint16_t));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, row.data() + i * sizeof bits, sizeof bits);
    values[i] = to_float(bits);
  }
  return append_all<float>(out, std::as_bytes(std::span(values)));
}

bool append_strings(std::string& out, std::span<const std::byte> row) {
  for (bool first = true; !row.empty(); first = false) {
    std::uint32_t length = 0;
    if (row.size() < kLengthBytes) return false;
    std::memcpy(&length, row.data(), sizeof length);
    row = row.subspan(kLengthBytes);
    if (row.size() < length) return false;
    const std::string_view text(reinterpret_cast<const char*>(row.data()), length);
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t size = utf8_length(rest);
      if (size == 0) return false;
      rest.remove_prefix(size);
    }
    if (!first) out += ',';
    append_json(out, text);
    row = row.subspan(length);
  }
  return true;
}

bool append_bools(std::string& out, std::span<const std::byte> row) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (i > 0) out += ',';
    out += row[i] != std::byte{0} ? "true" : "false";
  }
  return true;
}

}  // namespace

void read_values(JsonReader& reader, OipType type, std::span<std::byte> out) {
  switch (type) {
    case OipType::kBool:
      return fill<bool>(reader, out, [&] { return read_bool(reader); });
    case OipType::kInt8:
      return fill_integers<std::int8_t>(reader, type, out);
    case OipType::kInt16:
      return fill_integers<std::int16_t>(reader, type, out);
    case OipType::kInt32:
      return fill_integers<std::int32_t>(reader, type, out);
    case OipType::kInt64:
      return fill_integers<std::int64_t>(reader, type, out);
    case OipType::kUint8:
      return fill_integers<std::uint8_t>(reader, type, out);
    case OipType::kUint16:
      return fill_integers<std::uint16_t>(reader, type, out);
    case OipType::kUint32:
      return fill_integers<std::uint32_t>(reader, type, out);
    case OipType::kUint64:
      return fill_integers<std::uint64_t>(reader, type, out);
    case OipType::kFp32:
      return fill<float>(reader, out, [&] { return read_float<float>(reader, type); });
    case OipType::kFp64:
      return fill<double>(reader, out, [&] { return read_float<double>(reader, type); });
    case OipType::kFp16:
    case OipType::kBf16:
      return fill<std::uint16_t>(reader, out, [&] {
        const auto value = read_float<float>(reader, type);
        const std::uint16_t bits =
            type == OipType::kFp16 ? float_to_half(value) : float_to_bfloat(value);
        const float got = type == OipType::kFp16 ? half_to_float(bits) : bfloat_to_float(bits);
        if (!std::isfinite(got)) {
          reader.fail("data of " + std::string(oip_name(type)) + " is larger than it can hold");
        }
        return bits;
      });
    case OipType::kBytes:
      reader.fail("BYTES are strings");
  }
}

void read_strings(JsonReader& reader, std::size_t count, std::vector<std::byte>& out) {
  std::size_t got = 0;
  walk(reader, [&] {
    if (reader.peek() != '"') reader.fail("data of BYTES: expected a string");
    const std::string_view text = reader.string();
    const auto length = static_cast<std::uint32_t>(text.size());
    const auto* from = reinterpret_cast<const std::byte*>(&length);
    out.insert(out.end(), from, from + sizeof length);
    from = reinterpret_cast<const std::byte*>(text.data());
    out.insert(out.end(), from, from + text.size());
    ++got;
  });
  if (got != count) {
    reader.fail("data has " + std::to_string(got) + " elements, its shape " +
                std::to_string(count));
  }
}

bool append_values(std::string& out, OipType type, std::span<const std::byte> row) {
  switch (type) {
    case OipType::kBool:
      return append_bools(out, row);
    case OipType::kInt8:
      return append_all<std::int8_t>(out, row);
    case OipType::kInt16:
      return append_all<std::int16_t>(out, row);
    case OipType::kInt32:
      return append_all<std::int32_t>(out, row);
    case OipType::kInt64:
      return append_all<std::int64_t>(out, row);
    case OipType::kUint8:
      return append_all<std::uint8_t>(out, row);
    case OipType::kUint16:
      return append_all<std::uint16_t>(out, row);
    case OipType::kUint32:
      return append_all<std::uint32_t>(out, row);
    case OipType::kUint64:
      return append_all<std::uint64_t>(out, row);
    case OipType::kFp16:
      return append_halves(out, row, half_to_float);
    case OipType::kBf16:
      return append_halves(out, row, bfloat_to_float);
    case OipType::kFp32:
      return append_all<float>(out, row);
    case OipType::kFp64:
      return append_all<double>(out, row);
    case OipType::kBytes:
      return append_strings(out, row);
  }
  return false;
}

}  // namespace glet::web
