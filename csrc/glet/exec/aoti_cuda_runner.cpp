#include "glet/exec/aoti_cuda_runner.h"

#include <algorithm>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::exec {
namespace {

std::vector<std::int64_t> batch_sizes(const TensorSpec& spec, int n) {
  std::vector<std::int64_t> sizes{n};
  sizes.insert(sizes.end(), spec.shape.begin(), spec.shape.end());
  return sizes;
}

std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& sizes) {
  std::vector<std::int64_t> strides(sizes.size());
  std::int64_t step = 1;
  for (std::size_t d = sizes.size(); d-- > 0;) {
    strides[d] = step;
    step *= sizes[d];
  }
  return strides;
}

}  // namespace

// Tensors of one run, let go of together.
class AotiCudaRunner::Handles {
 public:
  Handles(const TorchShim& torch, std::size_t count) : torch_(torch), all_(count, nullptr) {}
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  ~Handles() {
    for (TensorHandle handle : all_) {
      if (handle != nullptr) torch_.delete_tensor(handle);
    }
  }
  std::vector<TensorHandle>& all() { return all_; }
  void consumed() { std::fill(all_.begin(), all_.end(), nullptr); }

 private:
  const TorchShim& torch_;
  std::vector<TensorHandle> all_;
};

AotiCudaRunner::AotiCudaRunner(std::shared_ptr<GreenDevice> device,
                               std::shared_ptr<AotiModel> model, int max_batch)
    : device_(std::move(device)),
      model_(std::move(model)),
      max_batch_(max_batch),
      layout_(signature().inputs, max_batch),
      input_pool_(device_->primary(), layout_.bytes),
      output_pool_(device_->primary(), BlockLayout(signature().outputs, max_batch).bytes),
      inputs_(input_pool_.take()),
      transfers_(device_) {
  if (model_->cuda_device() != device_->device()) {
    throw ArgumentError("[AotiCudaRunner] " + model_->path() + " is for " +
                        (model_->cuda_device() == AotiModel::kCpu
                             ? std::string("the CPU")
                             : "device " + std::to_string(model_->cuda_device())) +
                        "; the gpulet is on device " + std::to_string(device_->device()));
  }
  const CurrentContext current(driver(), device_->primary()->context());
  driver().call(driver().entry().mem_alloc, &block_,
                std::max(layout_.bytes, BlockLayout::kAlignment));
}

AotiCudaRunner::~AotiCudaRunner() {
  try {
    const CurrentContext current(driver(), device_->primary()->context());
    driver().entry().mem_free.function(block_);
  } catch (const DeviceError&) {
    // The device is lost, and its memory with it.
  }
}

void AotiCudaRunner::begin(int n) {
  layout_ = BlockLayout(signature().inputs, n);
}

std::byte* AotiCudaRunner::input(std::size_t index) {
  return inputs_.data() + layout_.offsets[index];
}

TensorHandle AotiCudaRunner::make_input(std::size_t index, int n) const {
  const TorchShim& torch = model_->torch();
  const TensorSpec& spec = signature().inputs[index];
  const auto sizes = batch_sizes(spec, n);
  const auto strides = contiguous_strides(sizes);
  TensorHandle handle = nullptr;
  if (torch.create_tensor_from_blob(reinterpret_cast<void*>(block_ + layout_.offsets[index]),
                                    static_cast<std::int64_t>(sizes.size()), sizes.data(),
                                    strides.data(), 0,
                                    torch.dtype_code[static_cast<std::size_t>(spec.dtype)],
                                    torch.device_type_cuda(), device_->device(), &handle) != 0) {
    throw DeviceError("[AotiCudaRunner] no tensor for input '" + spec.name +
                      "': " + torch.last_error());
  }
  return handle;
}

cuda::DevicePointer AotiCudaRunner::output(TensorHandle handle, std::size_t index, int n) const {
  const TorchShim& torch = model_->torch();
  const TensorSpec& spec = signature().outputs[index];
  const auto fail = [&](const char* what) {
    throw ModelError("[AotiCudaRunner] output '" + spec.name + "' of a batch of " +
                     std::to_string(n) + " is " + what);
  };
  if (handle == nullptr) fail("no tensor");
  void* data = nullptr;
  std::int64_t dims = 0;
  std::int64_t* sizes = nullptr;
  std::int64_t* strides = nullptr;
  std::int32_t dtype = 0;
  std::int32_t device = 0;
  if (torch.get_data_ptr(handle, &data) != 0 || torch.get_dim(handle, &dims) != 0 ||
      torch.get_sizes(handle, &sizes) != 0 || torch.get_strides(handle, &strides) != 0 ||
      torch.get_dtype(handle, &dtype) != 0 || torch.get_device_type(handle, &device) != 0) {
    fail("an unreadable tensor");
  }
  const auto expected = batch_sizes(spec, n);
  if (!std::equal(expected.begin(), expected.end(), sizes, sizes + dims)) {
    fail("not of the shape of its signature");
  }
  if (dtype != torch.dtype_code[static_cast<std::size_t>(spec.dtype)]) {
    fail("not of the dtype of its signature");
  }
  if (device != torch.device_type_cuda()) fail("not on the GPU");
  const auto wanted = contiguous_strides(expected);
  for (std::size_t d = 0; d < wanted.size(); ++d) {
    if (expected[d] != 1 && strides[d] != wanted[d])
      fail("not contiguous; make it so in the model");
  }
  return reinterpret_cast<cuda::DevicePointer>(data);
}

std::shared_ptr<const OutputBatch> AotiCudaRunner::run(int n) {
  if (context_ == nullptr) {
    throw DeviceError("[AotiCudaRunner] the gpulet has no SMs; models compiled for a GPU run on " +
                      std::string("gpulets of kind green"));
  }
  const BlockLayout layout(signature().outputs, n);
  const CurrentContext current(driver(), context_->context());
  Handles outputs(model_->torch(), signature().outputs.size());
  auto block = launch(outputs, layout, n);
  return std::make_shared<PinnedBatch>(model_->signature(), std::move(block), layout);
}

PinnedPool::Block AotiCudaRunner::launch(Handles& outputs, const BlockLayout& layout, int n) {
  auto block = output_pool_.take();
  const cuda::Stream stream = context_->stream();
  DeviceTimer& timer = context_->timer();
  try {
    Handles inputs(model_->torch(), signature().inputs.size());
    std::vector<cuda::DevicePointer> addresses;
    for (std::size_t i = 0; i < inputs.all().size(); ++i) {
      addresses.push_back(block_ + layout_.offsets[i]);
      inputs.all()[i] = make_input(i, n);
    }
    timer.start(stream);
    transfers_.inputs(layout_, n, inputs_.data(), {addresses, true}, stream);
    auto given = inputs.all();
    inputs.consumed();
    {
      // Torch works in the primary context; the stream says which SMs.
      const CurrentContext primary(driver(), device_->primary()->context());
      model_->run(given, outputs.all(), stream);
    }
    addresses.clear();
    for (std::size_t i = 0; i < outputs.all().size(); ++i) {
      addresses.push_back(output(outputs.all()[i], i, n));
    }
    copy_to_host(driver(), layout, n, block.data(), {addresses}, stream);
    transfers_.outputs(layout, {addresses}, stream);
    timer.stop(stream);
    device_busy_ns_ += timer.wait().count();
  } catch (...) {
    // What is under way still reads and writes the blocks, which the next batch gets.
    driver().entry().stream_synchronize.function(stream);
    throw;
  }
  return block;
}

RunnerReport AotiCudaRunner::report() const {
  RunnerReport report;
  report.kind = "aoti";
  report.pinned_bytes = input_pool_.bytes() + output_pool_.bytes();
  report.device_busy = Nanos(device_busy_ns_.load());
  return report;
}

}  // namespace glet::exec
