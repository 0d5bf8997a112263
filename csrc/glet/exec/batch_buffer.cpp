#include "glet/exec/batch_buffer.h"

#include <cstring>
#include <functional>

#include "glet/error.h"

namespace glet::exec {

BatchBuffer::BatchBuffer(const std::vector<TensorSpec>& specs, int max_batch)
    : max_batch_(static_cast<std::size_t>(max_batch)) {
  if (max_batch < 1) {
    throw ArgumentError("[BatchBuffer] max_batch " + std::to_string(max_batch) +
                        "; must be at least 1");
  }
  for (const TensorSpec& spec : specs) {
    const std::size_t item = spec.bytes();
    std::size_t bytes = 0;
    std::size_t padded = 0;
    std::byte* memory = nullptr;
    if (!__builtin_mul_overflow(item, max_batch_, &bytes) &&
        !__builtin_add_overflow(bytes, kAlignment, &padded)) {
      padded -= padded % kAlignment;  // aligned_alloc takes whole alignments, at least one
      memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, padded));
    }
    if (memory == nullptr) {
      throw ArgumentError("[BatchBuffer] no memory for '" + spec.name + "': " +
                          std::to_string(max_batch) + " times " + std::to_string(item) + " bytes");
    }
    tensors_.emplace_back(memory);
    std::memset(memory, 0, padded);
    item_bytes_.push_back(item);
  }
}

bool BatchBuffer::owns(const void* address) const {
  const auto* byte = static_cast<const std::byte*>(address);
  const std::less_equal<const std::byte*> not_after;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const std::byte* first = tensors_[i].get();
    const std::byte* end = first + item_bytes_[i] * max_batch_;
    if (not_after(first, byte) && !not_after(end, byte)) return true;
  }
  return false;
}

}  // namespace glet::exec
