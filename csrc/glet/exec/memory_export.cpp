#include "glet/exec/memory_export.h"

#include <string>

#include "glet/error.h"
#include "glet/exec/partition/cuda_context.h"

namespace glet::exec {
namespace {

constexpr const char* kWhatToDo =
    "; it has to come from cudaMalloc: with torch set expandable_segments:False and no "
    "cudaMallocAsync backend in PYTORCH_CUDA_ALLOC_CONF, with CuPy take no MemoryAsyncPool; or "
    "send "
    "a host array";

// What has no answer is no device memory.
std::optional<int> attribute(const CudaDriver& driver, int which, cuda::DevicePointer address) {
  int value = 0;
  const auto result = driver.entry().pointer_attribute.function(&value, which, address);
  if (result == cuda::kSuccess) return value;
  return std::nullopt;
}

}  // namespace

DeviceTensor export_memory(cuda::DevicePointer address, std::size_t bytes,
                           std::optional<cuda::Stream> stream) {
  const auto driver = CudaDriver::shared();
  const auto device = attribute(*driver, cuda::kPointerDeviceOrdinal, address);
  if (!device) throw ArgumentError("it is not in memory of a CUDA device of this process");
  const PrimaryContext primary(driver, *device);
  const CurrentContext current(*driver, primary.context());
  if (stream) {
    driver->call(driver->entry().stream_synchronize, *stream);
  } else {
    driver->call(driver->entry().ctx_synchronize);
  }
  // A bool of the driver: it may write one byte only.
  if (attribute(*driver, cuda::kPointerIpcCapable, address).value_or(0) == 0) {
    throw ArgumentError(std::string("this kind of device memory cannot be opened by others") +
                        kWhatToDo);
  }
  DeviceTensor tensor;
  cuda::DevicePointer base = 0;
  std::size_t whole = 0;
  driver->call(driver->entry().address_range, &base, &whole, address);
  tensor.offset = address - base;
  tensor.bytes = bytes;
  tensor.host = this_host();
  if (tensor.offset > whole || bytes > whole - tensor.offset) {
    throw ArgumentError("it goes beyond the end of its allocation");
  }
  const auto result = driver->entry().ipc_get_handle.function(&tensor.handle, base);
  if (result != cuda::kSuccess) {
    throw ArgumentError("this device memory cannot be opened by others (cuIpcGetMemHandle: " +
                        driver->describe(result) + ")" + kWhatToDo);
  }
  return tensor;
}

}  // namespace glet::exec
