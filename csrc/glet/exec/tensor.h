#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace glet::exec {

enum class DType : std::uint8_t {
  kFloat32,
  kFloat64,
  kFloat16,
  kBFloat16,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUInt8,
  kBool,
};

// Bytes of one element.
std::size_t dtype_bytes(DType dtype);
// "float32", "int64", ...
std::string_view dtype_name(DType dtype);
// Throws ArgumentError that lists the valid names.
DType dtype_from_name(std::string_view name);

// One input or output of ONE request: the batch dimension is not part of the shape.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;

  // Throw ArgumentError on a negative dimension or more than memory can hold.
  std::size_t elements() const;
  std::size_t bytes() const;
};

struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

}  // namespace glet::exec
