#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "glet/error.h"
#include "glet/exec/device_transfers.h"
#include "glet/exec/partition/green_context.h"
#include "glet/exec/worker.h"
#include "glet/short_slices.h"

// The thread's side of a worker; worker.cpp is the callers'.
namespace glet::exec {

namespace {

constexpr Nanos kLookOn = std::chrono::microseconds(20);

}  // namespace

void Worker::main(std::promise<void>& entered) {
  ::pthread_setname_np(::pthread_self(),
                       ("glet-g" + std::to_string(gpulet_)).substr(0, 15).c_str());
  // Timed waits of a thread end up to 50 us late by default; decisions here are finer than that.
  ::prctl(PR_SET_TIMERSLACK, 1);
  ShortSlices::ask();
  try {
    report_ = partition_->enter(false);
  } catch (...) {
    entered.set_exception(std::current_exception());
    return;
  }
  entered.set_value();
  loop();
}

void Worker::loop() {
  Lock lock(mutex_);
  while (!stop_ || lent_) {
    answer_questions();
    if (lent_) {
      sleep_until(lock, kNever);
      continue;
    }
    if (!resizes_.empty()) resize_once(lock);
    if (!measurements_.empty()) measure_once(lock);
    const Nanos at = now();
    give_up_late(at);
    const batch::GpuletDecision decision = queue_.decide(at);
    if (decision.batch_size > 0) {
      run_batch(lock, decision, at);
    } else if (!done_.empty()) {
      finish(lock);
    } else if (!asked()) {
      if (!std::exchange(looked_, true)) {
        look_on(lock, decision.wake_at);
      } else {
        sleep_until(lock, decision.wake_at);
      }
    }
  }
  abandon_questions();
}

void Worker::answer_questions() {
  if (std::exchange(refresh_threads_, false)) partition_->refresh(report_);
  for (auto& question : questions_) question.set_value(report_);
  questions_.clear();
}

// Whether there is anything to do but batches. What was asked while the lock was open has woken
// nobody.
bool Worker::asked() const {
  return refresh_threads_ || !questions_.empty() || !resizes_.empty() || !measurements_.empty();
}

void Worker::abandon_questions() {
  const ArgumentError gone("[Engine] gpulet " + std::to_string(gpulet_) + " was removed meanwhile");
  for (auto& question : questions_) question.set_exception(std::make_exception_ptr(gone));
  for (auto& measurement : measurements_) {
    measurement.result.set_exception(std::make_exception_ptr(gone));
  }
  for (auto& resize : resizes_) resize->result.set_exception(std::make_exception_ptr(gone));
  questions_.clear();
  measurements_.clear();
  resizes_.clear();
}

void Worker::resize_once(Lock& lock) {
  const auto resize = std::move(resizes_.front());
  resizes_.pop_front();
  resizing_ = true;
  lock.unlock();
  std::exception_ptr failure;
  try {
    report_ = resize->other->enter(true);
    partition_.swap(resize->other);
  } catch (...) {
    failure = std::current_exception();
    try {
      report_ = partition_->enter(true);
    } catch (const DeviceError&) {
      // It was possible a moment ago: what the thread is in now is the least that can be said.
    }
  }
  lock.lock();
  resizing_ = false;
  if (failure != nullptr) {
    resize->result.set_exception(failure);
  } else {
    spec_ = resize->spec;
    resize->result.set_value(report_);
  }
}

void Worker::give_up_late(Nanos at) {
  late_.clear();
  queue_.take_late(at, late_);
  for (const batch::LateRequest& late : late_) {
    ++find(late.model)->stats.late;
    Pending pending = take_pending(late.request.id);
    done_.push_back(completion(pending, Outcome::kLate, at));
  }
}

// One repeat, so that real batches go in between.
void Worker::measure_once(Lock& lock) {
  Measurement& current = measurements_.front();  // stays there: only this thread removes it
  Model* model = find(current.model);
  if (model == nullptr) {
    current.result.set_exception(std::make_exception_ptr(
        ArgumentError("[Engine.measure] the model was unloaded meanwhile")));
    measurements_.pop_front();
    return;
  }
  running_ = model;
  const Nanos start = now();
  running_since_ = start;
  busy_until_ = start + queue_.latency(model->id, std::min(current.batch, model->planned_batch));
  lock.unlock();
  std::exception_ptr failure;
  try {
    prepare(*model, current.batch, partition_->green());
    model->runner->run(current.batch);
  } catch (...) {
    failure = std::current_exception();
  }
  const Nanos took = now() - start;
  lock.lock();
  running_ = nullptr;
  busy_until_ = Nanos(0);
  if (waiters_ > 0) changed_.notify_all();
  current.durations.push_back(took);
  if (failure == nullptr && --current.remaining > 0) return;
  if (failure != nullptr) {
    current.result.set_exception(failure);
  } else {
    current.result.set_value(std::move(current.durations));
  }
  measurements_.pop_front();
}

void Worker::run_batch(Lock& lock, const batch::GpuletDecision& decision, Nanos formed) {
  Model& model = *find(decision.model);
  Borrowed borrowed = borrow(model, decision.batch_size, formed);
  borrowing_ = static_cast<bool>(borrowed);
  taken_.clear();
  queue_.take_batch(decision, taken_);
  for (const batch::Request& request : taken_) batch_.push_back(take_pending(request.id));
  const int plan_version = model.plan_version;
  running_ = &model;
  running_since_ = formed;
  busy_until_ =
      borrowed ? borrowed.until() : formed + queue_.latency(model.id, decision.batch_size);
  lock.unlock();
  completions_.push(done_);  // late ones do not wait for the batch
  execute(model, formed, borrowed);
  const bool was_wide = static_cast<bool>(borrowed);
  borrowed.give_back();
  lock.lock();
  borrowing_ = false;
  // Counted before they are announced: who has drained everything reads final numbers.
  model.stats.failed += unopened_.size();
  if (done_.empty()) {  // nothing ran
    done_.swap(unopened_);
    busy_until_ = Nanos(0);
    return finish(lock);
  }
  const Completion& first = done_.front();
  const auto count = static_cast<std::uint64_t>(first.batch);
  (first.outcome == Outcome::kOk ? model.stats.ok : model.stats.failed) += count;
  model.stats.items += count;
  ++model.stats.batches;
  model.stats.busy += first.executed;
  if (was_wide) ++model.stats.borrowed;
  // A failed batch says nothing about how long the model takes, one of an older plan nothing about
  // the new table; and an unload() may have been faster.
  if (first.outcome == Outcome::kOk && plan_version == model.plan_version && queue_.has(model.id)) {
    learn(model, first, was_wide ? borrowed.loan().get() : nullptr);
  }
  busy_until_ = Nanos(0);
  std::move(unopened_.begin(), unopened_.end(), std::back_inserter(done_));
  unopened_.clear();
  finish(lock);
  looked_ = false;
}

// A batch on two shares says nothing about this one's.
void Worker::learn(const Model& model, const Completion& first, Loan* loan) {
  const Nanos took = first.batched + first.executed;
  if (loan == nullptr) return queue_.observe(model.id, first.batch, took);
  queue_.count(model.id, took);
  const auto wide = loan->latency.find(model.id);
  if (wide != loan->latency.end()) wide->second.observe(first.batch, took);
}

// Announces what is done; only then the batch counts as ended.
void Worker::finish(Lock& lock) {
  lock.unlock();
  completions_.push(done_);
  lock.lock();
  running_ = nullptr;
  if (waiters_ > 0) changed_.notify_all();
}

void Worker::execute(Model& model, Nanos formed, Borrowed& borrowed) {
  const std::size_t formed_size = batch_.size();
  open_device_tensors(model, formed);
  if (batch_.empty()) return;
  // Another size was not asked for, and might have to be captured.
  if (batch_.size() != formed_size) borrowed.give_back();
  const auto size = static_cast<int>(batch_.size());
  std::shared_ptr<const OutputBatch> outputs;
  std::shared_ptr<const std::string> error;
  Nanos copied = formed;
  try {
    if (borrowed) enter_wide(model, borrowed);
    prepare(model, size, borrowed ? borrowed.partition().green() : partition_->green());
    copy_inputs(*model.runner, model.input_bytes);
    copied = now();
    outputs = model.runner->run(size);
  } catch (const std::exception& failure) {
    error = std::make_shared<const std::string>(failure.what());
  } catch (...) {
    error = std::make_shared<const std::string>("the runner threw what is no std::exception");
  }
  const Nanos ended = now();
  if (borrowed) leave_wide(model);
  if (DeviceTransfers* transfers = model.runner->transfers()) transfers->clear();
  for (int slot = 0; slot < size; ++slot) {
    Completion& answer =
        done_.emplace_back(completion(batch_[static_cast<std::size_t>(slot)],
                                      error == nullptr ? Outcome::kOk : Outcome::kFailed, formed));
    answer.batch = size;
    answer.slot = slot;
    answer.batched = copied - formed;
    answer.executed = ended - copied;
    answer.outputs = outputs;
    answer.error = error;
  }
  batch_.clear();
}

// A request whose memory cannot be had is answered alone: the others of the batch run without it.
void Worker::open_device_tensors(Model& model, Nanos formed) {
  DeviceTransfers* transfers = model.runner->transfers();
  const auto on_device = [](const Pending& pending) {
    return pending.payload != nullptr && pending.payload->on_device();
  };
  if (transfers == nullptr || std::none_of(batch_.begin(), batch_.end(), on_device)) return;
  const Signature& signature = model.runner->signature();
  std::vector<DeviceTransfers::Transfer> inputs;
  std::vector<DeviceTransfers::Transfer> outputs;
  std::vector<Pending> kept;
  for (Pending& pending : batch_) {
    const auto slot = static_cast<int>(kept.size());
    const std::size_t inputs_before = inputs.size();
    const std::size_t outputs_before = outputs.size();
    std::string wrong;
    const auto open = [&](const TensorSpec& spec, const DeviceTensor* there, std::size_t index,
                          std::vector<DeviceTransfers::Transfer>& to) {
      if (there == nullptr || !wrong.empty()) return;
      auto opened = transfers->open(*there, wrong);
      if (opened) to.push_back({index, slot, std::move(*opened)});
      if (!wrong.empty()) wrong = "'" + spec.name + "' " + wrong;
    };
    if (on_device(pending)) {
      for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
        open(signature.inputs[i], pending.payload->device_input(i), i, inputs);
      }
      for (std::size_t i = 0; i < signature.outputs.size(); ++i) {
        open(signature.outputs[i], pending.payload->device_output(i), i, outputs);
      }
    }
    if (wrong.empty()) {
      kept.push_back(std::move(pending));
      continue;
    }
    inputs.resize(inputs_before);
    outputs.resize(outputs_before);
    Completion& answer = unopened_.emplace_back(completion(pending, Outcome::kInvalid, formed));
    answer.error = std::make_shared<const std::string>(std::move(wrong));
  }
  batch_ = std::move(kept);
  transfers->set(std::move(inputs), std::move(outputs));
}

// Only the model that runs next follows a resize: the others may never run here.
void Worker::prepare(Model& model, int n, const GreenContext* context) {
  if (context != nullptr && model.context_id != context->id()) {
    model.context_id = 0;
    model.runner->move_to(*context);
    model.context_id = context->id();
  }
  model.runner->begin(n);
}

// What the batch needs of the lender's share beside the context that it runs in.
void Worker::enter_wide(Model& model, Borrowed& borrowed) {
  const auto known = borrowed.loan()->known.find(model.id);
  if (known != borrowed.loan()->known.end()) model.runner->emulate(&known->second);
  if (kind_ != PartitionSpec::Kind::kCpu) return;
  try {
    borrowed.partition().enter(true);
  } catch (const DeviceError&) {
    leave_wide(model);
    borrowed.give_back();
  }
}

void Worker::leave_wide(Model& model) {
  model.runner->emulate(nullptr);
  if (kind_ != PartitionSpec::Kind::kCpu) return;
  try {
    partition_->enter(true);
  } catch (const DeviceError&) {
    // As after a resize: its cores were there a moment ago.
  }
}

// The only copy of a request's bytes between the submission and the model.
void Worker::copy_inputs(Runner& runner, const std::vector<std::size_t>& input_bytes) {
  for (std::size_t i = 0; i < input_bytes.size(); ++i) {
    std::byte* slot = runner.input(i);
    for (const Pending& pending : batch_) {
      const auto bytes = pending.payload->input(i);
      if (!bytes.empty()) std::memcpy(slot, bytes.data(), bytes.size());
      slot += input_bytes[i];
    }
  }
  for (Pending& pending : batch_) {
    if (pending.payload != nullptr && !pending.payload->release_on_owner()) pending.payload.reset();
  }
}

// After a batch the next request is often close, and an idle core takes tens of microseconds to
// come back (a virtual one more): so the worker looks a moment longer before it sleeps, and lets
// anybody else who wants the core have it meanwhile.
void Worker::look_on(Lock& lock, Nanos wake_at) {
  submitted_.store(false, std::memory_order_relaxed);
  lock.unlock();
  const Nanos until = std::min(now() + kLookOn, wake_at);
  while (!submitted_.load(std::memory_order_relaxed) && now() < until) ::sched_yield();
  lock.lock();
}

void Worker::sleep_until(Lock& lock, Nanos wake_at) {
  if (waiters_ > 0) changed_.notify_all();
  sleeping_ = true;
  wake_.wait_until(lock, std::chrono::steady_clock::time_point(wake_at));
  sleeping_ = false;
}

}  // namespace glet::exec
