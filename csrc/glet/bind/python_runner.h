#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <vector>

#include "glet/exec/batch_buffer.h"
#include "glet/exec/runner.h"

namespace glet::bind {

// Calls a Python function per batch, on the worker's thread, under the GIL: fn(*inputs) -> output
// or a sequence of outputs. Inputs are numpy arrays (n, *shape) over the batch itself: they are
// valid during the call and change with the next. Outputs are numpy arrays, or what numpy.asarray
// takes, of shape (n, *shape); they are converted to the signature's dtype and kept, so the
// function must not change them afterwards. bfloat16 tensors are seen, and given, as uint16, bytes
// as objects: `bytes` come in, bytes or str (UTF-8) go out.
class PythonRunner : public exec::Runner {
 public:
  // With the GIL. Throws ArgumentError when `function` cannot be called or `max_batch` < 1.
  PythonRunner(pybind11::object function, exec::Signature signature, int max_batch);
  ~PythonRunner() override;

  std::string_view kind() const override { return "python"; }
  const exec::Signature& signature() const override { return *signature_; }
  int max_batch() const override { return max_batch_; }
  std::byte* input(std::size_t index) override { return inputs_->data(index); }
  std::shared_ptr<const exec::OutputBatch> run(int n) override;

 private:
  pybind11::tuple call(int n) const;

  pybind11::object function_;
  std::shared_ptr<const exec::Signature> signature_;
  int max_batch_;
  std::shared_ptr<exec::BatchBuffer> inputs_;  // shared with the arrays that look at it
  pybind11::object owner_;                     // what those arrays hold on to
};

// Drops Python objects from any thread. Once the interpreter is gone they are leaked: there is
// nobody left to free them for.
void drop(std::vector<pybind11::object>& objects);

}  // namespace glet::bind
