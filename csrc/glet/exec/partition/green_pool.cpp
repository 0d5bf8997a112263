#include "glet/exec/partition/green_pool.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <utility>

namespace glet::exec {

struct GreenLease::State {
  State(std::shared_ptr<const CudaDriver> driver, int device, GreenPoolOptions wanted)
      : options(std::move(wanted)),
        split(*driver, device),
        primary(std::make_shared<const PrimaryContext>(std::move(driver), device)) {}

  using Contexts = std::list<std::unique_ptr<GreenContext>>;

  std::unique_ptr<GreenContext> take_idle(const Placement& placement, int priority) {
    const std::lock_guard lock(mutex);
    const auto at = std::find_if(idle.begin(), idle.end(), [&](const auto& context) {
      return context->placement() == placement && context->priority() == priority;
    });
    if (at == idle.end()) return nullptr;
    auto context = std::move(*at);
    idle.erase(at);
    ++counts.reused;
    ++counts.in_use;
    return context;
  }

  void give_back(Contexts& returned) {
    {
      const std::lock_guard lock(mutex);
      --counts.in_use;
      idle.splice(idle.begin(), returned);
      const auto limit = closed ? std::size_t{0} : options.idle_limit;
      while (idle.size() > limit) returned.splice(returned.end(), idle, std::prev(idle.end()));
      counts.destroyed += returned.size();
    }
    destroy(returned);
  }

  void close() {
    Contexts left;
    {
      const std::lock_guard lock(mutex);
      closed = true;
      left.swap(idle);
      counts.destroyed += left.size();
    }
    destroy(left);
  }

  void destroy(Contexts& contexts) {
    for (const auto& context : contexts) {
      if (options.before_destroy) options.before_destroy(*context);
    }
    contexts.clear();
  }

  const GreenPoolOptions options;
  const SmSplit split;
  const std::shared_ptr<const PrimaryContext> primary;

  std::mutex mutex;
  Contexts idle;  // most recently used first
  GreenPoolCounts counts;
  bool closed = false;
};

GreenLease::GreenLease(std::shared_ptr<State> state, std::unique_ptr<GreenContext> context)
    : state_(std::move(state)), context_(std::move(context)) {}

GreenLease& GreenLease::operator=(GreenLease&& other) noexcept {
  if (this != &other) {
    reset();
    state_ = std::move(other.state_);
    context_ = std::move(other.context_);
  }
  return *this;
}

void GreenLease::reset() noexcept {
  const auto state = std::move(state_);
  if (context_ == nullptr) return;
  State::Contexts returned;
  returned.push_back(std::move(context_));
  state->give_back(returned);
}

GreenPool::GreenPool(std::shared_ptr<const CudaDriver> driver, int device, GreenPoolOptions options)
    : state_(std::make_shared<GreenLease::State>(std::move(driver), device, std::move(options))) {}

GreenPool::~GreenPool() {
  state_->close();
}

const UnitGrid& GreenPool::grid() const {
  return state_->split.grid();
}

const GreenPoolOptions& GreenPool::options() const {
  return state_->options;
}

GreenLease GreenPool::lease(const Placement& placement, int priority) {
  if (auto context = state_->take_idle(placement, priority)) return {state_, std::move(context)};
  GreenOptions wanted = state_->options.context;
  wanted.priority = priority;
  auto context = std::make_unique<GreenContext>(state_->primary, state_->split, placement, wanted);
  const std::lock_guard lock(state_->mutex);
  ++state_->counts.created;
  ++state_->counts.in_use;
  return {state_, std::move(context)};
}

GreenPoolCounts GreenPool::counts() const {
  const std::lock_guard lock(state_->mutex);
  auto counts = state_->counts;
  counts.idle = state_->idle.size();
  return counts;
}

}  // namespace glet::exec
