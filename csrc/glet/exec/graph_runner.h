#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "glet/exec/device_transfers.h"
#include "glet/exec/graph_cache.h"
#include "glet/exec/partition/green_device.h"
#include "glet/exec/runner.h"
#include "glet/exec/staging.h"

namespace glet::exec {

struct CaptureRequest {
  int batch = 0;
  cuda::Stream stream = nullptr;  // of the gpulet: what is captured here keeps its SMs
  std::uint64_t context_id = 0;
};

struct GraphOptions {
  // Batch sizes that are captured, increasing; the last is the largest batch. Empty: 1, 2, 4, ...
  std::vector<int> batches;
  GraphLimits limits;
};

// Replays CUDA graphs on the gpulet's stream: one per batch size and green context, captured when
// it is first needed. A batch of n runs as the smallest size that holds it. The worker fills pinned
// memory; per batch there is one copy there (see BlockLayout), one launch, the copies back into
// pinned memory that the outputs own, and one event that the worker waits for.
class GraphRunner : public Runner {
 public:
  // Called on the worker's thread or, for make_ready(), on another meanwhile, with the primary
  // context current. May throw ModelError or DeviceError, and is asked again with the next batch.
  using Capture = std::function<Captured(const CaptureRequest&)>;

  // Throws ArgumentError for batch sizes that do not increase up to `max_batch`, DeviceError when
  // there is no pinned memory.
  GraphRunner(std::shared_ptr<GreenDevice> device, Capture capture, Signature signature,
              int max_batch, GraphOptions options = {});

  std::string_view kind() const override { return "graph"; }  // report() says "eager" where it is
  const Signature& signature() const override { return *signature_; }
  int max_batch() const override { return batches_.back(); }
  void move_to(const GreenContext& context) override;
  void begin(int n) override;
  bool is_ready(const GreenContext& context, int n) const override;
  void make_ready(const GreenContext& context, int n) override;
  std::byte* input(std::size_t index) override;
  DeviceTransfers* transfers() override { return &transfers_; }
  std::shared_ptr<const OutputBatch> run(int n) override;
  RunnerReport report() const override;

 private:
  struct Size {  // of a batch that is captured
    int batch;
    BlockLayout inputs;
    BlockLayout outputs;
  };
  const Size& size_for(int n) const;
  std::shared_ptr<const Captured> captured(const Size& size, const GreenContext& context);
  void check(const Captured& captured, int batch) const;
  std::vector<cuda::DevicePointer> call(const Captured& captured, int n) const;
  PinnedPool::Block launch(const Captured& captured, const Size& size, int n);
  const CudaDriver& driver() const { return device_->primary()->driver(); }

  std::shared_ptr<GreenDevice> device_;
  Capture capture_;
  std::shared_ptr<const Signature> signature_;
  std::vector<int> batches_;
  std::vector<Size> sizes_;
  PinnedPool input_pool_;  // of one block
  PinnedPool output_pool_;
  PinnedPool::Block inputs_;
  DeviceTransfers transfers_;
  std::shared_ptr<GraphCache> cache_;

  const GreenContext* context_ = nullptr;
  const Size* current_;

  mutable std::mutex reason_mutex_;
  std::string reason_;  // of the last capture that gave no graph; empty when it gave one
  std::atomic<Nanos::rep> device_busy_ns_ = 0;
};

}  // namespace glet::exec
