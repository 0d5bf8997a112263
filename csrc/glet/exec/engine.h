#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "glet/batch/gpulet_queue.h"
#include "glet/exec/partition/partition.h"
#include "glet/exec/runner.h"
#include "glet/route/router.h"
#include "glet/time.h"

namespace glet::exec {

using batch::ModelId;
using route::GpuletId;

// The input bytes of one request, owned. Destroyed on a worker thread after the bytes were copied
// into the batch, or travels back in the completion (`Completion::payload`) when
// `release_on_owner` is set: for payloads that may only be freed by whoever made them.
class Payload {
 public:
  virtual ~Payload() = default;
  virtual std::size_t inputs() const = 0;
  virtual std::span<const std::byte> input(std::size_t index) const = 0;
  virtual bool release_on_owner() const { return false; }
};

struct Submission {
  std::uint64_t tag = 0;  // the caller's own, comes back in the completion
  GpuletId gpulet = 0;
  ModelId model = 0;
  Nanos arrival{0};
  Nanos deadline{0};
  std::unique_ptr<Payload> payload;
};

enum class Outcome : std::uint8_t {
  kOk,
  kLate,         // refused or dropped: could not finish in time
  kFull,         // refused: the queue is at capacity
  kFailed,       // the model threw; `error` says what
  kUnavailable,  // no such gpulet or model here (any more)
  kInvalid,      // the payload does not fit the signature; `error` says how
};

struct Completion {
  std::uint64_t tag = 0;
  Outcome outcome = Outcome::kOk;
  GpuletId gpulet = 0;
  ModelId model = 0;
  int batch = 0;        // size of the batch it ran in
  int slot = 0;         // its place in `outputs`
  Nanos queued{0};      // arrival until the batch was formed
  Nanos batched{0};     // copying inputs into the batch tensor
  Nanos executed{0};    // the runner
  std::shared_ptr<const OutputBatch> outputs;  // kOk only
  std::shared_ptr<const std::string> error;    // kFailed and kInvalid only
  std::unique_ptr<Payload> payload;            // only with release_on_owner
};

struct ModelStats {
  GpuletId gpulet;
  ModelId model;
  std::uint64_t ok, late, full, failed, batches, items;
  std::size_t waiting;
  double correction;      // measured / predicted batch latency, slow-moving
  Nanos busy;             // time the runner ran
};

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
  void add_gpulet(GpuletId gpulet, const PartitionSpec& spec);
  // Stops admission, lets what is queued finish until `drain_until`, then stops the worker; what
  // is left completes as kUnavailable.
  void remove_gpulet(GpuletId gpulet, Nanos drain_until);

  void load(GpuletId gpulet, ModelId model, std::unique_ptr<Runner> runner,
            batch::ModelPlan plan);
  // New batch cap, SLO margin, latency or time share for a loaded model; nothing waiting is lost.
  void update(GpuletId gpulet, ModelId model, batch::ModelPlan plan);
  // What waits is completed as kUnavailable after `drain_until`.
  void unload(GpuletId gpulet, ModelId model, Nanos drain_until);

  // Runs the loaded model on the gpulet's own worker `repeats` times at this batch size on whatever
  // the input tensors hold, between real batches, and returns each duration.
  std::vector<Nanos> measure(GpuletId gpulet, ModelId model, int batch, int repeats);

  // Takes a burst in one call. Elements are consumed.
  void submit(std::vector<Submission>& burst);

  // Completions that are ready, appended to `out`; the descriptor is readable while some wait.
  std::size_t drain(std::vector<Completion>& out);
  int completion_fd() const;

  // Refuses all further submissions (kUnavailable) and waits until everything admitted completed,
  // or until `until`. True when nothing is left.
  bool drain_all(Nanos until);

  std::vector<ModelStats> stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Monotonic now; the only clock of exec/.
Nanos now();

}  // namespace glet::exec
