#include "glet/exec/staging.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::exec {

BlockLayout::BlockLayout(const std::vector<TensorSpec>& specs, int batch) {
  if (batch < 1) {
    throw ArgumentError("[BlockLayout] batch " + std::to_string(batch) + "; must be at least 1");
  }
  const std::size_t most = std::numeric_limits<std::size_t>::max() / 4;
  for (const TensorSpec& spec : specs) {
    const std::size_t item = spec.bytes();
    const auto count = static_cast<std::size_t>(batch);
    if (item > (most - bytes) / count) {
      throw ArgumentError("[BlockLayout] '" + spec.name + "' does not fit into memory: " +
                          std::to_string(batch) + " times " + std::to_string(item) + " bytes");
    }
    item_bytes.push_back(item);
    offsets.push_back(bytes);
    bytes += (item * count + kAlignment - 1) / kAlignment * kAlignment;
  }
}

struct PinnedPool::State {
  std::shared_ptr<const PrimaryContext> primary;
  std::size_t block_bytes = 0;

  mutable std::mutex mutex;
  std::vector<std::byte*> idle;
  std::size_t blocks = 0;

  std::byte* allocate() {
    const CudaDriver& driver = primary->driver();
    const CurrentContext current(driver, primary->context());
    void* memory = nullptr;
    driver.call(driver.entry().host_alloc, &memory, block_bytes, cuda::kHostPortable);
    std::memset(memory, 0, block_bytes);
    return static_cast<std::byte*>(memory);
  }
  void free(std::byte* memory) noexcept {
    try {
      const CurrentContext current(primary->driver(), primary->context());
      primary->driver().entry().host_free.function(memory);
    } catch (const DeviceError&) {
      // The device is lost, and its memory with it.
    }
  }
  ~State() {
    for (std::byte* memory : idle) free(memory);
  }
};

PinnedPool::Block& PinnedPool::Block::operator=(Block&& other) noexcept {
  if (this != &other) {
    reset();
    state_ = std::move(other.state_);
    data_ = std::exchange(other.data_, nullptr);
  }
  return *this;
}

void PinnedPool::Block::reset() noexcept {
  std::byte* memory = std::exchange(data_, nullptr);
  if (memory == nullptr) return;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->idle.size() < kIdleLimit) {
      state_->idle.push_back(std::exchange(memory, nullptr));
    } else {
      --state_->blocks;
    }
  }
  if (memory != nullptr) state_->free(memory);
  state_.reset();
}

PinnedPool::PinnedPool(std::shared_ptr<const PrimaryContext> primary, std::size_t block_bytes)
    : state_(std::make_shared<State>()) {
  state_->primary = std::move(primary);
  state_->block_bytes = std::max(block_bytes, BlockLayout::kAlignment);
  state_->idle.reserve(kIdleLimit);
}

PinnedPool::Block PinnedPool::take() {
  Block block;
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->idle.empty()) {
      block.data_ = state_->idle.back();
      state_->idle.pop_back();
    }
  }
  if (block.data_ == nullptr) {
    block.data_ = state_->allocate();
    const std::lock_guard lock(state_->mutex);
    ++state_->blocks;
  }
  block.state_ = state_;
  return block;
}

std::size_t PinnedPool::bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->blocks * state_->block_bytes;
}

namespace {

// Bytes of one copy for all; 0 where it takes several.
std::size_t span_of(const BlockLayout& layout, int n, std::span<const cuda::DevicePointer> device) {
  const std::size_t last = device.size() - 1;
  std::size_t used = 0;
  for (std::size_t i = 0; i < device.size(); ++i) {
    if (device[i] - device[0] != layout.offsets[i]) return 0;
    used += layout.item_bytes[i] * static_cast<std::size_t>(n);
  }
  const std::size_t span =
      layout.offsets[last] + layout.item_bytes[last] * static_cast<std::size_t>(n);
  // A call costs as much as some ten kilobytes over PCIe.
  constexpr std::size_t kCallBytes = 16384;
  return span <= used + kCallBytes * last ? span : 0;
}

template <typename Copy>
void copy_block(const BlockLayout& layout, int n, const DeviceTensors& tensors, Copy copy) {
  const auto device = tensors.addresses;
  if (device.empty()) return;
  const bool together = tensors.one_block || device.size() == 1;
  const std::size_t span = together ? span_of(layout, n, device) : 0;
  if (span > 0) {
    copy(device[0], std::size_t{0}, span);
    return;
  }
  for (std::size_t i = 0; i < device.size(); ++i) {
    const std::size_t bytes = layout.item_bytes[i] * static_cast<std::size_t>(n);
    if (bytes > 0) copy(device[i], layout.offsets[i], bytes);
  }
}

}  // namespace

void copy_to_device(const CudaDriver& driver, const BlockLayout& layout, int n,
                    const std::byte* block, const DeviceTensors& device, cuda::Stream stream) {
  copy_block(layout, n, device, [&](cuda::DevicePointer to, std::size_t from, std::size_t bytes) {
    driver.call(driver.entry().copy_to_device, to, block + from, bytes, stream);
  });
}

void copy_to_host(const CudaDriver& driver, const BlockLayout& layout, int n, std::byte* block,
                  const DeviceTensors& device, cuda::Stream stream) {
  copy_block(layout, n, device, [&](cuda::DevicePointer from, std::size_t to, std::size_t bytes) {
    driver.call(driver.entry().copy_to_host, block + to, from, bytes, stream);
  });
}

PinnedBatch::PinnedBatch(std::shared_ptr<const Signature> signature, PinnedPool::Block block,
                         const BlockLayout& layout)
    : OutputBatch(std::move(signature)), block_(std::move(block)) {
  for (std::size_t i = 0; i < layout.offsets.size(); ++i) {
    parts_.push_back({block_.data() + layout.offsets[i], layout.item_bytes[i]});
  }
}

}  // namespace glet::exec
