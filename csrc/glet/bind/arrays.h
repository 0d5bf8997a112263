#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>
#include <vector>

#include "glet/exec/tensor.h"
#include "glet/net/zmq.h"

// numpy arrays and frames. numpy has no bfloat16: such elements are uint16 arrays on its side.
namespace glet::bind {

using NamedArrays = std::vector<std::pair<std::string, pybind11::array>>;

struct EncodedArrays {
  std::string specs;  // net::encode_specs' form
  std::vector<net::Message> frames;
};

// Copies every array into a frame. Throws ArgumentError for an element type that cannot travel.
EncodedArrays encode_arrays(const NamedArrays& arrays);

// The frame's elements. Large, aligned frames are not copied: the array keeps them.
pybind11::array to_array(const exec::TensorSpec& spec, net::Message frame);

}  // namespace glet::bind
