#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "glet/exec/tensor.h"
#include "glet/net/zmq.h"

// numpy arrays and frames. numpy has no bfloat16: such elements are uint16 arrays on its side.
// Elements of bytes tensors are objects.
namespace glet::bind {

// (name, array) or (name, array, dtype); the dtype is looked at where the array does not tell it:
// "bfloat16" says that elements of uint16 are that.
using NamedArrays = std::vector<pybind11::tuple>;

// In place of an array: a tensor in device memory that net's frames can name.
struct DeviceArray {
  exec::DType dtype = exec::DType::kFloat32;
  std::vector<std::int64_t> shape;
  std::string frame;  // exec::device_frame()
};

struct EncodedArrays {
  std::string specs;  // net::encode_specs' form
  std::vector<net::Message> frames;
};

// Copies every array into a frame. Throws ArgumentError for an element type that cannot travel.
EncodedArrays encode_arrays(const NamedArrays& arrays);

// What one array is on the wire, in C order.
std::string raw_bytes(const pybind11::array& array);

// The frame's elements. Large, aligned frames are not copied: the array keeps them.
pybind11::array to_array(const exec::TensorSpec& spec, net::Message frame);

}  // namespace glet::bind
