#pragma once

#include <memory>
#include <vector>

#include "glet/exec/aoti_model.h"
#include "glet/exec/batch_buffer.h"
#include "glet/exec/runner.h"

namespace glet::exec {

// Runs a compiled model on the calling thread, through torch's C interface. Inputs are handed over
// where the worker put them, outputs are read where the model left them; only an output with gaps
// between its items, or one that lies in an input, is copied.
class AotiRunner : public Runner {
 public:
  // Throws ArgumentError when `max_batch` < 1.
  AotiRunner(std::shared_ptr<AotiModel> model, int max_batch);

  std::string_view kind() const override { return "aoti"; }
  const Signature& signature() const override { return *model_->signature(); }
  int max_batch() const override { return max_batch_; }
  std::byte* input(std::size_t index) override { return inputs_.data(index); }
  std::shared_ptr<const OutputBatch> run(int n) override;

 private:
  TensorHandle make_input(std::size_t index, int n);

  std::shared_ptr<AotiModel> model_;
  int max_batch_;
  BatchBuffer inputs_;
  std::vector<std::vector<std::int64_t>> sizes_;  // per input, the batch first
  std::vector<std::vector<std::int64_t>> strides_;
  std::vector<TensorHandle> handles_;
};

}  // namespace glet::exec
