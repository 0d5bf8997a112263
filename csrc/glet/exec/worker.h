#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "glet/batch/gpulet_queue.h"
#include "glet/exec/completion_queue.h"
#include "glet/exec/engine.h"
#include "glet/exec/loan.h"
#include "glet/exec/partition/partition.h"
#include "glet/exec/runner.h"
#include "glet/exec/submission.h"
#include "glet/profile/latency_table.h"
#include "glet/time.h"

namespace glet::exec {

// One gpulet: a thread inside its partition, over a batch::GpuletQueue and the runners of its
// models. Admission happens on the submitting thread, so that a full or late request is refused
// while a long batch runs; the lock is held for decisions only, never while copying or running.
//
//   submit() --admit--> queue --decide--> copy into the batch, run --> completions
class Worker : public std::enable_shared_from_this<Worker> {
 public:
  // Returns once the thread is inside its partition. Throws DeviceError when it cannot get there.
  Worker(GpuletId gpulet, const PartitionSpec& spec, CompletionQueue& completions);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { stop(Nanos(0)); }

  PartitionSpec::Kind kind() const { return kind_; }
  int device() const { return device_; }

  // See Engine's methods of the same names.
  PartitionReport partition();
  PartitionReport resize(const PartitionSpec& spec);
  void load(ModelId model, std::unique_ptr<Runner> runner, batch::ModelPlan plan);
  void update(ModelId model, batch::ModelPlan plan);
  void unload(ModelId model, Nanos drain_until);
  std::vector<Nanos> measure(ModelId model, int batch, int repeats);
  void stats(std::vector<ModelStats>& out) const;

  // Admits a burst; what is refused is answered in `refused`.
  void submit(std::span<Submission> burst, std::vector<Completion>& refused);

  // See Engine::cancel.
  bool cancel(const Cancellation& wanted);

  PartitionSpec spec() const;
  // In place of those before; what was learned and made for the same shares stays.
  void set_loans(std::vector<std::shared_ptr<Loan>> loans);
  // A borrower's predictions of a batch that begins now.
  struct LoanTerms {
    Nanos at;
    Nanos own;
    Nanos wide;
  };
  // Until when this gpulet may be without its share, or nothing; with `take` it is from then on,
  // and starts nothing before take_back(). Never waits.
  std::optional<Nanos> lend(const Loan& loan, const LoanTerms& terms, bool take);
  void take_back();

  // Stops admission, waits for what is queued until `drain_until`, answers the rest kUnavailable
  // and ends the thread. Calling it again does nothing.
  void stop(Nanos drain_until);

 private:
  struct Model {
    ModelId id;
    std::unique_ptr<Runner> runner;
    int planned_batch;            // what the queue knows a latency for
    int plan_version = 0;         // counts update()s
    profile::LatencyTable table;  // of the plan
    std::vector<std::size_t> input_bytes;
    std::uint64_t context_id = 0;  // the worker's own: where its runner was told to run
    bool admitting = true;
    bool preparing = false;  // the preparer uses its runner
    ModelStats stats{};
  };
  struct Pending {  // an admitted request; its slot is the Request's id in the queue
    std::uint64_t tag = 0;
    ModelId model = 0;
    Nanos arrival{0};
    std::unique_ptr<Payload> payload;
  };
  struct Resize {
    PartitionSpec spec;
    std::unique_ptr<Partition> other;  // the new one; once entered, the old one
    std::promise<PartitionReport> result;
  };
  struct Measurement {
    ModelId model;
    int batch;
    int remaining;
    std::vector<Nanos> durations;
    std::promise<std::vector<Nanos>> result;
  };
  using Lock = std::unique_lock<std::mutex>;

  // The callers' side, under mutex_.
  Outcome admit(Model* model, Submission& submission, Nanos at, std::string& error);
  bool same_green(const PartitionSpec& spec) const;
  Pending take_pending(std::uint64_t slot);
  void give_back(const std::vector<batch::Request>& requests, std::vector<Completion>& answers);
  Completion completion(Pending& pending, Outcome outcome, Nanos at) const;
  Model* find(ModelId model);
  Model& require(ModelId model, const char* method);
  static void keep_learned(const Loan& before, Loan& now);
  static void add_to_loan(Loan& loan, const Model& model);
  void forget_in_loans(ModelId model, bool also_known);
  Borrowed borrow(const Model& model, int n, Nanos at);
  static bool is_ready(const Loan& loan, const Model& model, int n);
  void ask_for(const std::shared_ptr<Loan>& loan, ModelId model, int n);
  bool is_preparing() const;
  bool is_idle() const;

  // The preparer's side; takes the lock itself.
  void prepare_wide(const std::shared_ptr<Loan>& loan, ModelId id, int n);

  // The thread's side. What takes a Lock holds it on entry and on return, not in between.
  void main(std::promise<void>& entered);
  void loop();
  void answer_questions();
  bool asked() const;
  void abandon_questions();
  void resize_once(Lock& lock);
  void give_up_late(Nanos at);
  void measure_once(Lock& lock);
  void run_batch(Lock& lock, const batch::GpuletDecision& decision, Nanos formed);
  void execute(Model& model, Nanos formed, Borrowed& borrowed);
  void learn(const Model& model, const Completion& first, Loan* loan);
  void enter_wide(Model& model, Borrowed& borrowed);
  void leave_wide(Model& model);
  void open_device_tensors(Model& model, Nanos formed);
  void prepare(Model& model, int n, const GreenContext* context);
  void copy_inputs(Runner& runner, const std::vector<std::size_t>& input_bytes);
  void finish(Lock& lock);
  void look_on(Lock& lock, Nanos wake_at);
  void sleep_until(Lock& lock, Nanos wake_at);

  const GpuletId gpulet_;
  const PartitionSpec::Kind kind_;
  const int device_;
  const int priority_;
  CompletionQueue& completions_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;     // for the worker
  std::condition_variable changed_;  // for unload() and stop(): a batch ended or a queue emptied
  // Guarded by mutex_.
  batch::GpuletQueue queue_;
  std::unordered_map<ModelId, std::unique_ptr<Model>> models_;
  std::vector<Pending> pending_;
  std::vector<std::uint64_t> free_slots_;
  std::deque<Measurement> measurements_;
  std::deque<std::promise<PartitionReport>> questions_;
  std::deque<std::shared_ptr<Resize>> resizes_;
  PartitionSpec spec_;  // of the last resize that succeeded
  std::vector<std::shared_ptr<Loan>> loans_;
  bool borrowing_ = false;  // a batch runs on a neighbour's share, too
  bool lent_ = false;       // a neighbour runs on its share
  bool resizing_ = false;   // between two shares
  Model* running_ = nullptr;
  Nanos running_since_{0};
  Nanos busy_until_{0};
  int waiters_ = 0;  // on changed_
  bool admitting_ = true;
  bool refresh_threads_ = false;
  bool sleeping_ = false;
  bool looked_ = true;                  // since the last batch the worker has looked on in vain
  std::atomic<bool> submitted_{false};  // what it looks at, without the lock
  bool stop_ = false;

  // The worker's own.
  std::unique_ptr<Partition> partition_;
  PartitionReport report_;
  std::vector<batch::LateRequest> late_;
  std::vector<batch::Request> taken_;
  std::vector<Pending> batch_;
  std::vector<Completion> done_;
  std::vector<Completion> unopened_;  // of requests whose device memory cannot be had

  std::mutex stopping_;  // one stop() at a time
  std::thread thread_;   // last: everything above is there before it starts
};

}  // namespace glet::exec
