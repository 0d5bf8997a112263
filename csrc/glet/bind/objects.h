#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <string>
#include <vector>

#include "glet/exec/tensor.h"

// Tensors of bytes as numpy sees them: arrays of objects, each a Python `bytes`.
namespace glet::bind {

// An array of `shape` of the elements of `n` frames of the tensor, the first at `first`, each
// `stride` bytes after the one before. The frames have been checked: TensorSpec::misfit().
pybind11::array decode_bytes(const exec::TensorSpec& spec, std::vector<pybind11::ssize_t> shape,
                             const std::byte* first, std::size_t stride, int n);

// Whatever numpy.asarray takes as a contiguous array of objects: strings stay whole.
pybind11::array as_objects(const pybind11::handle& given);

// Appends the frame of elements [begin, begin + count) of such an array. Throws ArgumentError,
// begun by `where`, for an element that is neither bytes nor str (which travels as UTF-8), or is
// longer than `max_bytes`.
void encode_bytes(const pybind11::array& objects, std::size_t begin, std::size_t count,
                  std::size_t max_bytes, const std::string& where, std::string& out);

}  // namespace glet::bind
