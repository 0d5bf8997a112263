#include "glet/exec/tensor.h"

#include <array>

#include "glet/error.h"

namespace glet::exec {
namespace {

struct DTypeRow {
  std::string_view name;
  std::size_t bytes;
};

// Indexed by DType.
constexpr std::array<DTypeRow, 10> kDTypes{{
    {"float32", 4},
    {"float64", 8},
    {"float16", 2},
    {"bfloat16", 2},
    {"int64", 8},
    {"int32", 4},
    {"int16", 2},
    {"int8", 1},
    {"uint8", 1},
    {"bool", 1},
}};

}  // namespace

std::size_t dtype_bytes(DType dtype) {
  return kDTypes[static_cast<std::size_t>(dtype)].bytes;
}

std::string_view dtype_name(DType dtype) {
  return kDTypes[static_cast<std::size_t>(dtype)].name;
}

DType dtype_from_name(std::string_view name) {
  std::string valid;
  for (std::size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == name) return static_cast<DType>(i);
    valid += (i == 0 ? "" : ", ") + std::string(kDTypes[i].name);
  }
  throw ArgumentError("[dtype_from_name] unknown dtype '" + std::string(name) +
                      "'; valid: " + valid);
}

std::size_t TensorSpec::elements() const {
  std::size_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0) {
      throw ArgumentError("[TensorSpec] '" + name + "' has a dimension of " + std::to_string(size) +
                          "; dimensions are fixed and >= 0, the batch dimension is not listed");
    }
    if (__builtin_mul_overflow(count, static_cast<std::size_t>(size), &count)) {
      throw ArgumentError("[TensorSpec] '" + name + "' has more elements than memory can hold");
    }
  }
  return count;
}

std::size_t TensorSpec::bytes() const {
  std::size_t total = 0;
  if (__builtin_mul_overflow(elements(), dtype_bytes(dtype), &total)) {
    throw ArgumentError("[TensorSpec] '" + name + "' is larger than memory can hold");
  }
  return total;
}

}  // namespace glet::exec
