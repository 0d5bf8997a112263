#pragma once

#include <cstdint>
#include <memory>

#include "glet/exec/partition/green_pool.h"
#include "glet/exec/partition/memory_imports.h"

namespace glet::exec {

// Hears that a green context is about to go: what was captured on it has to go first. Called on any
// thread, without a lock.
class ContextListener {
 public:
  virtual ~ContextListener() = default;
  virtual void context_ends(std::uint64_t context_id) noexcept = 0;
};

// A device as the gpulets of this process share it: one split and one pool, since units of two
// splits may be the same SMs.
class GreenDevice {
 public:
  // The one of this process; made when nobody holds it any more. Throws DeviceError.
  static std::shared_ptr<GreenDevice> of(int device);

  explicit GreenDevice(int device);  // for of()
  GreenDevice(const GreenDevice&) = delete;
  GreenDevice& operator=(const GreenDevice&) = delete;

  int device() const { return primary_->device(); }
  const std::shared_ptr<const PrimaryContext>& primary() const { return primary_; }
  GreenPool& pool() { return pool_; }
  MemoryImports& imports() { return imports_; }
  // Until the listener is gone.
  void listen(std::weak_ptr<ContextListener> listener);

 private:
  struct Listeners;
  static GreenPoolOptions telling(std::shared_ptr<Listeners> listeners);

  std::shared_ptr<Listeners> listeners_;  // a lease that outlives the pool still tells them
  std::shared_ptr<const PrimaryContext> primary_;
  GreenPool pool_;
  MemoryImports imports_;
};

}  // namespace glet::exec
