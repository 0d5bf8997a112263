#include "glet/net/engine_load.h"

#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "glet/error.h"
#include "glet/short_slices.h"

namespace glet::net {
namespace {

// A timer wakes the thread up to some tens of microseconds late; the last stretch is polled.
constexpr Nanos kSpin = std::chrono::microseconds(20);
// Requests handed over in one submit() when the schedule is behind.
constexpr std::size_t kBurst = 128;
// Answers counted under one lock: the sender waits for it.
constexpr std::size_t kAnswers = 256;

class Staged : public exec::Payload {
 public:
  explicit Staged(std::shared_ptr<const StagedInputs> inputs) : inputs_(std::move(inputs)) {}
  std::size_t inputs() const override { return inputs_->size(); }
  std::span<const std::byte> input(std::size_t index) const override { return (*inputs_)[index]; }

 private:
  std::shared_ptr<const StagedInputs> inputs_;
};

void check_weights(const std::vector<EngineRoute>& routes) {
  for (const EngineRoute& route : routes) {
    if (route.weight > 0.0 && std::isfinite(route.weight)) continue;
    throw ArgumentError("[EngineLoad] the route to gpulet " + std::to_string(route.gpulet) +
                        " has weight " + std::to_string(route.weight) +
                        "; weights are finite and > 0");
  }
}

void wait_readable(std::span<pollfd> descriptors) {
  ::poll(descriptors.data(), descriptors.size(), -1);
}

}  // namespace

EngineLoad::~EngineLoad() {
  close();
}

int EngineLoad::add_model(EngineLoadModel model) {
  const std::lock_guard lock(mutex_);
  if (started_) throw ArgumentError("[EngineLoad.add_model] the run has started");
  check_schedule("[EngineLoad.add_model] ", model.samples.size(), model.arrivals_ns,
                 model.sample_order);
  auto made = std::make_unique<Model>();
  for (StagedInputs& sample : model.samples) {
    made->samples.push_back(std::make_shared<const StagedInputs>(std::move(sample)));
  }
  model.samples.clear();
  const std::vector<EngineRoute> routes = std::move(model.routes);
  made->given = std::move(model);
  models_.push_back(std::move(made));
  try {
    route(static_cast<int>(models_.size()) - 1, routes, true);
  } catch (...) {
    models_.pop_back();
    throw;
  }
  return static_cast<int>(models_.size()) - 1;
}

void EngineLoad::set_routes(int model, const std::vector<EngineRoute>& routes) {
  const std::lock_guard sending(sending_);
  const std::lock_guard lock(mutex_);
  check(model, "set_routes");
  route(model, routes, !started_);
}

void EngineLoad::check(int model, const char* method) const {
  if (model >= 0 && static_cast<std::size_t>(model) < models_.size()) return;
  throw ArgumentError(std::string("[EngineLoad.") + method + "] no model " + std::to_string(model) +
                      " here; there are " + std::to_string(models_.size()));
}

void EngineLoad::route(int model, const std::vector<EngineRoute>& routes, bool may_add) {
  check_weights(routes);
  std::vector<route::Route> weights;
  for (const EngineRoute& given : routes) {
    const std::size_t engine = engine_number(given, may_add);
    const auto same = [&](const Target& target) {
      return target.engine == engine && target.gpulet == given.gpulet &&
             target.engine_model == given.model && target.model == model;
    };
    auto found = std::find_if(targets_.begin(), targets_.end(), same);
    if (found == targets_.end()) {
      found = targets_.insert(targets_.end(), {engine, given.gpulet, given.model, model});
    }
    weights.push_back({static_cast<route::GpuletId>(found - targets_.begin()), given.weight});
  }
  router_.set_routes(model, weights);
}

std::size_t EngineLoad::engine_number(const EngineRoute& route, bool may_add) {
  if (route.engine == nullptr) throw ArgumentError("[EngineLoad] a route has no engine");
  const auto known = std::find(engines_.begin(), engines_.end(), route.engine);
  if (known != engines_.end()) return static_cast<std::size_t>(known - engines_.begin());
  if (!may_add) {
    throw ArgumentError(
        "[EngineLoad.set_routes] an engine that no model had a route to at the start");
  }
  engines_.push_back(route.engine);
  return engines_.size() - 1;
}

void EngineLoad::start() {
  const std::lock_guard join(join_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (started_) throw ArgumentError("[EngineLoad.start] one run per object; make another");
    started_ = true;
  }
  lay_out();
  bursts_.resize(engines_.size());
  start_ = exec::now();
  drainer_ = std::thread([this] { drain_all(); });
  sender_ = std::thread([this] { send_all(); });
}

void EngineLoad::lay_out() {
  std::size_t total = 0;
  for (const auto& model : models_) total += model->given.arrivals_ns.size();
  records_.reserve(total);
  for (std::size_t m = 0; m < models_.size(); ++m) {
    const EngineLoadModel& model = models_[m]->given;
    for (std::size_t i = 0; i < model.arrivals_ns.size(); ++i) {
      LoadRecord& record = records_.emplace_back();
      record.model = static_cast<std::int32_t>(m);
      record.sample = model.sample_order.empty()
                          ? static_cast<std::int32_t>(i % models_[m]->samples.size())
                          : model.sample_order[i];
      record.intended_ns = model.arrivals_ns[i];
    }
  }
  std::stable_sort(records_.begin(), records_.end(), [](const auto& left, const auto& right) {
    return left.intended_ns < right.intended_ns;
  });
  targets_of_.assign(records_.size(), route::kNoGpulet);
}

bool EngineLoad::wait(Nanos timeout) {
  std::unique_lock lock(mutex_);
  if (!started_) throw ArgumentError("[EngineLoad.wait] start it first");
  return over_cv_.wait_for(lock, timeout, [this] { return over_; });
}

void EngineLoad::stop() {
  stop_.store(true);
  wake_sender_.notify();
}

void EngineLoad::close() {
  end_.store(true);
  stop();
  wake_drainer_.notify();
  const std::lock_guard join(join_mutex_);
  if (sender_.joinable()) sender_.join();
  if (drainer_.joinable()) drainer_.join();
  const std::lock_guard lock(mutex_);
  engines_.clear();
  targets_.clear();
  router_ = route::Router();
}

std::vector<LoadProgress> EngineLoad::progress() {
  std::vector<LoadProgress> all;
  for (const auto& model : models_) all.push_back(model->counters.read());
  return all;
}

const std::vector<LoadRecord>& EngineLoad::records() const {
  const std::lock_guard lock(mutex_);
  if (!over_) throw ArgumentError("[EngineLoad.records] the run is not over; wait() for it");
  return records_;
}

Nanos EngineLoad::first_batch(int model, const exec::Engine* engine, exec::GpuletId gpulet) const {
  const std::lock_guard lock(mutex_);
  for (const Target& target : targets_) {
    if (target.model == model && target.gpulet == gpulet &&
        engines_[target.engine].get() == engine) {
      return target.first_batch;
    }
  }
  return kNever;
}

// ---- the sending thread

void EngineLoad::send_all() {
  ::pthread_setname_np(::pthread_self(), "glet-send");
  ::prctl(PR_SET_TIMERSLACK, 1);
  ShortSlices::ask();
  std::size_t next = 0;
  while (next < records_.size() && !stop_.load(std::memory_order_relaxed)) {
    const Nanos due = start_ + Nanos(records_[next].intended_ns);
    const Nanos now = exec::now();
    if (due <= now) {
      send_due(next, now);
    } else if (due - now > kSpin) {
      send_timer_.set(due - kSpin / 2);
      pollfd waits[] = {{send_timer_.fd(), POLLIN, 0}, {wake_sender_.fd(), POLLIN, 0}};
      wait_readable(waits);
    }
  }
  {
    const std::lock_guard lock(mutex_);
    all_sent_ = true;
    give_up_at_ = later_by(exec::now(), drain_);
  }
  wake_drainer_.notify();
}

// Routes and submits what is due, at most kBurst.
void EngineLoad::send_due(std::size_t& next, Nanos now) {
  const std::lock_guard sending(sending_);
  {
    const std::lock_guard lock(mutex_);
    const std::size_t last = std::min(records_.size(), next + kBurst);
    for (; next < last && start_ + Nanos(records_[next].intended_ns) <= now; ++next) {
      LoadRecord& record = records_[next];
      Model& model = *models_[static_cast<std::size_t>(record.model)];
      record.sent_ns = (now - start_).count();
      model.counters.count_sent();
      ++sent_;
      const route::GpuletId picked = router_.pick(record.model);
      if (picked == route::kNoGpulet) {
        answer_unrouted(record, now);
        continue;
      }
      targets_of_[next] = picked;
      const Target& target = targets_[static_cast<std::size_t>(picked)];
      exec::Submission& submission = bursts_[target.engine].emplace_back();
      submission.tag = next;
      submission.gpulet = target.gpulet;
      submission.model = target.engine_model;
      submission.arrival = now;
      submission.deadline = later_by(start_ + Nanos(record.intended_ns), model.given.deadline);
      submission.payload =
          std::make_unique<Staged>(model.samples[static_cast<std::size_t>(record.sample)]);
    }
  }
  for (std::size_t i = 0; i < bursts_.size(); ++i) {
    if (!bursts_[i].empty()) engines_[i]->submit(bursts_[i]);
  }
}

void EngineLoad::answer_unrouted(LoadRecord& record, Nanos now) {
  record.answered_ns = (now - start_).count();
  record.outcome = static_cast<std::int32_t>(exec::Outcome::kUnavailable);
  Model& model = *models_[static_cast<std::size_t>(record.model)];
  model.counters.note_error("unavailable: no route");
  model.counters.count_answer(record, model.given.slo);
  ++answered_;
}

// ---- the draining thread

void EngineLoad::drain_all() {
  ::pthread_setname_np(::pthread_self(), "glet-drain");
  ::prctl(PR_SET_TIMERSLACK, 1);
  ShortSlices::ask();
  std::vector<pollfd> waits{{drain_timer_.fd(), POLLIN, 0}, {wake_drainer_.fd(), POLLIN, 0}};
  for (const auto& engine : engines_) waits.push_back({engine->completion_fd(), POLLIN, 0});
  std::vector<exec::Completion> done;
  while (!end_.load(std::memory_order_relaxed)) {
    std::size_t taken = 0;
    for (const auto& engine : engines_) {
      taken += engine->drain(done, kAnswers);
      take(done, exec::now());
      done.clear();
    }
    if (taken > 0) continue;
    {
      const std::lock_guard lock(mutex_);
      if (finished(exec::now())) break;
      drain_timer_.set(give_up_at_);
    }
    wait_readable(waits);
    wake_drainer_.clear();
  }
  // Records are read by others only when nobody writes them any more.
  stop();
  std::unique_lock lock(mutex_);
  while (!all_sent_) {
    lock.unlock();
    pollfd wait[] = {{wake_drainer_.fd(), POLLIN, 0}};
    wait_readable(wait);
    wake_drainer_.clear();
    lock.lock();
  }
  std::erase_if(records_, [](const LoadRecord& record) { return record.sent_ns < 0; });
  over_ = true;
  over_cv_.notify_all();
}

bool EngineLoad::finished(Nanos now) const {
  return all_sent_ && (answered_ == sent_ || now >= give_up_at_);
}

void EngineLoad::take(const std::vector<exec::Completion>& done, Nanos now) {
  if (done.empty()) return;
  const std::lock_guard lock(mutex_);
  for (const exec::Completion& answer : done) {
    if (answer.tag >= records_.size()) continue;  // of somebody before this run
    LoadRecord& record = records_[answer.tag];
    const std::int32_t number = targets_of_[answer.tag];
    if (number == route::kNoGpulet || record.answered_ns >= 0) continue;
    Target& target = targets_[static_cast<std::size_t>(number)];
    Model& model = *models_[static_cast<std::size_t>(record.model)];
    router_.done(record.model, number);
    record.answered_ns = (now - start_).count();
    record.outcome = static_cast<std::int32_t>(answer.outcome);
    if (answer.outcome == exec::Outcome::kOk) {
      record.batch = answer.batch;
      record.queue_us = record_us(answer.queued);
      record.execute_us = record_us(answer.executed);
      if (target.first_batch == kNever) target.first_batch = now - answer.executed;
    } else if (answer.error != nullptr) {
      model.counters.note_error("failed: " + *answer.error);
    } else if (answer.outcome == exec::Outcome::kUnavailable) {
      model.counters.note_error("unavailable: no such gpulet or model (any more)");
    }
    model.counters.count_answer(record, model.given.slo);
    ++answered_;
  }
}

}  // namespace glet::net
