#include "glet/bind/numpy_view.h"

#include <array>
#include <utility>

namespace py = pybind11;

namespace glet::bind {
namespace {

// numpy's type numbers, part of its stable interface; indexed by DType.
constexpr std::array<int, exec::kNumericDTypes + 1> kTypeNumbers{
    11,  // float32
    12,  // float64
    23,  // float16
    4,   // bfloat16, as uint16
    7,   // int64
    5,   // int32
    3,   // int16
    1,   // int8
    2,   // uint8
    0,   // bool
    4,   // uint16
    6,   // uint32
    8,   // uint64
    17,  // bytes, as objects
};

}  // namespace

py::dtype numpy_dtype(exec::DType dtype) {
  return py::dtype(kTypeNumbers[static_cast<std::size_t>(dtype)]);
}

std::vector<py::ssize_t> batch_shape(const exec::TensorSpec& spec, int n) {
  std::vector<py::ssize_t> shape{n};
  shape.insert(shape.end(), spec.shape.begin(), spec.shape.end());
  return shape;
}

py::array view(const exec::TensorSpec& spec, std::vector<py::ssize_t> shape, const void* data,
               py::handle owner) {
  return py::array(numpy_dtype(spec.dtype), std::move(shape), {}, data, owner);
}

}  // namespace glet::bind
