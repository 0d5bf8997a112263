#include "glet/exec/partition/green_device.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace glet::exec {

struct GreenDevice::Listeners {
  void tell(std::uint64_t context_id) {
    std::vector<std::shared_ptr<ContextListener>> present;
    {
      const std::lock_guard lock(mutex);
      std::erase_if(all, [](const auto& listener) { return listener.expired(); });
      for (const auto& listener : all) {
        if (auto alive = listener.lock()) present.push_back(std::move(alive));
      }
    }
    for (const auto& listener : present) listener->context_ends(context_id);
  }

  std::mutex mutex;
  std::vector<std::weak_ptr<ContextListener>> all;
};

std::shared_ptr<GreenDevice> GreenDevice::of(int device) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<GreenDevice>> devices;
  const std::lock_guard lock(mutex);
  auto& known = devices[device];
  if (auto there = known.lock()) return there;
  auto made = std::make_shared<GreenDevice>(device);
  known = made;
  return made;
}

GreenPoolOptions GreenDevice::telling(std::shared_ptr<Listeners> listeners) {
  GreenPoolOptions options;
  options.before_destroy = [listeners = std::move(listeners)](const GreenContext& context) {
    listeners->tell(context.id());
  };
  return options;
}

GreenDevice::GreenDevice(int device)
    : listeners_(std::make_shared<Listeners>()),
      primary_(std::make_shared<const PrimaryContext>(CudaDriver::shared(), device)),
      pool_(CudaDriver::shared(), device, telling(listeners_)),
      imports_(primary_) {}

void GreenDevice::listen(std::weak_ptr<ContextListener> listener) {
  const std::lock_guard lock(listeners_->mutex);
  std::erase_if(listeners_->all, [](const auto& other) { return other.expired(); });
  listeners_->all.push_back(std::move(listener));
}

}  // namespace glet::exec
