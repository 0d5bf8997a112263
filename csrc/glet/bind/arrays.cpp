#include "glet/bind/arrays.h"

#include <cstdint>
#include <cstring>
#include <memory>

#include "glet/error.h"
#include "glet/net/protocol.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

// Smaller frames share one receive buffer in libzmq, and a capsule costs more than the copy.
constexpr std::size_t kCopyBelow = 8192;

exec::DType dtype_of(const std::string& name, const py::array& array) {
  using exec::DType;
  const py::dtype dtype = array.dtype();
  const char kind = dtype.kind();
  const auto bytes = dtype.itemsize();
  if (dtype.byteorder() != '>') {
    if (kind == 'f' && bytes == 4) return DType::kFloat32;
    if (kind == 'f' && bytes == 8) return DType::kFloat64;
    if (kind == 'f' && bytes == 2) return DType::kFloat16;
    if (kind == 'u' && bytes == 2) return DType::kBFloat16;
    if (kind == 'i' && bytes == 8) return DType::kInt64;
    if (kind == 'i' && bytes == 4) return DType::kInt32;
    if (kind == 'i' && bytes == 2) return DType::kInt16;
    if (kind == 'i' && bytes == 1) return DType::kInt8;
    if (kind == 'u' && bytes == 1) return DType::kUInt8;
    if (kind == 'b') return DType::kBool;
  }
  throw ArgumentError(
      "input '" + name + "' is an array of " + std::string(py::str(dtype)) +
      "; valid are float32, float64, float16, uint16 (as bfloat16), int64, int32, int16, int8, "
      "uint8 and bool, little-endian");
}

py::dtype numpy_dtype(exec::DType dtype) {
  using exec::DType;
  switch (dtype) {
    case DType::kFloat32:
      return py::dtype::of<float>();
    case DType::kFloat64:
      return py::dtype::of<double>();
    case DType::kFloat16:
      return py::dtype("e");
    case DType::kBFloat16:
      return py::dtype::of<std::uint16_t>();
    case DType::kInt64:
      return py::dtype::of<std::int64_t>();
    case DType::kInt32:
      return py::dtype::of<std::int32_t>();
    case DType::kInt16:
      return py::dtype::of<std::int16_t>();
    case DType::kInt8:
      return py::dtype::of<std::int8_t>();
    case DType::kUInt8:
      return py::dtype::of<std::uint8_t>();
    case DType::kBool:
      return py::dtype::of<bool>();
  }
  throw WireError("unknown dtype");
}

}  // namespace

EncodedArrays encode_arrays(const NamedArrays& arrays) {
  std::vector<exec::TensorSpec> specs;
  EncodedArrays encoded;
  specs.reserve(arrays.size());
  encoded.frames.reserve(arrays.size());
  for (const auto& [name, given] : arrays) {
    const exec::DType dtype = dtype_of(name, given);
    const bool contiguous = (given.flags() & py::array::c_style) != 0;
    const py::array array = contiguous ? given : py::array::ensure(given, py::array::c_style);
    if (!array) throw py::error_already_set();
    exec::TensorSpec& spec = specs.emplace_back();
    spec.name = name;
    spec.dtype = dtype;
    spec.shape.assign(array.shape(), array.shape() + array.ndim());
    const auto bytes = static_cast<std::size_t>(array.nbytes());
    net::Message& frame = encoded.frames.emplace_back(bytes);
    if (bytes > 0) std::memcpy(frame.data(), array.data(), bytes);
  }
  encoded.specs = net::encode_specs(specs);
  return encoded;
}

py::array to_array(const exec::TensorSpec& spec, net::Message frame) {
  const py::dtype dtype = numpy_dtype(spec.dtype);
  const bool aligned =
      reinterpret_cast<std::uintptr_t>(frame.data()) % exec::dtype_bytes(spec.dtype) == 0;
  if (frame.size() < kCopyBelow || !aligned) return py::array(dtype, spec.shape, frame.data());
  auto kept = std::make_unique<net::Message>(std::move(frame));
  const void* data = kept->data();
  const py::capsule owner(kept.get(), [](void* held) { delete static_cast<net::Message*>(held); });
  static_cast<void>(kept.release());
  return py::array(dtype, spec.shape, data, owner);
}

}  // namespace glet::bind
