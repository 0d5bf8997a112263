#pragma once

#include <cstddef>
#include <memory>

#include "glet/exec/partition/cuda_driver.h"
#include "glet/time.h"

namespace glet::exec {

// Keeps the primary context of a device, the one that torch allocates in, alive. Green contexts
// share its memory; without it each of them would build it up and tear it down again.
class PrimaryContext {
 public:
  // Throws DeviceError.
  PrimaryContext(std::shared_ptr<const CudaDriver> driver, int device);
  PrimaryContext(const PrimaryContext&) = delete;
  PrimaryContext& operator=(const PrimaryContext&) = delete;
  ~PrimaryContext();

  const CudaDriver& driver() const { return *driver_; }
  const std::shared_ptr<const CudaDriver>& shared_driver() const { return driver_; }
  int device() const { return index_; }
  cuda::Context context() const { return context_; }

 private:
  std::shared_ptr<const CudaDriver> driver_;
  int index_;
  cuda::Device device_;
  cuda::Context context_ = nullptr;
};

// Makes a context current to this thread while it lives. A green context may be current to one
// thread at a time.
class CurrentContext {
 public:
  // Throws DeviceError.
  CurrentContext(const CudaDriver& driver, cuda::Context context);
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;
  ~CurrentContext();

 private:
  const CudaDriver& driver_;
};

struct DeviceMemory {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
};

// Memory of the device of `context`, as the driver counts it now. Throws DeviceError.
DeviceMemory device_memory(const CudaDriver& driver, cuda::Context context);

// A point on a stream, with the device's time. Its stream has to be of the same context.
class CudaEvent {
 public:
  // Throws DeviceError, as all of them.
  CudaEvent(std::shared_ptr<const CudaDriver> driver, cuda::Context context);
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent();

  void record(cuda::Stream stream);
  // Sleeps until the device has passed the point.
  void wait() const;
  // Looks for as long as `spin`, then sleeps: waking up takes longer than a short kernel.
  void wait(Nanos spin) const;
  bool passed() const;
  // Device time from `start` to here; both have been recorded and passed.
  float elapsed_ms(const CudaEvent& start) const;

 private:
  std::shared_ptr<const CudaDriver> driver_;
  cuda::Event event_ = nullptr;
};

// How long the work of one batch took on the device, and the wait for its end.
class DeviceTimer {
 public:
  // Throws DeviceError, as all of them.
  DeviceTimer(const std::shared_ptr<const CudaDriver>& driver, cuda::Context context)
      : begin_(driver, context), end_(driver, context) {}

  void start(cuda::Stream stream) { begin_.record(stream); }
  void stop(cuda::Stream stream) { end_.record(stream); }
  // Waits until the device has passed stop(); device time from start() to there.
  Nanos wait() const;

 private:
  CudaEvent begin_;
  CudaEvent end_;
};

}  // namespace glet::exec
