#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace glet::web {

// Shared memory that clients registered, by name. Python maps it; the bytes are read and written
// here. A door's own, on the loop thread.
class ShmRegions {
 public:
  // Replaces what had the name.
  void add(const std::string& name, std::byte* address, std::size_t size);
  // Harmless when there is none of the name.
  void remove(const std::string& name);

  // [offset, offset + size) of the region; otherwise nothing, and `reason` is one line.
  std::optional<std::span<std::byte>> find(std::string_view name, std::uint64_t offset,
                                           std::uint64_t size, std::string& reason) const;

 private:
  std::map<std::string, std::span<std::byte>, std::less<>> regions_;
};

}  // namespace glet::web
