#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "glet/exec/tensor.h"

namespace glet::exec {

struct AtenTensor;  // torch's, opaque
using TensorHandle = AtenTensor*;

// The part of torch's stable C interface that glet uses, found at run time: the core is built
// without torch and runs with every torch from 2.11 on. Functions return 0 for success.
class TorchShim {
 public:
  // `path`: libtorch_cpu.so; the libraries beside it are found through its own search path.
  // Throws DeviceError that names the file, the missing symbol, or the version found and wanted.
  static std::shared_ptr<const TorchShim> open(const std::string& path);
  TorchShim(const TorchShim&) = delete;
  TorchShim& operator=(const TorchShim&) = delete;
  ~TorchShim();

  const std::string& path() const { return path_; }
  // "2.13"
  std::string version() const;

  // What the last failed call in this thread said; empty where torch is too old to tell.
  std::string last_error() const;

  using Error = std::int32_t;
  Error (*create_tensor_from_blob)(void* data, std::int64_t dims, const std::int64_t* sizes,
                                   const std::int64_t* strides, std::int64_t storage_offset,
                                   std::int32_t dtype, std::int32_t device_type,
                                   std::int32_t device_index, TensorHandle* tensor) = nullptr;
  Error (*delete_tensor)(TensorHandle tensor) = nullptr;
  Error (*get_data_ptr)(TensorHandle tensor, void** data) = nullptr;
  Error (*get_dim)(TensorHandle tensor, std::int64_t* dims) = nullptr;
  Error (*get_sizes)(TensorHandle tensor, std::int64_t** sizes) = nullptr;
  Error (*get_strides)(TensorHandle tensor, std::int64_t** strides) = nullptr;
  Error (*get_dtype)(TensorHandle tensor, std::int32_t* dtype) = nullptr;
  Error (*get_device_type)(TensorHandle tensor, std::int32_t* device_type) = nullptr;
  std::int32_t (*device_type_cpu)() = nullptr;
  std::int32_t (*device_type_cuda)() = nullptr;

  // torch's number for DType d is dtype_code[d].
  std::int32_t dtype_code[kNumericDTypes] = {};

 private:
  TorchShim(std::string path, void* library) : path_(std::move(path)), library_(library) {}
  void resolve();
  void check_version();

  std::string path_;
  void* library_;
  std::uint64_t abi_ = 0;
  const char* (*exception_what_)() = nullptr;
};

// Opens torch for this process: the first call decides, later ones with the same path return the
// same. Throws DeviceError as open() does, and when torch was loaded from elsewhere before.
std::shared_ptr<const TorchShim> load_torch(const std::string& path);

// What load_torch() opened. Throws DeviceError when it was not called.
std::shared_ptr<const TorchShim> loaded_torch();

}  // namespace glet::exec
