#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "glet/exec/tensor.h"
#include "glet/exec/torch_shim.h"

namespace glet::exec {

struct AotiContainer;  // AOTInductor's, opaque

// A model that AOTInductor compiled for one kind of device: the weights once, shared by the runners
// of all gpulets that serve it.
class AotiModel {
 public:
  static constexpr int kCpu = -1;

  // `path`: the model's shared object (out of its .pt2 package); for a GPU its kernels lie beside
  // it. `runners`: how many threads may run it at once; more wait for one another. `cuda_device`:
  // the number of the GPU that it was compiled for, kCpu for none. Throws DeviceError when torch is
  // not loaded, and ModelError when the file is no such model, has other numbers of inputs or
  // outputs than `signature`, or needs operators beyond torch's C interface.
  AotiModel(std::shared_ptr<const TorchShim> torch, const std::string& path, Signature signature,
            int runners, int cuda_device = kCpu);
  AotiModel(const AotiModel&) = delete;
  AotiModel& operator=(const AotiModel&) = delete;
  ~AotiModel();

  // `inputs` are consumed whatever happens; `outputs` are the caller's. `stream`: a CUstream where
  // the work goes, null on the CPU. Throws ModelError.
  void run(std::span<TensorHandle> inputs, std::span<TensorHandle> outputs, void* stream = nullptr);

  const TorchShim& torch() const { return *torch_; }
  const std::shared_ptr<const Signature>& signature() const { return signature_; }
  const std::string& path() const { return path_; }
  int runners() const { return runners_; }
  int cuda_device() const { return cuda_device_; }
  // Memory of the weights; 0 where the model was compiled by a torch that does not say.
  std::size_t constants_bytes() const { return constants_bytes_; }

 private:
  using Error = std::int32_t;
  struct Close {
    void operator()(void* library) const;
  };

  void resolve();
  void check_counts();
  void count_constants();
  [[noreturn]] void fail(const std::string& what) const;
  std::string reason() const;

  std::shared_ptr<const TorchShim> torch_;
  std::shared_ptr<const Signature> signature_;
  std::string path_;
  int runners_;
  int cuda_device_;
  std::size_t constants_bytes_ = 0;
  std::unique_ptr<void, Close> library_;
  AotiContainer* container_ = nullptr;

  Error (*create_)(AotiContainer** container, std::size_t runners, const char* device,
                   const char* cubin_dir) = nullptr;
  Error (*delete_)(AotiContainer* container) = nullptr;
  Error (*run_)(AotiContainer* container, TensorHandle* inputs, std::size_t num_inputs,
                TensorHandle* outputs, std::size_t num_outputs, void* stream,
                void* proxy_executor) = nullptr;
  Error (*num_inputs_)(AotiContainer* container, std::size_t* count) = nullptr;
  Error (*num_outputs_)(AotiContainer* container, std::size_t* count) = nullptr;
  // Not in every torch's models.
  Error (*last_error_)(const char** message) = nullptr;
  Error (*num_constants_)(AotiContainer* container, std::size_t* count) = nullptr;
  Error (*constant_size_)(AotiContainer* container, std::size_t index,
                          std::size_t* bytes) = nullptr;
};

}  // namespace glet::exec
