#include "glet/exec/worker.h"

#include <algorithm>
#include <utility>

#include "glet/error.h"

// The callers' side of a worker; worker_loop.cpp is the thread's.
namespace glet::exec {
namespace {

std::chrono::steady_clock::time_point clock_time(Nanos at) {
  return std::chrono::steady_clock::time_point(at);
}

void check_batch(const char* method, ModelId model, const Runner& runner, int batch) {
  if (batch >= 1 && batch <= runner.max_batch()) return;
  throw ArgumentError(std::string("[Engine.") + method + "] batch " + std::to_string(batch) +
                      " of model " + std::to_string(model) + "; its runner takes 1.." +
                      std::to_string(runner.max_batch()));
}

// Empty when the payload fits.
std::string misfit(const Payload* payload, Runner& runner,
                   const std::vector<std::size_t>& input_bytes) {
  const Signature& signature = runner.signature();
  const std::size_t given = payload != nullptr ? payload->inputs() : 0;
  if (given != input_bytes.size()) {
    return "got " + std::to_string(given) + " inputs; the model takes " +
           std::to_string(input_bytes.size());
  }
  for (std::size_t i = 0; i < given; ++i) {
    const TensorSpec& spec = signature.inputs[i];
    if (const DeviceTensor* there = payload->device_input(i)) {
      if (there->bytes == input_bytes[i]) continue;
      return "input '" + spec.name + "' is " + std::to_string(there->bytes) +
             " bytes of device memory; it takes " + std::to_string(input_bytes[i]);
    }
    const auto bytes = payload->input(i);
    if (bytes.size() == input_bytes[i] && !spec.is_bytes()) continue;
    if (std::string wrong = spec.misfit(bytes); !wrong.empty()) {
      return "input '" + spec.name + "' " + wrong;
    }
  }
  if (payload == nullptr || !payload->on_device()) return {};
  if (runner.transfers() == nullptr) {
    return "got device memory; here the model runs on host memory (runner " +
           std::string(runner.kind()) + "): send host arrays";
  }
  for (std::size_t i = 0; i < signature.outputs.size(); ++i) {
    const DeviceTensor* there = payload->device_output(i);
    const TensorSpec& spec = signature.outputs[i];
    if (there == nullptr || there->bytes == spec.bytes()) continue;
    return "output '" + spec.name + "' has " + std::to_string(spec.bytes()) + " bytes; " +
           std::to_string(there->bytes) + " of device memory are there for it";
  }
  return {};
}

}  // namespace

Worker::Worker(GpuletId gpulet, const PartitionSpec& spec, CompletionQueue& completions)
    : gpulet_(gpulet),
      kind_(spec.kind),
      device_(spec.device),
      priority_(spec.priority),
      completions_(completions),
      spec_(spec),
      partition_(make_partition(spec)) {
  std::promise<void> entered;
  auto ready = entered.get_future();
  thread_ = std::thread([this, &entered] { main(entered); });
  try {
    ready.get();
  } catch (...) {
    thread_.join();
    throw;
  }
}

PartitionReport Worker::partition() {
  std::future<PartitionReport> answer;
  {
    const std::lock_guard lock(mutex_);
    if (stop_) throw ArgumentError("[Engine.partition] the gpulet is being removed");
    answer = questions_.emplace_back().get_future();
  }
  wake_.notify_one();
  return answer.get();
}

// Its units are lent already: asking for them again would make a second context of them.
bool Worker::same_green(const PartitionSpec& spec) const {
  const std::lock_guard lock(mutex_);
  return kind_ == PartitionSpec::Kind::kGreen && spec.placement == spec_.placement &&
         spec.cores == spec_.cores;
}

PartitionReport Worker::resize(const PartitionSpec& wanted) {
  PartitionSpec spec = wanted;
  spec.priority = priority_;
  if (spec.kind != kind_) {
    throw ArgumentError("[Engine.resize] gpulet " + std::to_string(gpulet_) + " is of kind " +
                        std::string(kind_name(kind_)) + " and cannot become " +
                        std::string(kind_name(spec.kind)) + "; remove it and add another");
  }
  if (spec.device != device_) {
    throw ArgumentError("[Engine.resize] gpulet " + std::to_string(gpulet_) + " is on device " +
                        std::to_string(device_) + " and cannot move to device " +
                        std::to_string(spec.device) + "; remove it and add another");
  }
  if (same_green(spec)) return partition();
  const auto resize = std::make_shared<Resize>();
  resize->spec = spec;
  resize->other = make_partition(spec);
  auto result = resize->result.get_future();
  {
    const std::lock_guard lock(mutex_);
    if (stop_) throw ArgumentError("[Engine.resize] the gpulet is being removed");
    resizes_.push_back(resize);
  }
  wake_.notify_one();
  auto report = result.get();
  resize->other.reset();  // here, where it may take long, and not on the gpulet's thread
  return report;
}

void Worker::load(ModelId model, std::unique_ptr<Runner> runner, batch::ModelPlan plan) {
  check_batch("load", model, *runner, plan.limits.max_batch);
  auto entry = std::make_unique<Model>(Model{.id = model,
                                             .runner = std::move(runner),
                                             .planned_batch = plan.limits.max_batch,
                                             .plan_version = 0,
                                             .table = plan.latency,
                                             .input_bytes = {},
                                             .context_id = 0,
                                             .admitting = true,
                                             .preparing = false,
                                             .stats = {}});
  for (const TensorSpec& spec : entry->runner->signature().inputs) {
    entry->input_bytes.push_back(spec.bytes());
  }
  entry->stats.gpulet = gpulet_;
  entry->stats.model = model;
  {
    const std::lock_guard lock(mutex_);
    if (!admitting_) throw ArgumentError("[Engine.load] the gpulet is being removed");
    if (find(model) != nullptr) {
      throw ArgumentError("[Engine.load] model " + std::to_string(model) + " is on gpulet " +
                          std::to_string(gpulet_) + " already");
    }
    queue_.add(model, std::move(plan));
    for (const auto& loan : loans_) add_to_loan(*loan, *entry);
    models_.emplace(model, std::move(entry));
    refresh_threads_ = true;
  }
  wake_.notify_one();
}

void Worker::update(ModelId model, batch::ModelPlan plan) {
  {
    const std::lock_guard lock(mutex_);
    Model& entry = require(model, "update");
    check_batch("update", model, *entry.runner, plan.limits.max_batch);
    const int batch = plan.limits.max_batch;
    const profile::LatencyTable table = plan.latency;
    queue_.update(model, std::move(plan));
    entry.planned_batch = batch;
    ++entry.plan_version;
    if (!(entry.table == table)) {
      entry.table = table;
      forget_in_loans(model, false);
      for (const auto& loan : loans_) add_to_loan(*loan, entry);
    }
  }
  wake_.notify_one();
}

void Worker::unload(ModelId model, Nanos drain_until) {
  std::vector<Completion> left;
  std::unique_ptr<Model> removed;  // destroyed last and unlocked: a runner may take long to go
  {
    Lock lock(mutex_);
    Model& entry = require(model, "unload");
    entry.admitting = false;
    ++waiters_;
    changed_.wait_until(lock, clock_time(drain_until),
                        [&] { return stop_ || (running_ != &entry && queue_.size(model) == 0); });
    std::vector<batch::Request> requests;
    queue_.remove(model, requests);
    give_back(requests, left);
    changed_.wait(lock, [&] { return running_ != &entry && !entry.preparing; });
    --waiters_;
    forget_in_loans(model, true);
    removed = std::move(models_.at(model));
    models_.erase(model);
  }
  completions_.push(left);
}

std::vector<Nanos> Worker::measure(ModelId model, int batch, int repeats) {
  if (repeats < 1) {
    throw ArgumentError("[Engine.measure] repeats " + std::to_string(repeats) +
                        "; must be at least 1");
  }
  std::future<std::vector<Nanos>> result;
  {
    const std::lock_guard lock(mutex_);
    check_batch("measure", model, *require(model, "measure").runner, batch);
    Measurement& added = measurements_.emplace_back();
    added.model = model;
    added.batch = batch;
    added.remaining = repeats;
    result = added.result.get_future();
  }
  wake_.notify_one();
  return result.get();
}

void Worker::stats(std::vector<ModelStats>& out) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, model] : models_) {
    if (!queue_.has(id)) continue;  // all but unloaded
    ModelStats& copy = out.emplace_back(model->stats);
    copy.waiting = queue_.size(id);
    copy.correction = queue_.correction(id);
    copy.running = running_ == model.get() ? now() - running_since_ : Nanos(0);
    copy.runner = model->runner->report();
  }
}

void Worker::submit(std::span<Submission> burst, std::vector<Completion>& refused) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    const Nanos at = now();
    Model* model = nullptr;
    for (Submission& submission : burst) {
      if (model == nullptr || model->id != submission.model) model = find(submission.model);
      std::string error;
      const Outcome outcome = admit(model, submission, at, error);
      if (outcome == Outcome::kOk) {
        wake = true;
        continue;
      }
      Pending pending{submission.tag, submission.model, submission.arrival,
                      std::move(submission.payload)};
      Completion& answer = refused.emplace_back(completion(pending, outcome, at));
      if (!error.empty()) answer.error = std::make_shared<const std::string>(std::move(error));
      // Not freed under the lock: it goes with the burst.
      submission.payload = std::move(pending.payload);
    }
    if (wake) submitted_.store(true, std::memory_order_relaxed);
    // While its share is lent it sleeps on; take_back() wakes it.
    wake = wake && !lent_ && std::exchange(sleeping_, false);
  }
  if (wake) wake_.notify_one();
}

// kOk when it waits in the queue now.
Outcome Worker::admit(Model* model, Submission& submission, Nanos at, std::string& error) {
  if (model == nullptr || !model->admitting || !admitting_) return Outcome::kUnavailable;
  error = misfit(submission.payload.get(), *model->runner, model->input_bytes);
  if (!error.empty()) return Outcome::kInvalid;
  if (free_slots_.empty()) {
    free_slots_.push_back(pending_.size());
    pending_.emplace_back();
  }
  const std::uint64_t slot = free_slots_.back();
  const batch::Request request{slot, submission.arrival, submission.deadline};
  switch (queue_.push(model->id, request, at, busy_until_)) {
    case batch::Admit::kFull:
      ++model->stats.full;
      return Outcome::kFull;
    case batch::Admit::kLate:
      ++model->stats.late;
      return Outcome::kLate;
    case batch::Admit::kAccepted:
      break;
  }
  free_slots_.pop_back();
  pending_[slot] = {submission.tag, model->id, submission.arrival, std::move(submission.payload)};
  return Outcome::kOk;
}

bool Worker::cancel(const Cancellation& wanted) {
  Pending pending;  // freed after the lock is open
  std::vector<Completion> answer;
  {
    const std::lock_guard lock(mutex_);
    const auto found = queue_.cancel(wanted.model, wanted.deadline, [&](std::uint64_t slot) {
      return pending_[slot].tag == wanted.tag;
    });
    if (!found) return false;
    pending = take_pending(found->id);
    ++find(wanted.model)->stats.cancelled;
    answer.push_back(completion(pending, Outcome::kCancelled, now()));
    if (waiters_ > 0) changed_.notify_all();
  }
  completions_.push(answer);
  return true;
}

void Worker::stop(Nanos drain_until) {
  const std::lock_guard one_at_a_time(stopping_);
  if (!thread_.joinable()) return;
  std::vector<Completion> left;
  std::vector<std::unique_ptr<Model>> removed;  // a batch may still run until the thread ended
  {
    Lock lock(mutex_);
    admitting_ = false;
    ++waiters_;
    changed_.wait_until(lock, clock_time(drain_until),
                        [&] { return running_ == nullptr && queue_.size() == 0; });
    changed_.wait(lock, [&] { return !is_preparing(); });
    --waiters_;
    std::vector<batch::Request> requests;
    for (auto& [id, model] : models_) {
      if (!model->admitting) continue;  // an unload() is about to remove this one
      queue_.remove(id, requests);
      removed.push_back(std::move(model));
    }
    std::erase_if(models_, [](const auto& entry) { return entry.second == nullptr; });
    give_back(requests, left);
    stop_ = true;
  }
  wake_.notify_one();
  changed_.notify_all();
  thread_.join();
  completions_.push(left);
}

Worker::Pending Worker::take_pending(std::uint64_t slot) {
  free_slots_.push_back(slot);
  return std::move(pending_[slot]);
}

void Worker::give_back(const std::vector<batch::Request>& requests,
                       std::vector<Completion>& answers) {
  const Nanos at = now();
  for (const batch::Request& request : requests) {
    Pending pending = take_pending(request.id);
    answers.push_back(completion(pending, Outcome::kUnavailable, at));
  }
}

// Takes the payload along only if its owner wants it back.
Completion Worker::completion(Pending& pending, Outcome outcome, Nanos at) const {
  Completion answer;
  answer.tag = pending.tag;
  answer.outcome = outcome;
  answer.gpulet = gpulet_;
  answer.model = pending.model;
  answer.queued = at - pending.arrival;
  if (pending.payload != nullptr && pending.payload->release_on_owner()) {
    answer.payload = std::move(pending.payload);
  }
  return answer;
}

Worker::Model* Worker::find(ModelId model) {
  const auto found = models_.find(model);
  return found == models_.end() ? nullptr : found->second.get();
}

Worker::Model& Worker::require(ModelId model, const char* method) {
  Model* found = find(model);
  if (found != nullptr && found->admitting) return *found;
  throw ArgumentError(std::string("[Engine.") + method + "] model " + std::to_string(model) +
                      " is not loaded on gpulet " + std::to_string(gpulet_));
}

}  // namespace glet::exec
