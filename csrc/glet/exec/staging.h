#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "glet/exec/partition/cuda_context.h"
#include "glet/exec/runner.h"
#include "glet/exec/tensor.h"

namespace glet::exec {

// Where the tensors of a batch lie in one block: each begins at the next multiple of kAlignment
// after the one before. A device block that is laid out alike is copied by one call.
struct BlockLayout {
  static constexpr std::size_t kAlignment = 256;

  // Throws ArgumentError when `batch` < 1 or it is more than memory can hold.
  BlockLayout(const std::vector<TensorSpec>& specs, int batch);

  std::vector<std::size_t> item_bytes;
  std::vector<std::size_t> offsets;
  std::size_t bytes = 0;
};

// Host memory that the device copies from and to without the CPU, zeroed. Blocks of one size that
// are lent and come back, from any thread, also after the pool is gone.
class PinnedPool {
  struct State;

 public:
  static constexpr std::size_t kIdleLimit = 8;  // blocks kept for the next time

  class Block {
   public:
    Block() = default;
    Block(Block&& other) noexcept { *this = std::move(other); }
    Block& operator=(Block&& other) noexcept;
    ~Block() { reset(); }
    std::byte* data() const { return data_; }

   private:
    friend class PinnedPool;
    void reset() noexcept;
    std::shared_ptr<State> state_;
    std::byte* data_ = nullptr;
  };

  PinnedPool(std::shared_ptr<const PrimaryContext> primary, std::size_t block_bytes);

  // Throws DeviceError.
  Block take();
  // Of all blocks that are lent or kept.
  std::size_t bytes() const;

 private:
  std::shared_ptr<State> state_;
};

// Tensors of a batch on the device.
struct DeviceTensors {
  std::span<const cuda::DevicePointer> addresses;
  // They are one allocation, laid out as BlockLayout says. It cannot be told by the addresses: two
  // allocations may lie side by side, and no copy may go across.
  bool one_block = false;
};

// Copies the first `n` items of each tensor between a pinned block and the device, on a stream: in
// one call where the tensors are one block and the gaps in between are small, else in one per
// tensor. Throw DeviceError.
void copy_to_device(const CudaDriver& driver, const BlockLayout& layout, int n,
                    const std::byte* block, const DeviceTensors& device, cuda::Stream stream);
void copy_to_host(const CudaDriver& driver, const BlockLayout& layout, int n, std::byte* block,
                  const DeviceTensors& device, cuda::Stream stream);

// Outputs in pinned memory, which goes back to its pool with the last request.
class PinnedBatch : public OutputBatch {
 public:
  PinnedBatch(std::shared_ptr<const Signature> signature, PinnedPool::Block block,
              const BlockLayout& layout);

 private:
  PinnedPool::Block block_;
};

}  // namespace glet::exec
