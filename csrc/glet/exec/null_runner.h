#pragma once

#include "glet/exec/batch_buffer.h"
#include "glet/exec/runner.h"

namespace glet::exec {

// Computes nothing: output i repeats input i when an item of both has the same bytes, and is zeros
// otherwise. What is left is the cost of serving itself.
class NullRunner : public Runner {
 public:
  // Throws ArgumentError when `max_batch` < 1.
  NullRunner(Signature signature, int max_batch);

  std::string_view kind() const override { return "null"; }
  const Signature& signature() const override { return *signature_; }
  int max_batch() const override { return max_batch_; }
  std::byte* input(std::size_t index) override { return inputs_.data(index); }
  std::shared_ptr<const OutputBatch> run(int n) override;

 private:
  std::shared_ptr<const Signature> signature_;
  int max_batch_;
  BatchBuffer inputs_;
};

}  // namespace glet::exec
