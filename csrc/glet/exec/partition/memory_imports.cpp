#include "glet/exec/partition/memory_imports.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "glet/error.h"

namespace glet::exec {

MemoryImports::Import::Import(std::shared_ptr<const PrimaryContext> primary,
                              const cuda::IpcHandle& handle)
    : primary_(std::move(primary)) {
  const CudaDriver& driver = primary_->driver();
  const CurrentContext current(driver, primary_->context());
  driver.call(driver.entry().ipc_open_handle, &address_, handle, cuda::kIpcLazyPeerAccess);
  // What a client says of its size is not believed: a copy beyond the end takes the device along.
  cuda::DevicePointer base = 0;
  const auto result = driver.entry().address_range.function(&base, &bytes_, address_);
  if (result == cuda::kSuccess) return;
  driver.entry().ipc_close_handle.function(address_);
  driver.check(result, driver.entry().address_range.name);
}

MemoryImports::Import::~Import() {
  try {
    const CurrentContext current(primary_->driver(), primary_->context());
    primary_->driver().entry().ipc_close_handle.function(address_);
  } catch (const DeviceError&) {
    // The device is lost, and what was open with it.
  }
}

std::shared_ptr<const MemoryImports::Import> MemoryImports::open(const cuda::IpcHandle& handle,
                                                                 Nanos now) {
  std::shared_ptr<const Import> surplus;  // closed after the lock is open
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.handle == handle; });
  if (found != entries_.end()) {
    found->used = now;
    entries_.splice(entries_.begin(), entries_, found);
    return found->import;
  }
  auto import = std::make_shared<const Import>(primary_, handle);
  entries_.push_front({handle, import, now});
  if (entries_.size() > kMost) {
    surplus = std::move(entries_.back().import);
    entries_.pop_back();
  }
  return import;
}

void MemoryImports::close_idle(Nanos now) {
  std::list<Entry> idle;
  const std::lock_guard lock(mutex_);
  const auto first = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return now - entry.used >= kIdle; });
  idle.splice(idle.begin(), entries_, first, entries_.end());
}

std::size_t MemoryImports::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace glet::exec
