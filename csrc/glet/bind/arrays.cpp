#include "glet/bind/arrays.h"

#include <cstdint>
#include <cstring>
#include <memory>

#include "glet/bind/numpy_view.h"
#include "glet/bind/objects.h"
#include "glet/error.h"
#include "glet/net/protocol.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

// Smaller frames share one receive buffer in libzmq, and a capsule costs more than the copy.
constexpr std::size_t kCopyBelow = 8192;

bool holds_bytes(const py::array& array) {
  const char kind = array.dtype().kind();
  return kind == 'O' || kind == 'S' || kind == 'U' || kind == 'T';
}

exec::DType dtype_of(const std::string& name, const py::array& array, bool bfloat16) {
  using exec::DType;
  const py::dtype dtype = array.dtype();
  const char kind = dtype.kind();
  const auto bytes = dtype.itemsize();
  if (holds_bytes(array)) return DType::kBytes;
  if (dtype.byteorder() != '>') {
    if (kind == 'f' && bytes == 4) return DType::kFloat32;
    if (kind == 'f' && bytes == 8) return DType::kFloat64;
    if (kind == 'f' && bytes == 2) return DType::kFloat16;
    if (kind == 'u' && bytes == 8) return DType::kUInt64;
    if (kind == 'u' && bytes == 4) return DType::kUInt32;
    if (kind == 'u' && bytes == 2) return bfloat16 ? DType::kBFloat16 : DType::kUInt16;
    if (kind == 'i' && bytes == 8) return DType::kInt64;
    if (kind == 'i' && bytes == 4) return DType::kInt32;
    if (kind == 'i' && bytes == 2) return DType::kInt16;
    if (kind == 'i' && bytes == 1) return DType::kInt8;
    if (kind == 'u' && bytes == 1) return DType::kUInt8;
    if (kind == 'b') return DType::kBool;
  }
  throw ArgumentError(
      "input '" + name + "' is an array of " + std::string(py::str(dtype)) +
      "; valid are float32, float64, float16, int64, int32, int16, int8, uint64, uint32, uint16 "
      "(also as bfloat16), uint8 and bool, little-endian, and bytes or str");
}

std::string objects_frame(const py::array& array, const std::string& where) {
  const py::array objects = as_objects(array);
  std::string frame;
  encode_bytes(objects, 0, static_cast<std::size_t>(objects.size()), exec::kAnyLength, where,
               frame);
  return frame;
}

}  // namespace

std::string raw_bytes(const py::array& array) {
  if (holds_bytes(array)) return objects_frame(array, "a sample's");
  const auto whole = py::array::ensure(array, py::array::c_style);
  return {static_cast<const char*>(whole.data()), static_cast<std::size_t>(whole.nbytes())};
}

EncodedArrays encode_arrays(const NamedArrays& arrays) {
  std::vector<exec::TensorSpec> specs;
  std::vector<bool> on_device;
  EncodedArrays encoded;
  specs.reserve(arrays.size());
  encoded.frames.reserve(arrays.size());
  for (const py::tuple& row : arrays) {
    if (row.size() < 2 || row.size() > 3) {
      throw ArgumentError("an input is (name, array) or (name, array, dtype)");
    }
    const auto name = row[0].cast<std::string>();
    on_device.push_back(py::isinstance<DeviceArray>(row[1]));
    if (on_device.back()) {
      const auto& there = row[1].cast<const DeviceArray&>();
      specs.push_back({name, there.dtype, there.shape});
      encoded.frames.emplace_back(std::string_view(there.frame));
      continue;
    }
    const auto given = row[1].cast<py::array>();
    const bool bfloat16 = row.size() == 3 && py::str("bfloat16").equal(row[2]);
    exec::TensorSpec& spec = specs.emplace_back();
    spec.name = name;
    spec.dtype = dtype_of(name, given, bfloat16);
    spec.shape.assign(given.shape(), given.shape() + given.ndim());
    if (spec.is_bytes()) {
      encoded.frames.emplace_back(std::string_view(objects_frame(given, "input '" + name + "':")));
      continue;
    }
    const bool contiguous = (given.flags() & py::array::c_style) != 0;
    const py::array array = contiguous ? given : py::array::ensure(given, py::array::c_style);
    if (!array) throw py::error_already_set();
    const auto bytes = static_cast<std::size_t>(array.nbytes());
    net::Message& frame = encoded.frames.emplace_back(bytes);
    if (bytes > 0) std::memcpy(frame.data(), array.data(), bytes);
  }
  encoded.specs = net::encode_specs(specs, on_device);
  return encoded;
}

py::array to_array(const exec::TensorSpec& spec, net::Message frame) {
  if (spec.is_bytes()) {
    return decode_bytes(spec, {spec.shape.begin(), spec.shape.end()}, frame.data(), 0, 1);
  }
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
