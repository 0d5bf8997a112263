#include "glet/web/shm_regions.h"

#include <vector>

#include "glet/net/served_model.h"

namespace glet::web {

void ShmRegions::add(const std::string& name, std::byte* address, std::size_t size) {
  regions_.insert_or_assign(name, Part{std::span(address, size), std::nullopt});
}

void ShmRegions::add(const std::string& name, const exec::DeviceTensor& whole) {
  regions_.insert_or_assign(name, Part{{}, whole});
}

void ShmRegions::remove(const std::string& name) {
  regions_.erase(name);
}

std::optional<ShmRegions::Part> ShmRegions::find(std::string_view name, std::uint64_t offset,
                                                 std::uint64_t size, std::string& reason) const {
  const auto found = regions_.find(name);
  if (found == regions_.end()) {
    reason = "no shared memory region " + net::quoted(name);
    std::vector<std::string> names;
    for (const auto& [known, part] : regions_) names.push_back(known);
    if (const auto near = net::nearest_name(name, names)) {
      reason += "; did you mean '" + *near + "'?";
    } else {
      reason += names.empty() ? "; none is registered" : "; register it first";
    }
    return std::nullopt;
  }
  const Part& whole = found->second;
  if (offset > whole.size() || size > whole.size() - offset) {
    reason = "shared memory region '" + found->first + "' has " + std::to_string(whole.size()) +
             " bytes; " + std::to_string(size) + " from " + std::to_string(offset) +
             " on are not all in it";
    return std::nullopt;
  }
  if (!whole.device) return Part{whole.host.subspan(offset, size), std::nullopt};
  exec::DeviceTensor part = *whole.device;
  part.offset += offset;
  part.bytes = size;
  return Part{{}, part};
}

}  // namespace glet::web
