#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "glet/exec/partition/cuda_api.h"

namespace glet::exec {

// Device memory of another process on this host, as a request names it in place of the tensor's
// bytes. python/glet/wire/README.md has the frame.
struct DeviceTensor {
  static constexpr std::size_t kFrameBytes = 104;
  using Host = std::array<unsigned char, 16>;

  cuda::IpcHandle handle;    // of the whole allocation
  std::uint64_t offset = 0;  // of the tensor in it
  std::uint64_t bytes = 0;   // of the tensor
  Host host{};               // whose memory it is: this_host() there
};

// This boot of this machine; the same in its containers. Zeros where the system does not say.
const DeviceTensor::Host& this_host();

std::string device_frame(const DeviceTensor& tensor);
// Nothing when the frame is not one.
std::optional<DeviceTensor> read_device_frame(std::span<const std::byte> frame);

}  // namespace glet::exec
