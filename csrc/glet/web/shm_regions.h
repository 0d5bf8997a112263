#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "glet/exec/device_tensor.h"

namespace glet::web {

// Memory that clients registered, by name: shared, which Python maps and whose bytes are read and
// written here, or of a device, which executors open. A door's own, on the loop thread.
class ShmRegions {
 public:
  struct Part {
    std::span<std::byte> host;
    std::optional<exec::DeviceTensor> device;  // set: in place of `host`
    std::size_t size() const { return device ? device->bytes : host.size(); }
  };

  // Both replace what had the name.
  void add(const std::string& name, std::byte* address, std::size_t size);
  void add(const std::string& name, const exec::DeviceTensor& whole);
  // Harmless when there is none of the name.
  void remove(const std::string& name);

  // [offset, offset + size) of the region; otherwise nothing, and `reason` is one line.
  std::optional<Part> find(std::string_view name, std::uint64_t offset, std::uint64_t size,
                           std::string& reason) const;

 private:
  std::map<std::string, Part, std::less<>> regions_;
};

}  // namespace glet::web
