#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "glet/exec/aoti_model.h"
#include "glet/exec/device_transfers.h"
#include "glet/exec/partition/green_device.h"
#include "glet/exec/runner.h"
#include "glet/exec/staging.h"

namespace glet::exec {

// Runs a model that was compiled for a GPU on the stream of a green gpulet, through torch's C
// interface. Inputs go from pinned memory to one block of the device, outputs back into pinned
// memory that they own; an output with gaps between its items is refused.
class AotiCudaRunner : public Runner {
 public:
  // Throws ArgumentError when `max_batch` < 1 or the model is for another device, DeviceError when
  // there is no memory.
  AotiCudaRunner(std::shared_ptr<GreenDevice> device, std::shared_ptr<AotiModel> model,
                 int max_batch);
  ~AotiCudaRunner() override;

  std::string_view kind() const override { return "aoti"; }
  const Signature& signature() const override { return *model_->signature(); }
  int max_batch() const override { return max_batch_; }
  void move_to(const GreenContext& context) override { context_ = &context; }
  void begin(int n) override;
  std::byte* input(std::size_t index) override;
  DeviceTransfers* transfers() override { return &transfers_; }
  std::shared_ptr<const OutputBatch> run(int n) override;
  RunnerReport report() const override;

 private:
  class Handles;
  TensorHandle make_input(std::size_t index, int n) const;
  cuda::DevicePointer output(TensorHandle handle, std::size_t index, int n) const;
  PinnedPool::Block launch(Handles& outputs, const BlockLayout& layout, int n);
  const CudaDriver& driver() const { return device_->primary()->driver(); }

  std::shared_ptr<GreenDevice> device_;
  std::shared_ptr<AotiModel> model_;
  int max_batch_;
  BlockLayout layout_;     // of the batch that runs
  PinnedPool input_pool_;  // of one block
  PinnedPool output_pool_;
  PinnedPool::Block inputs_;
  DeviceTransfers transfers_;
  cuda::DevicePointer block_ = 0;
  const GreenContext* context_ = nullptr;
  std::atomic<Nanos::rep> device_busy_ns_ = 0;
};

}  // namespace glet::exec
