#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <vector>

#include "glet/exec/tensor.h"

namespace glet::bind {

// numpy's dtype of a tensor; bfloat16, which numpy does not have, is shown as uint16, bytes as
// objects.
pybind11::dtype numpy_dtype(exec::DType dtype);

// Dimensions of `n` items of a tensor.
std::vector<pybind11::ssize_t> batch_shape(const exec::TensorSpec& spec, int n);

// An array over foreign memory that `owner` keeps alive; nothing is copied. Not for bytes, see
// objects.h.
pybind11::array view(const exec::TensorSpec& spec, std::vector<pybind11::ssize_t> shape,
                     const void* data, pybind11::handle owner);

}  // namespace glet::bind
