#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>

#include "glet/exec/submission.h"

namespace glet::bind {

// Input bytes that stay where Python has them: any C-contiguous buffer objects, held until the
// completion is drained, and released under the GIL.
class BufferPayload : public exec::Payload {
 public:
  // With the GIL. Throws ArgumentError that names the request and the input that is no such buffer.
  BufferPayload(std::uint64_t tag, pybind11::handle buffers);
  BufferPayload(const BufferPayload&) = delete;
  BufferPayload& operator=(const BufferPayload&) = delete;
  ~BufferPayload() override;

  std::size_t inputs() const override { return count_; }
  std::span<const std::byte> input(std::size_t index) const override {
    const Py_buffer& held = buffers_[index];
    return {static_cast<const std::byte*>(held.buf), static_cast<std::size_t>(held.len)};
  }
  bool release_on_owner() const override { return true; }

 private:
  void release();

  std::size_t count_ = 0;
  std::unique_ptr<Py_buffer[]> buffers_;  // an exporter may point into its view: they do not move
};

}  // namespace glet::bind
