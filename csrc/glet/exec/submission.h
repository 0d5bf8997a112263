#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "glet/batch/request.h"
#include "glet/exec/device_tensor.h"
#include "glet/exec/runner.h"
#include "glet/route/router.h"
#include "glet/time.h"

// What goes into an engine and what comes out.
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

  // Whether any of the next two says more than nothing.
  virtual bool on_device() const { return false; }
  // Where an input is in place of its bytes, which are none then.
  virtual const DeviceTensor* device_input(std::size_t) const { return nullptr; }
  // Where an output is to be written besides.
  virtual const DeviceTensor* device_output(std::size_t) const { return nullptr; }
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
  kCancelled,    // taken back while it waited
};

// Names a submission that is to be taken back, by what it was submitted with.
struct Cancellation {
  std::uint64_t tag = 0;
  GpuletId gpulet = 0;
  ModelId model = 0;
  Nanos deadline{0};
};

struct Completion {
  std::uint64_t tag = 0;
  Outcome outcome = Outcome::kOk;
  GpuletId gpulet = 0;
  ModelId model = 0;
  int batch = 0;                               // size of the batch it ran in
  int slot = 0;                                // its place in `outputs`
  Nanos queued{0};                             // arrival until the batch was formed
  Nanos batched{0};                            // copying inputs into the batch tensor
  Nanos executed{0};                           // the runner
  std::shared_ptr<const OutputBatch> outputs;  // kOk only
  std::shared_ptr<const std::string> error;    // kFailed and kInvalid only
  std::unique_ptr<Payload> payload;            // only with release_on_owner
};

struct ModelStats {
  GpuletId gpulet;
  ModelId model;
  std::uint64_t ok, late, full, failed, cancelled, batches, items;
  std::uint64_t borrowed;  // batches that ran on a neighbour's share, too
  std::size_t waiting;
  double correction;  // measured / predicted batch latency, slow-moving
  Nanos busy;         // time the runner ran
  Nanos running;      // how long its batch has been running by now, 0 when none does
  RunnerReport runner;
};

}  // namespace glet::exec
