#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "glet/exec/partition/cuda_context.h"
#include "glet/exec/partition/cuda_driver.h"
#include "glet/exec/partition/placement.h"

namespace glet::exec {

// The SMs of a device in units, by ONE split call. The driver takes only groups of the same call
// together (CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION otherwise), and groups of two calls may be
// the same SMs: so a device is split once, and everything on it is a union of these units.
class SmSplit {
 public:
  // As many units as there are of the smallest size that the device splits into. No context is
  // made. Throws DeviceError.
  SmSplit(const CudaDriver& driver, int device);
  SmSplit(const SmSplit&) = delete;
  SmSplit& operator=(const SmSplit&) = delete;

  const UnitGrid& grid() const { return grid_; }
  int device() const { return device_; }
  // The parts of a placement, for one descriptor. ArgumentError for one that is not on the grid.
  std::vector<cuda::DevResource> parts(const Placement& placement) const;

 private:
  bool try_size(const CudaDriver& driver, unsigned sms);

  int device_;
  UnitGrid grid_;
  cuda::DevResource all_;
  std::vector<cuda::DevResource> units_;
  cuda::DevResource remainder_;
};

struct GreenOptions {
  int streams = 1;
  // Of the streams, 0 for normal, lower runs first; the driver takes the nearest that it has.
  int priority = 0;
};

// A set of SMs and the streams that launch on it. Nothing keeps anybody else off these SMs: work
// has to be launched on streams of contexts that do not overlap. A CUDA graph that was captured on
// a stream keeps the SMs of its context whatever stream launches it, and dies with the context.
class GreenContext {
 public:
  // Throws DeviceError when the driver refuses, or gives fewer SMs than the placement has;
  // ArgumentError for a placement that is not on the grid, or less than one stream.
  GreenContext(std::shared_ptr<const PrimaryContext> primary, const SmSplit& split,
               const Placement& placement, const GreenOptions& options);

  // Differs from that of every other context of this process, so that what was captured on a
  // destroyed one is not taken for the next at the same place.
  std::uint64_t id() const { return id_; }
  const Placement& placement() const { return placement_; }
  int priority() const { return priority_; }  // as it was asked for
  // As the driver counts them; may be more than the placement has, never fewer.
  int sms() const { return sms_; }
  const std::shared_ptr<const PrimaryContext>& primary() const { return primary_; }
  // For CurrentContext; belongs to one thread at a time.
  cuda::Context context() const { return context_; }
  int streams() const { return static_cast<int>(streams_.size()); }
  cuda::Stream stream(int index = 0) const;
  // Of its holder, like its streams; made when it is first asked for. Throws DeviceError.
  DeviceTimer& timer() const;

 private:
  struct DestroyGreen {
    const CudaDriver* driver;
    void operator()(cuda::GreenObject* green) const;
  };
  struct DestroyStream {
    const CudaDriver* driver;
    void operator()(cuda::StreamObject* stream) const;
  };
  void create(const SmSplit& split);
  void create_streams(const GreenOptions& options);

  // In this order: timer and streams go before their context, and it goes before the primary one.
  std::shared_ptr<const PrimaryContext> primary_;
  std::unique_ptr<cuda::GreenObject, DestroyGreen> green_;
  std::vector<std::unique_ptr<cuda::StreamObject, DestroyStream>> streams_;
  mutable std::unique_ptr<DeviceTimer> timer_;

  std::uint64_t id_;
  Placement placement_;
  int priority_;
  cuda::Context context_ = nullptr;
  int sms_ = 0;
};

}  // namespace glet::exec
