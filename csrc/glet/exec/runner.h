#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glet/exec/tensor.h"
#include "glet/time.h"

namespace glet::profile {
class LatencyTable;
}

namespace glet::exec {

class DeviceTransfers;
class GreenContext;

// The outputs of one batch; requests share it and read their slot. Freed with the last request, on
// whatever thread drops it.
class OutputBatch {
 public:
  explicit OutputBatch(std::shared_ptr<const Signature> signature)
      : signature_(std::move(signature)) {}
  OutputBatch(const OutputBatch&) = delete;
  OutputBatch& operator=(const OutputBatch&) = delete;

  struct Part {
    const std::byte* data;   // contiguous, item after item
    std::size_t item_bytes;  // of one request
    // Of a kBytes tensor: where each item begins, and the end of the last.
    std::vector<std::size_t> offsets = {};
  };

  virtual ~OutputBatch() = default;

  std::span<const std::byte> item(std::size_t output, int slot) const {
    const Part& part = parts_[output];
    const auto at = static_cast<std::size_t>(slot);
    if (part.offsets.empty()) return {part.data + part.item_bytes * at, part.item_bytes};
    return {part.data + part.offsets[at], part.offsets[at + 1] - part.offsets[at]};
  }
  std::size_t outputs() const { return parts_.size(); }
  // What the bytes mean: valid even after the model is unloaded.
  const Signature& signature() const { return *signature_; }

 protected:
  std::vector<Part> parts_;

 private:
  std::shared_ptr<const Signature> signature_;
};

// What a runner is and holds, for reports.
struct RunnerReport {
  std::string kind;
  std::string reason;            // why it is not of the faster kind that it could be; mostly empty
  std::size_t graphs = 0;        // captured ones that it keeps
  std::size_t graph_bytes = 0;   // device memory of those
  std::size_t pinned_bytes = 0;  // host memory that the device copies from and to
  Nanos device_busy{0};          // device time of all runs, copies included; 0 for the CPU
};

// The one interface to whatever computes. A runner belongs to one worker thread: all but
// make_ready() and report() are called from that thread alone; construction and destruction may
// happen elsewhere while the worker does not use it.
class Runner {
 public:
  virtual ~Runner() = default;

  virtual std::string_view kind() const = 0;
  virtual const Signature& signature() const = 0;
  virtual int max_batch() const = 0;

  // Where the gpulet's work goes from now on; only called on a gpulet that is made of SMs, before
  // the first run and after each resize. What was captured elsewhere may be kept for coming back.
  virtual void move_to(const GreenContext&) {}
  // The next run() has `n` slots: called before input() is asked for.
  virtual void begin(int n) { static_cast<void>(n); }

  // Whether a run of `n` in this context needs nothing to be made first.
  virtual bool is_ready(const GreenContext&, int n) const { return static_cast<void>(n), true; }
  // Makes it. On any thread, also while the gpulet's runs a batch. Throws as run() does.
  virtual void make_ready(const GreenContext&, int n) { static_cast<void>(n); }

  // How long the next runs take where a device is only emulated; null: as it was told at load.
  virtual void emulate(const profile::LatencyTable*) {}

  // The batch tensor of an input: room for max_batch() items of TensorSpec::bytes(). The worker
  // copies each request's bytes straight into its slot, and then calls run(). A kBytes item may be
  // shorter than its slot.
  virtual std::byte* input(std::size_t index) = 0;

  // What the next run() takes from and gives to device memory of others; nullptr where the runner
  // knows host memory only.
  virtual DeviceTransfers* transfers() { return nullptr; }

  // Runs the first `n` slots, 1 <= n <= max_batch(). The outputs stay valid while the result
  // lives, whatever runs next. Throws ModelError when the model fails, DeviceError when the device
  // does; the runner stays usable after a ModelError.
  virtual std::shared_ptr<const OutputBatch> run(int n) = 0;

  // From any thread, also while it runs.
  virtual RunnerReport report() const {
    RunnerReport report;
    report.kind = kind();
    return report;
  }
};

}  // namespace glet::exec
