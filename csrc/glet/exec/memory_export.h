#pragma once

#include <cstddef>
#include <optional>

#include "glet/exec/device_tensor.h"

namespace glet::exec {

// Names `bytes` of device memory of this process for another, after all work that writes them has
// ended: that of `stream`, or of the whole device without one. The memory has to stay as it is
// until whoever was told has answered.
//
// Throws ArgumentError, one line with what to do, for memory that is not of a device or of a kind
// that cannot be named (pools and expandable segments); DeviceError.
DeviceTensor export_memory(cuda::DevicePointer address, std::size_t bytes,
                           std::optional<cuda::Stream> stream);

}  // namespace glet::exec
