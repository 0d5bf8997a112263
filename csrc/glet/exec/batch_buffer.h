#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <vector>

#include "glet/exec/tensor.h"

namespace glet::exec {

// One batch tensor per tensor spec, zeroed, each starting on a cache line (which is also what
// vectorised kernels want).
class BatchBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;

  // Throws ArgumentError when `max_batch` < 1 or the memory cannot be had.
  BatchBuffer(const std::vector<TensorSpec>& specs, int max_batch);

  std::size_t size() const { return tensors_.size(); }
  std::byte* data(std::size_t index) const { return tensors_[index].get(); }
  std::size_t item_bytes(std::size_t index) const { return item_bytes_[index]; }

  // Whether an address lies in one of the tensors.
  bool owns(const void* address) const;

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::vector<std::unique_ptr<std::byte, Free>> tensors_;
  std::vector<std::size_t> item_bytes_;
  std::size_t max_batch_;
};

}  // namespace glet::exec
