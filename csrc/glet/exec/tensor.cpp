#include "glet/exec/tensor.h"

#include <array>
#include <cstring>

#include "glet/error.h"

namespace glet::exec {
namespace {

struct DTypeRow {
  std::string_view name;
  std::size_t bytes;
};

// Indexed by DType.
constexpr std::array<DTypeRow, kNumericDTypes + 1> kDTypes{{
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
    {"uint16", 2},
    {"uint32", 4},
    {"uint64", 8},
    {"bytes", 1},
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
  const std::size_t each = is_bytes() ? kLengthBytes + max_bytes : dtype_bytes(dtype);
  if (__builtin_mul_overflow(elements(), each, &total)) {
    throw ArgumentError("[TensorSpec] '" + name + "' is larger than memory can hold");
  }
  return total;
}

std::string TensorSpec::misfit(std::span<const std::byte> frame) const {
  if (!is_bytes()) {
    if (frame.size() == bytes()) return {};
    return "has " + std::to_string(frame.size()) + " bytes; expected " + std::to_string(bytes());
  }
  const std::size_t count = elements();
  std::size_t left = frame.size();
  for (std::size_t i = 0; i < count; ++i) {
    const auto of = [&] { return std::to_string(i) + " of " + std::to_string(count); };
    std::uint32_t length = 0;
    if (left < kLengthBytes) return "ends before the length of element " + of();
    std::memcpy(&length, frame.data() + (frame.size() - left), kLengthBytes);
    left -= kLengthBytes;
    if (length > max_bytes) {
      return "has an element " + of() + " of " + std::to_string(length) + " bytes; at most " +
             std::to_string(max_bytes) + " are valid";
    }
    if (left < length) return "ends within element " + of();
    left -= length;
  }
  if (left == 0) return {};
  return "has " + std::to_string(left) + " bytes after the last of " + std::to_string(count) +
         " elements";
}

void require_numeric(const char* where, const Signature& signature) {
  for (const auto* specs : {&signature.inputs, &signature.outputs}) {
    for (const TensorSpec& spec : *specs) {
      if (!spec.is_bytes()) continue;
      throw ArgumentError(std::string(where) + " tensor '" + spec.name +
                          "' is bytes, which only models in Python (model.py) take");
    }
  }
}

}  // namespace glet::exec
