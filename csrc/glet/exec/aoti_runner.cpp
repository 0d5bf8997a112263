#include "glet/exec/aoti_runner.h"

#include <cstring>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::exec {
namespace {

std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& sizes) {
  std::vector<std::int64_t> strides(sizes.size());
  std::int64_t step = 1;
  for (std::size_t d = sizes.size(); d-- > 0;) {
    strides[d] = step;
    step *= sizes[d];
  }
  return strides;
}

std::string shape_text(const std::int64_t* sizes, std::size_t dims) {
  std::string text = "(";
  for (std::size_t d = 0; d < dims; ++d) text += (d == 0 ? "" : ", ") + std::to_string(sizes[d]);
  return text + ")";
}

bool is_contiguous(const std::vector<std::int64_t>& sizes, const std::int64_t* strides) {
  std::int64_t step = 1;
  for (std::size_t d = sizes.size(); d-- > 0;) {
    if (sizes[d] != 1 && strides[d] != step) return false;
    step *= sizes[d];
  }
  return true;
}

// Writes a strided tensor, its dimensions from `d` on, item after item; returns the end.
std::byte* gather(std::byte* to, const std::byte* from, std::span<const std::int64_t> sizes,
                  const std::int64_t* strides, std::size_t element) {
  if (sizes.empty()) {
    std::memcpy(to, from, element);
    return to + element;
  }
  for (std::int64_t i = 0; i < sizes[0]; ++i) {
    to = gather(to, from + i * strides[0] * static_cast<std::int64_t>(element), sizes.subspan(1),
                strides + 1, element);
  }
  return to;
}

class AotiBatch : public OutputBatch {
 public:
  explicit AotiBatch(std::shared_ptr<AotiModel> model)
      : OutputBatch(model->signature()), model_(std::move(model)) {
    handles_.resize(signature().outputs.size(), nullptr);
  }
  ~AotiBatch() override {
    for (TensorHandle handle : handles_) {
      if (handle != nullptr) model_->torch().delete_tensor(handle);
    }
  }

  std::span<TensorHandle> handles() { return handles_; }

  // Checks what the model left in handles() and makes it readable.
  void read(int n, const BatchBuffer& inputs) {
    for (std::size_t i = 0; i < handles_.size(); ++i) read_one(i, n, inputs);
  }

 private:
  void read_one(std::size_t index, int n, const BatchBuffer& inputs) {
    const TorchShim& torch = model_->torch();
    const TensorSpec& spec = signature().outputs[index];
    TensorHandle handle = handles_[index];
    if (handle == nullptr) mismatch(spec, n, "no tensor");
    void* data = nullptr;
    std::int64_t dims = 0;
    std::int64_t* sizes = nullptr;
    std::int64_t* strides = nullptr;
    std::int32_t dtype = 0;
    std::int32_t device = 0;
    if (torch.get_data_ptr(handle, &data) != 0 || torch.get_dim(handle, &dims) != 0 ||
        torch.get_sizes(handle, &sizes) != 0 || torch.get_strides(handle, &strides) != 0 ||
        torch.get_dtype(handle, &dtype) != 0 || torch.get_device_type(handle, &device) != 0) {
      mismatch(spec, n, "an unreadable tensor (" + torch.last_error() + ")");
    }
    const auto rank = static_cast<std::size_t>(dims);
    std::vector<std::int64_t> expected{n};
    expected.insert(expected.end(), spec.shape.begin(), spec.shape.end());
    if (!std::equal(expected.begin(), expected.end(), sizes, sizes + rank)) {
      mismatch(spec, n, "shape " + shape_text(sizes, rank));
    }
    if (dtype != torch.dtype_code[static_cast<std::size_t>(spec.dtype)]) {
      mismatch(spec, n, "torch's dtype " + std::to_string(dtype));
    }
    if (device != torch.device_type_cpu()) mismatch(spec, n, "a tensor on another device");
    const auto* bytes = static_cast<const std::byte*>(data);
    if (!is_contiguous(expected, strides) || inputs.owns(data)) {
      bytes = copy(bytes, expected, strides, spec);
    }
    parts_.push_back({bytes, spec.bytes()});
  }

  const std::byte* copy(const std::byte* from, const std::vector<std::int64_t>& sizes,
                        const std::int64_t* strides, const TensorSpec& spec) {
    BatchBuffer& own =
        copies_.emplace_back(std::vector<TensorSpec>{spec}, static_cast<int>(sizes.front()));
    gather(own.data(0), from, sizes, strides, dtype_bytes(spec.dtype));
    return own.data(0);
  }

  [[noreturn]] void mismatch(const TensorSpec& spec, int n, const std::string& got) const {
    std::vector<std::int64_t> sizes{n};
    sizes.insert(sizes.end(), spec.shape.begin(), spec.shape.end());
    throw ModelError("[AotiRunner] output '" + spec.name + "' is " + got + "; expected " +
                     std::string(dtype_name(spec.dtype)) + " " +
                     shape_text(sizes.data(), sizes.size()) + " on the CPU");
  }

  std::shared_ptr<AotiModel> model_;
  std::vector<TensorHandle> handles_;
  std::vector<BatchBuffer> copies_;
};

}  // namespace

AotiRunner::AotiRunner(std::shared_ptr<AotiModel> model, int max_batch)
    : model_(std::move(model)),
      max_batch_(max_batch),
      inputs_(model_->signature()->inputs, max_batch) {
  for (const TensorSpec& spec : model_->signature()->inputs) {
    std::vector<std::int64_t> sizes{max_batch};
    sizes.insert(sizes.end(), spec.shape.begin(), spec.shape.end());
    strides_.push_back(contiguous_strides(sizes));
    sizes_.push_back(std::move(sizes));
  }
  handles_.resize(sizes_.size());
}

TensorHandle AotiRunner::make_input(std::size_t index, int n) {
  const TorchShim& torch = model_->torch();
  const TensorSpec& spec = model_->signature()->inputs[index];
  sizes_[index].front() = n;
  TensorHandle handle = nullptr;
  if (torch.create_tensor_from_blob(inputs_.data(index),
                                    static_cast<std::int64_t>(sizes_[index].size()),
                                    sizes_[index].data(), strides_[index].data(), 0,
                                    torch.dtype_code[static_cast<std::size_t>(spec.dtype)],
                                    torch.device_type_cpu(), 0, &handle) != 0) {
    throw DeviceError("[AotiRunner] no tensor for input '" + spec.name +
                      "': " + torch.last_error());
  }
  return handle;
}

std::shared_ptr<const OutputBatch> AotiRunner::run(int n) {
  for (std::size_t i = 0; i < handles_.size(); ++i) {
    try {
      handles_[i] = make_input(i, n);
    } catch (const DeviceError&) {
      while (i-- > 0) model_->torch().delete_tensor(handles_[i]);
      throw;
    }
  }
  auto outputs = std::make_shared<AotiBatch>(model_);
  model_->run(handles_, outputs->handles());
  outputs->read(n, inputs_);
  return outputs;
}

}  // namespace glet::exec
