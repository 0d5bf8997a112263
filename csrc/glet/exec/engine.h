#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <vector>

#include "glet/batch/gpulet_queue.h"
#include "glet/exec/loan.h"
#include "glet/exec/partition/green_device.h"
#include "glet/exec/partition/partition.h"
#include "glet/exec/runner.h"
#include "glet/exec/submission.h"
#include "glet/time.h"

namespace glet::exec {

// The gpulets of one process: a worker thread per gpulet, each over a batch::GpuletQueue and the
// runners of its models. Every submission comes back as exactly one completion, whatever happens.
// All methods are thread-safe. No method needs the GIL.
class Engine {
 public:
  Engine();
  ~Engine();  // stops workers; what is still queued completes as kUnavailable first
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Starts the worker thread inside the partition (affinity, intra-op threads).
  // Throws ArgumentError when the id is taken, DeviceError when the partition cannot be had.
  PartitionReport add_gpulet(GpuletId gpulet, const PartitionSpec& spec);
  // Stops admission, lets what is queued finish until `drain_until`, then stops the worker; what
  // is left completes as kUnavailable.
  void remove_gpulet(GpuletId gpulet, Nanos drain_until);

  // Moves the gpulet into another share of the same kind and device, between two batches: nothing
  // that waits is lost, and no other gpulet is disturbed. What takes long, happens before the
  // gpulet stops for it. Throws ArgumentError when there is no such gpulet or kind or device are
  // others, DeviceError when the share cannot be had; the gpulet then is as before.
  PartitionReport resize(GpuletId gpulet, const PartitionSpec& spec);

  // The gpulets whose share this one may borrow, each for one batch at a time, when it idles and
  // whatever may come to it meanwhile still ends in time (batch/loan.h); in place of those set
  // before. What a borrowed share needs is made when it is first missed, beside the gpulets'
  // threads, and the batch runs without. A resize of either ends the leave. Throws ArgumentError
  // when one is not here, is the gpulet itself, or their shares cannot be one.
  void set_loans(GpuletId gpulet, const std::vector<LoanSpec>& loans);

  // What the gpulet's thread has now, asked of the thread itself between batches: the intra-op
  // count follows libraries that were loaded after add_gpulet().
  PartitionReport partition(GpuletId gpulet) const;

  // The device of a green gpulet, for its runners. Throws ArgumentError for another kind.
  std::shared_ptr<GreenDevice> green_device(GpuletId gpulet) const;
  // Of a device that has had a green gpulet; ArgumentError for another.
  GreenPoolCounts green_counts(int device) const;

  // The methods below throw ArgumentError when the gpulet or (but for load) the model is not there.
  // load() also when the model is there already or the plan's batch exceeds runner->max_batch().
  void load(GpuletId gpulet, ModelId model, std::unique_ptr<Runner> runner, batch::ModelPlan plan);
  // New batch cap, SLO margin, latency or time share for a loaded model; nothing waiting is lost.
  void update(GpuletId gpulet, ModelId model, batch::ModelPlan plan);
  // Stops admission of the model, lets what waits finish until `drain_until` and completes the rest
  // as kUnavailable. A batch that runs is waited for: all completions are there when it returns.
  void unload(GpuletId gpulet, ModelId model, Nanos drain_until);

  // Runs the loaded model on the gpulet's own worker `repeats` times at this batch size on whatever
  // the input tensors hold, between real batches, and returns each duration.
  std::vector<Nanos> measure(GpuletId gpulet, ModelId model, int batch, int repeats);

  // Takes a burst in one call. Elements are consumed.
  void submit(std::vector<Submission>& burst);

  // Takes back a submission that waits: its place in the queue is free when this returns, and it
  // completes as kCancelled. False when it does not wait (any more): its completion, if one is
  // owed, comes as without this.
  bool cancel(const Cancellation& wanted);

  // Completions that are ready, at most `max`, appended to `out`; returns how many. The descriptor
  // is readable while some wait.
  std::size_t drain(std::vector<Completion>& out,
                    std::size_t max = std::numeric_limits<std::size_t>::max());
  int completion_fd() const;

  // Refuses all further submissions (kUnavailable) and waits until everything admitted completed,
  // or until `until`. True when nothing is left.
  bool drain_all(Nanos until);

  std::vector<ModelStats> stats() const;

  // Closes device memory of clients that no request has named for a while; to be called now and
  // then by somebody who may wait for the driver.
  void close_idle_imports();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Monotonic now; the only clock of exec/.
Nanos now();

}  // namespace glet::exec
