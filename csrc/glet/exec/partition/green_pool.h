#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "glet/exec/partition/green_context.h"

namespace glet::exec {

class GreenPool;

// A green context that belongs to its holder until it is given back, by reset() or the end of the
// lease. Nobody else gets it meanwhile: one worker, one stream.
class GreenLease {
 public:
  GreenLease() = default;
  GreenLease(GreenLease&& other) noexcept = default;
  GreenLease& operator=(GreenLease&& other) noexcept;
  ~GreenLease() { reset(); }

  explicit operator bool() const { return context_ != nullptr; }
  const GreenContext& operator*() const { return *context_; }
  const GreenContext* operator->() const { return context_.get(); }
  void reset() noexcept;

 private:
  friend class GreenPool;
  struct State;
  GreenLease(std::shared_ptr<State> state, std::unique_ptr<GreenContext> context);

  std::shared_ptr<State> state_;
  std::unique_ptr<GreenContext> context_;
};

struct GreenPoolOptions {
  GreenOptions context;
  // Contexts kept for the next time beyond those in use; the least recently used go first.
  std::size_t idle_limit = 32;
  // Called before a context goes, without a lock, for what was captured on it; until the last lease
  // has ended, on its thread. May not throw.
  std::function<void(const GreenContext&)> before_destroy;
};

struct GreenPoolCounts {
  std::uint64_t created = 0;
  std::uint64_t reused = 0;
  std::uint64_t destroyed = 0;
  std::size_t in_use = 0;
  std::size_t idle = 0;
};

// The green contexts of one device. They are made when they are first asked for, milliseconds, and
// kept: resizing a gpulet is to lease another placement and give this one back. Thread-safe;
// contexts are made and destroyed outside its lock, so nobody waits for another's.
class GreenPool {
 public:
  // Splits the device. Throws DeviceError.
  GreenPool(std::shared_ptr<const CudaDriver> driver, int device, GreenPoolOptions options = {});
  GreenPool(const GreenPool&) = delete;
  GreenPool& operator=(const GreenPool&) = delete;
  // What is in use lives on with its lease.
  ~GreenPool();

  const UnitGrid& grid() const;
  // A context of exactly these units that nobody holds. Placements may overlap, to lend a
  // neighbour's units; who must be alone takes disjoint ones.
  // Throws as GreenContext does, and then nothing has changed.
  GreenLease lease(const Placement& placement) {
    return lease(placement, options().context.priority);
  }
  // The same with another priority of its streams.
  GreenLease lease(const Placement& placement, int priority);
  GreenPoolCounts counts() const;

 private:
  const GreenPoolOptions& options() const;

  std::shared_ptr<GreenLease::State> state_;
};

}  // namespace glet::exec
