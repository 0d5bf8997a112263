#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include "glet/exec/partition/cuda_context.h"
#include "glet/time.h"

namespace glet::exec {

// Allocations of other processes that are open in the primary context of a device: opened once per
// handle, kept for the next request, closed when nobody has used them for a while or newer ones
// need the room. From any thread.
class MemoryImports {
 public:
  static constexpr std::size_t kMost = 64;
  // A client that has gone, or freed its memory, says nothing: what is open keeps it on the device.
  static constexpr Nanos kIdle = std::chrono::seconds(10);

  class Import {
   public:
    // Throws DeviceError.
    Import(std::shared_ptr<const PrimaryContext> primary, const cuda::IpcHandle& handle);
    Import(const Import&) = delete;
    Import& operator=(const Import&) = delete;
    ~Import();
    cuda::DevicePointer address() const { return address_; }
    std::size_t bytes() const { return bytes_; }

   private:
    std::shared_ptr<const PrimaryContext> primary_;
    cuda::DevicePointer address_ = 0;
    std::size_t bytes_ = 0;
  };

  explicit MemoryImports(std::shared_ptr<const PrimaryContext> primary)
      : primary_(std::move(primary)) {}

  // Whoever holds the result keeps it open. Throws DeviceError.
  std::shared_ptr<const Import> open(const cuda::IpcHandle& handle, Nanos now);
  void close_idle(Nanos now);
  std::size_t size() const;

 private:
  struct Entry {
    cuda::IpcHandle handle;
    std::shared_ptr<const Import> import;
    Nanos used{0};
  };

  std::shared_ptr<const PrimaryContext> primary_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the last used first
};

}  // namespace glet::exec
