#include "glet/exec/device_tensor.h"

#include <cstring>
#include <fstream>

namespace glet::exec {
namespace {

constexpr char kMagic[4] = {'G', 'L', 'C', 'U'};
constexpr std::uint32_t kVersion = 1;

struct Frame {
  char magic[4];
  std::uint32_t version;
  std::uint64_t offset;
  std::uint64_t bytes;
  DeviceTensor::Host host;
  cuda::IpcHandle handle;
};
static_assert(sizeof(Frame) == DeviceTensor::kFrameBytes);

// "xxxxxxxx-xxxx-...": 32 hexadecimal digits.
DeviceTensor::Host read_boot_id() {
  DeviceTensor::Host host{};
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  std::string digits;
  for (const char c : text) {
    if (c != '-') digits += c;
  }
  if (digits.size() != 2 * host.size() ||
      digits.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return host;
  }
  for (std::size_t i = 0; i < host.size(); ++i) {
    host[i] = static_cast<unsigned char>(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
  }
  return host;
}

}  // namespace

const DeviceTensor::Host& this_host() {
  static const DeviceTensor::Host host = read_boot_id();
  return host;
}

std::string device_frame(const DeviceTensor& tensor) {
  Frame frame{};
  std::memcpy(frame.magic, kMagic, sizeof kMagic);
  frame.version = kVersion;
  frame.offset = tensor.offset;
  frame.bytes = tensor.bytes;
  frame.host = tensor.host;
  frame.handle = tensor.handle;
  return {reinterpret_cast<const char*>(&frame), sizeof frame};
}

std::optional<DeviceTensor> read_device_frame(std::span<const std::byte> bytes) {
  Frame frame;
  if (bytes.size() != sizeof frame) return std::nullopt;
  std::memcpy(&frame, bytes.data(), sizeof frame);
  if (std::memcmp(frame.magic, kMagic, sizeof kMagic) != 0 || frame.version != kVersion) {
    return std::nullopt;
  }
  return DeviceTensor{frame.handle, frame.offset, frame.bytes, frame.host};
}

}  // namespace glet::exec
