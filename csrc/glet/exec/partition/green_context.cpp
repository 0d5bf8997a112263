#include "glet/exec/partition/green_context.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::exec {
namespace {

using cuda::DevResource;
using cuda::Result;

struct Steps {
  unsigned smallest;
  unsigned alignment;
};

// What cuda.h 13.0 says for drivers that do not say it themselves.
Steps known_steps(int capability_major) {
  if (capability_major >= 9) return {8, 8};
  if (capability_major == 8) return {4, 2};
  return {2, 2};
}

Steps steps_of(const CudaDriver& driver, int device, const DevResource& all) {
  Steps steps{all.sm.min_partition, all.sm.coscheduled_alignment};
  const auto known = known_steps(driver.device_attribute(device, cuda::kCapabilityMajor));
  if (steps.smallest == 0) steps.smallest = known.smallest;
  if (steps.alignment == 0) steps.alignment = known.alignment;
  steps.smallest = (steps.smallest + steps.alignment - 1) / steps.alignment * steps.alignment;
  return steps;
}

bool refuses_size(Result result) {
  return result == cuda::kInvalidResourceConfiguration || result == cuda::kInvalidValue;
}

std::atomic<std::uint64_t> next_id{1};

}  // namespace

SmSplit::SmSplit(const CudaDriver& driver, int device) : device_(device) {
  driver.require_green();
  driver.call(driver.entry().device_get_resource, driver.device(device), &all_, cuda::kResourceSm);
  const Steps steps = steps_of(driver, device, all_);
  // Some devices refuse sizes that are aligned as they say: never assume, try the next.
  for (unsigned sms = steps.smallest; sms <= all_.sm.sm_count; sms += steps.alignment) {
    if (try_size(driver, sms)) return;
  }
  throw DeviceError("[SmSplit] device " + std::to_string(device) + " with " +
                    std::to_string(all_.sm.sm_count) + " SMs splits into no units of " +
                    std::to_string(steps.smallest) + " SMs or more; green contexts do not work");
}

bool SmSplit::try_size(const CudaDriver& driver, unsigned sms) {
  const auto& split = driver.entry().split_by_count;
  unsigned groups = 0;
  Result result = split.function(nullptr, &groups, &all_, nullptr, 0, sms);
  if (refuses_size(result) || (result == cuda::kSuccess && groups == 0)) return false;
  driver.check(result, split.name);
  units_.assign(groups, DevResource{});
  remainder_ = DevResource{};
  result = split.function(units_.data(), &groups, &all_, &remainder_, 0, sms);
  if (refuses_size(result)) return false;
  driver.check(result, split.name);
  units_.resize(std::min<std::size_t>(groups, units_.size()));
  if (units_.empty()) return false;

  grid_.units = static_cast<int>(units_.size());
  grid_.unit_sms = static_cast<int>(units_.front().sm.sm_count);
  const bool rest = remainder_.type == cuda::kResourceSm;
  grid_.remainder_sms = rest ? static_cast<int>(remainder_.sm.sm_count) : 0;
  for (const auto& unit : units_) {
    if (unit.sm.sm_count == units_.front().sm.sm_count && unit.sm.sm_count > 0) continue;
    throw DeviceError("[SmSplit] device " + std::to_string(device_) +
                      " was split into units of different sizes, " +
                      std::to_string(units_.front().sm.sm_count) + " and " +
                      std::to_string(unit.sm.sm_count) + " SMs; glet needs equal ones");
  }
  return true;
}

std::vector<DevResource> SmSplit::parts(const Placement& placement) const {
  check_on_grid(grid_, placement);
  std::vector<DevResource> parts(units_.begin() + placement.first,
                                 units_.begin() + placement.end());
  if (placement.remainder) parts.push_back(remainder_);
  return parts;
}

void GreenContext::DestroyGreen::operator()(cuda::GreenObject* green) const {
  driver->entry().green_destroy.function(green);
}

void GreenContext::DestroyStream::operator()(cuda::StreamObject* stream) const {
  // The context goes next and takes its SMs along: nothing may run on them any more.
  driver->entry().stream_synchronize.function(stream);
  driver->entry().stream_destroy.function(stream);
}

GreenContext::GreenContext(std::shared_ptr<const PrimaryContext> primary, const SmSplit& split,
                           const Placement& placement, const GreenOptions& options)
    : primary_(std::move(primary)),
      green_(nullptr, DestroyGreen{&primary_->driver()}),
      id_(next_id++),
      placement_(placement),
      priority_(options.priority) {
  if (options.streams < 1) {
    throw ArgumentError("[GreenContext] " + std::to_string(options.streams) +
                        " streams; at least 1");
  }
  create(split);
  create_streams(options);
}

void GreenContext::create(const SmSplit& split) {
  const CudaDriver& driver = primary_->driver();
  const auto& entry = driver.entry();
  auto parts = split.parts(placement_);
  cuda::ResourceDesc desc = nullptr;
  driver.call(entry.generate_desc, &desc, parts.data(), static_cast<unsigned>(parts.size()));
  cuda::Green green = nullptr;
  driver.call(entry.green_create, &green, desc, driver.device(split.device()),
              cuda::kGreenDefaultStream);
  green_.reset(green);
  driver.call(entry.ctx_from_green, &context_, green);
  DevResource got;
  driver.call(entry.ctx_get_resource, context_, &got, cuda::kResourceSm);
  sms_ = static_cast<int>(got.sm.sm_count);
  const int asked = given(split.grid(), placement_).sms;
  if (sms_ < asked) {
    throw DeviceError("[GreenContext] the driver gave " + std::to_string(sms_) + " of " +
                      std::to_string(asked) + " SMs for " + describe(placement_));
  }
}

void GreenContext::create_streams(const GreenOptions& options) {
  const CudaDriver& driver = primary_->driver();
  streams_.reserve(static_cast<std::size_t>(options.streams));
  for (int i = 0; i < options.streams; ++i) {
    cuda::Stream stream = nullptr;
    driver.call(driver.entry().green_stream_create, &stream, green_.get(), cuda::kStreamNonBlocking,
                options.priority);
    streams_.emplace_back(stream, DestroyStream{&driver});
  }
}

cuda::Stream GreenContext::stream(int index) const {
  if (index < 0 || index >= streams()) {
    throw ArgumentError("[GreenContext.stream] stream " + std::to_string(index) +
                        " is not there; there are " + std::to_string(streams()));
  }
  return streams_[static_cast<std::size_t>(index)].get();
}

DeviceTimer& GreenContext::timer() const {
  if (timer_ == nullptr) {
    timer_ = std::make_unique<DeviceTimer>(primary_->shared_driver(), context_);
  }
  return *timer_;
}

}  // namespace glet::exec
