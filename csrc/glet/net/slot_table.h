#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace glet::net {

// Things in flight, found again by the tag that travelled with them. A tag is (generation, index):
// a slot is reused, a tag never is, so an answer that comes twice or too late finds nothing.
template <typename T>
class SlotTable {
 public:
  // The slot may hold what its last owner left: T is reused so that its buffers are.
  std::pair<std::uint64_t, T*> take() {
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(slots_.size()));
      slots_.emplace_back();
    }
    const std::uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = slots_[index];
    slot.used = true;
    ++used_;
    return {tag_of(slot.generation, index), &slot.value};
  }

  T* find(std::uint64_t tag) {
    const auto index = static_cast<std::uint32_t>(tag);
    if (index >= slots_.size()) return nullptr;
    Slot& slot = slots_[index];
    return slot.used && slot.generation == tag >> 32 ? &slot.value : nullptr;
  }

  void release(std::uint64_t tag) {
    if (find(tag) == nullptr) return;
    const auto index = static_cast<std::uint32_t>(tag);
    slots_[index].used = false;
    ++slots_[index].generation;
    free_.push_back(index);
    --used_;
  }

  // Tags of all used slots for which `wanted(value)` holds. Collected first, because what the
  // caller does next may take and release slots.
  template <typename F>
  std::vector<std::uint64_t> tags_where(F&& wanted) const {
    std::vector<std::uint64_t> tags;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const Slot& slot = slots_[i];
      if (slot.used && wanted(slot.value)) {
        tags.push_back(tag_of(slot.generation, static_cast<std::uint32_t>(i)));
      }
    }
    return tags;
  }

  std::size_t size() const { return used_; }

 private:
  struct Slot {
    T value{};
    std::uint32_t generation = 1;
    bool used = false;
  };
  static std::uint64_t tag_of(std::uint32_t generation, std::uint32_t index) {
    return std::uint64_t{generation} << 32 | index;
  }

  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::size_t used_ = 0;
};

}  // namespace glet::net
