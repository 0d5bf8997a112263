#include "glet/web/oip_types.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace glet::web {
namespace {

struct TypeRow {
  std::string_view name;
  std::string_view dtype;  // exec::dtype_name of the same
  std::size_t bytes;
};

// Indexed by OipType.
constexpr std::array<TypeRow, 14> kTypes{{
    {"BOOL", "bool", 1},
    {"INT8", "int8", 1},
    {"INT16", "int16", 2},
    {"INT32", "int32", 4},
    {"INT64", "int64", 8},
    {"UINT8", "uint8", 1},
    {"UINT16", "uint16", 2},
    {"UINT32", "uint32", 4},
    {"UINT64", "uint64", 8},
    {"FP16", "float16", 2},
    {"FP32", "float32", 4},
    {"FP64", "float64", 8},
    {"BF16", "bfloat16", 2},
    {"BYTES", "bytes", 0},
}};

constexpr int kHalfMantissaBits = 10;
constexpr int kHalfBias = 15;
constexpr std::uint32_t kHalfInfinity = 0x7c00;

}  // namespace

std::string_view oip_name(OipType type) {
  return kTypes[static_cast<std::size_t>(type)].name;
}

std::optional<OipType> oip_type(std::string_view name) {
  for (std::size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<OipType>(i);
  }
  return std::nullopt;
}

OipType oip_type(exec::DType dtype) {
  const std::string_view name = exec::dtype_name(dtype);
  std::size_t i = 0;
  while (i + 1 < kTypes.size() && kTypes[i].dtype != name) ++i;
  return static_cast<OipType>(i);
}

std::size_t oip_bytes(OipType type) {
  return kTypes[static_cast<std::size_t>(type)].bytes;
}

float half_to_float(std::uint16_t bits) {
  const int exponent = (bits >> kHalfMantissaBits) & 0x1f;
  const int mantissa = bits & 0x3ff;
  float value = 0;
  if (exponent == 0x1f) {
    value = mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), 1 - kHalfBias - kHalfMantissaBits);
  } else {
    value =
        std::ldexp(static_cast<float>(mantissa | 0x400), exponent - kHalfBias - kHalfMantissaBits);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

std::uint16_t float_to_half(float value) {
  const std::uint32_t sign = std::bit_cast<std::uint32_t>(value) >> 16 & 0x8000;
  const float size = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | kHalfInfinity | 0x200);
  constexpr float kOverflows = 65520.0F;  // half way beyond the largest
  if (size >= kOverflows) return static_cast<std::uint16_t>(sign | kHalfInfinity);
  if (size == 0) return static_cast<std::uint16_t>(sign);
  int exponent = 0;
  std::frexp(size, &exponent);
  // The last place of a half of this size; those below 2^-14 share one.
  const int place = std::max(exponent - 1, 1 - kHalfBias) - kHalfMantissaBits;
  const auto steps = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, -place)));
  // A mantissa that rounds up to the next power carries into the exponent by itself.
  const auto base = static_cast<std::uint32_t>(place + kHalfMantissaBits + kHalfBias - 1);
  return static_cast<std::uint16_t>(sign | ((base << kHalfMantissaBits) + steps));
}

float bfloat_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

std::uint16_t float_to_bfloat(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace glet::web
