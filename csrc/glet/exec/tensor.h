#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
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
  kUInt16,
  kUInt32,
  kUInt64,
  kBytes,  // elements are strings of any length up to TensorSpec::max_bytes
};

// All but kBytes, which is the last.
inline constexpr std::size_t kNumericDTypes = static_cast<std::size_t>(DType::kBytes);
// An element of a kBytes tensor travels as its length, a little-endian u32, and so many bytes.
inline constexpr std::size_t kLengthBytes = 4;
inline constexpr std::size_t kDefaultMaxBytes = 1024;
// Where only the frame itself says how long elements are.
inline constexpr std::size_t kAnyLength = 0xffffffff;

// Bytes of one element; 1 for kBytes.
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
  std::size_t max_bytes = 0;  // of an element; only of kBytes

  bool is_bytes() const { return dtype == DType::kBytes; }
  // Throw ArgumentError on a negative dimension or more than memory can hold. bytes() of a kBytes
  // tensor is the most that a frame of it can have.
  std::size_t elements() const;
  std::size_t bytes() const;
  // Empty when `frame` is one such tensor; else what is wrong with it, to follow its name. Looks
  // at every length of a kBytes frame and takes no memory.
  std::string misfit(std::span<const std::byte> frame) const;
};

struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

// Throws ArgumentError, begun by `where`, when there is a kBytes tensor: no compiled model has one.
void require_numeric(const char* where, const Signature& signature);

}  // namespace glet::exec
