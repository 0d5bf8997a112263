#include "glet/exec/partition/cuda_context.h"

#include <chrono>
#include <utility>

namespace glet::exec {

PrimaryContext::PrimaryContext(std::shared_ptr<const CudaDriver> driver, int device)
    : driver_(std::move(driver)), index_(device), device_(driver_->device(device)) {
  driver_->call(driver_->entry().primary_ctx_retain, &context_, device_);
}

PrimaryContext::~PrimaryContext() {
  driver_->entry().primary_ctx_release.function(device_);
}

CurrentContext::CurrentContext(const CudaDriver& driver, cuda::Context context) : driver_(driver) {
  driver_.call(driver_.entry().ctx_push_current, context);
}

CurrentContext::~CurrentContext() {
  cuda::Context popped = nullptr;
  driver_.entry().ctx_pop_current.function(&popped);
}

DeviceMemory device_memory(const CudaDriver& driver, cuda::Context context) {
  const CurrentContext current(driver, context);
  DeviceMemory memory;
  driver.call(driver.entry().mem_get_info, &memory.free_bytes, &memory.total_bytes);
  return memory;
}

CudaEvent::CudaEvent(std::shared_ptr<const CudaDriver> driver, cuda::Context context)
    : driver_(std::move(driver)) {
  const CurrentContext current(*driver_, context);
  driver_->call(driver_->entry().event_create, &event_, cuda::kEventBlockingSync);
}

CudaEvent::~CudaEvent() {
  driver_->entry().event_destroy.function(event_);
}

void CudaEvent::record(cuda::Stream stream) {
  driver_->call(driver_->entry().event_record, event_, stream);
}

void CudaEvent::wait() const {
  driver_->call(driver_->entry().event_synchronize, event_);
}

bool CudaEvent::passed() const {
  const auto& query = driver_->entry().event_query;
  const cuda::Result result = query.function(event_);
  if (result == cuda::kNotReady) return false;
  driver_->check(result, query.name);
  return true;
}

void CudaEvent::wait(Nanos spin) const {
  const auto until = std::chrono::steady_clock::now() + spin;
  while (!passed()) {
    if (std::chrono::steady_clock::now() < until) continue;
    wait();
    return;
  }
}

float CudaEvent::elapsed_ms(const CudaEvent& start) const {
  float ms = 0.0F;
  driver_->call(driver_->entry().event_elapsed_time, &ms, start.event_, event_);
  return ms;
}

Nanos DeviceTimer::wait() const {
  constexpr Nanos kSpin = std::chrono::microseconds(50);
  end_.wait(kSpin);
  return Nanos(static_cast<Nanos::rep>(static_cast<double>(end_.elapsed_ms(begin_)) * 1e6));
}

}  // namespace glet::exec
