#include "glet/exec/engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <shared_mutex>

#include "glet/error.h"
#include "glet/exec/completion_queue.h"
#include "glet/exec/preparer.h"
#include "glet/exec/worker.h"

namespace glet::exec {

class Engine::Impl {
 public:
  std::shared_ptr<Worker> worker(GpuletId gpulet, const char* method) const {
    const std::shared_lock lock(mutex);
    return find(gpulet, method);
  }

  // With `mutex` held.
  std::shared_ptr<Worker> find(GpuletId gpulet, const char* method) const {
    const auto found = workers.find(gpulet);
    if (found != workers.end() && found->second != nullptr) return found->second;
    throw ArgumentError(std::string("[Engine.") + method + "] no gpulet " + std::to_string(gpulet) +
                        " here; there are " + std::to_string(workers.size()));
  }

  // Answers a run of submissions for one gpulet.
  void admit(std::span<Submission> run, std::vector<Completion>& refused) {
    if (!refusing.load()) {
      const std::shared_lock lock(mutex);
      const auto found = workers.find(run.front().gpulet);
      if (found != workers.end() && found->second != nullptr) {
        found->second->submit(run, refused);
        return;
      }
    }
    for (Submission& submission : run) {
      Completion& answer = refused.emplace_back();
      answer.tag = submission.tag;
      answer.outcome = Outcome::kUnavailable;
      answer.gpulet = submission.gpulet;
      answer.model = submission.model;
      if (submission.payload != nullptr && submission.payload->release_on_owner()) {
        answer.payload = std::move(submission.payload);
      }
    }
  }

  CompletionQueue completions;  // outlives the workers
  std::atomic<bool> refusing = false;
  mutable std::shared_mutex mutex;
  // Kept, with the contexts that lie idle, when their last gpulet goes: another may come.
  std::map<int, std::shared_ptr<GreenDevice>> devices;
  std::map<GpuletId, std::shared_ptr<Worker>> workers;  // null while one starts
  Preparer preparer;                                    // ends before them
};

Engine::Engine() : impl_(std::make_unique<Impl>()) {}

Engine::~Engine() {
  for (auto& [gpulet, worker] : impl_->workers) worker->stop(Nanos(0));
}

PartitionReport Engine::add_gpulet(GpuletId gpulet, const PartitionSpec& spec) {
  {
    const std::unique_lock lock(impl_->mutex);
    if (!impl_->workers.try_emplace(gpulet).second) {
      throw ArgumentError("[Engine.add_gpulet] gpulet " + std::to_string(gpulet) +
                          " is there already");
    }
  }
  std::shared_ptr<Worker> worker;
  try {
    worker = std::make_shared<Worker>(gpulet, spec, impl_->completions);
  } catch (...) {
    const std::unique_lock lock(impl_->mutex);
    impl_->workers.erase(gpulet);
    throw;
  }
  {
    const std::unique_lock lock(impl_->mutex);
    impl_->workers[gpulet] = worker;
    if (spec.kind == PartitionSpec::Kind::kGreen) {
      impl_->devices.try_emplace(spec.device, GreenDevice::of(spec.device));
    }
  }
  return worker->partition();
}

void Engine::remove_gpulet(GpuletId gpulet, Nanos drain_until) {
  std::shared_ptr<Worker> worker;
  {
    const std::unique_lock lock(impl_->mutex);
    worker = impl_->find(gpulet, "remove_gpulet");
    impl_->workers.erase(gpulet);
  }
  worker->stop(drain_until);
}

PartitionReport Engine::resize(GpuletId gpulet, const PartitionSpec& spec) {
  return impl_->worker(gpulet, "resize")->resize(spec);
}

void Engine::set_loans(GpuletId gpulet, const std::vector<LoanSpec>& loans) {
  const auto worker = impl_->worker(gpulet, "set_loans");
  const PartitionSpec own = worker->spec();
  std::vector<std::shared_ptr<Loan>> made;
  for (const LoanSpec& wanted : loans) {
    const auto lender = impl_->worker(wanted.lender, "set_loans");
    if (lender == worker) {
      throw ArgumentError("[Engine.set_loans] gpulet " + std::to_string(gpulet) +
                          " cannot lend to itself");
    }
    const PartitionSpec theirs = lender->spec();
    made.push_back(std::make_shared<Loan>(Loan{.lender = lender,
                                               .own = own,
                                               .theirs = theirs,
                                               .wide = joined(own, theirs),
                                               .preparer = &impl_->preparer}));
    made.back()->known.insert(wanted.latency.begin(), wanted.latency.end());
  }
  worker->set_loans(std::move(made));
}

std::shared_ptr<GreenDevice> Engine::green_device(GpuletId gpulet) const {
  const auto worker = impl_->worker(gpulet, "green_device");
  if (worker->kind() == PartitionSpec::Kind::kGreen) return GreenDevice::of(worker->device());
  throw ArgumentError("[Engine.green_device] gpulet " + std::to_string(gpulet) + " is of kind " +
                      std::string(kind_name(worker->kind())) + "; a green one is needed");
}

GreenPoolCounts Engine::green_counts(int device) const {
  const std::shared_lock lock(impl_->mutex);
  const auto found = impl_->devices.find(device);
  if (found != impl_->devices.end()) return found->second->pool().counts();
  throw ArgumentError("[Engine.green_counts] device " + std::to_string(device) +
                      " has had no green gpulet here");
}

void Engine::close_idle_imports() {
  std::vector<std::shared_ptr<GreenDevice>> devices;
  {
    const std::shared_lock lock(impl_->mutex);
    for (const auto& [number, device] : impl_->devices) devices.push_back(device);
  }
  for (const auto& device : devices) device->imports().close_idle(now());
}

PartitionReport Engine::partition(GpuletId gpulet) const {
  return impl_->worker(gpulet, "partition")->partition();
}

void Engine::load(GpuletId gpulet, ModelId model, std::unique_ptr<Runner> runner,
                  batch::ModelPlan plan) {
  impl_->worker(gpulet, "load")->load(model, std::move(runner), std::move(plan));
}

void Engine::update(GpuletId gpulet, ModelId model, batch::ModelPlan plan) {
  impl_->worker(gpulet, "update")->update(model, std::move(plan));
}

void Engine::unload(GpuletId gpulet, ModelId model, Nanos drain_until) {
  impl_->worker(gpulet, "unload")->unload(model, drain_until);
}

std::vector<Nanos> Engine::measure(GpuletId gpulet, ModelId model, int batch, int repeats) {
  return impl_->worker(gpulet, "measure")->measure(model, batch, repeats);
}

void Engine::submit(std::vector<Submission>& burst) {
  // Owed before admission is tried: a drain_all() either sees these or is seen by them.
  impl_->completions.expect(burst.size());
  const auto by_gpulet = [](const Submission& a, const Submission& b) {
    return a.gpulet < b.gpulet;
  };
  if (!std::is_sorted(burst.begin(), burst.end(), by_gpulet)) {
    std::stable_sort(burst.begin(), burst.end(), by_gpulet);
  }
  std::vector<Completion> refused;
  for (auto first = burst.begin(); first != burst.end();) {
    const auto last = std::upper_bound(first, burst.end(), *first, by_gpulet);
    impl_->admit({first, last}, refused);
    first = last;
  }
  impl_->completions.push(refused);
  burst.clear();
}

bool Engine::cancel(const Cancellation& wanted) {
  const std::shared_lock lock(impl_->mutex);
  const auto found = impl_->workers.find(wanted.gpulet);
  return found != impl_->workers.end() && found->second != nullptr && found->second->cancel(wanted);
}

std::size_t Engine::drain(std::vector<Completion>& out, std::size_t max) {
  return impl_->completions.drain(out, max);
}

int Engine::completion_fd() const {
  return impl_->completions.fd();
}

bool Engine::drain_all(Nanos until) {
  impl_->refusing.store(true);
  return impl_->completions.wait_settled(until);
}

std::vector<ModelStats> Engine::stats() const {
  std::vector<ModelStats> all;
  const std::shared_lock lock(impl_->mutex);
  for (const auto& [gpulet, worker] : impl_->workers) {
    if (worker != nullptr) worker->stats(all);
  }
  return all;
}

Nanos now() {
  return std::chrono::duration_cast<Nanos>(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace glet::exec
