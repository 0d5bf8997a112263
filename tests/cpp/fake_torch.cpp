// A libtorch_cpu.so and, in the same file, a model compiled for a GPU: y = 2 x for one float32 x of
// two elements, on the stream, with the fake libcuda.so.1.

#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <string>

#include "fake_cuda.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr std::int32_t kCpu = 0;
constexpr std::int32_t kCuda = 1;
constexpr std::int32_t kFloat = 6;
int alive = 0;
int fail_next = 0;
std::string kernels;

struct Tensor {
  void* data;
  std::array<std::int64_t, 2> sizes;
  std::array<std::int64_t, 2> strides;
  std::int32_t dtype;
  std::int32_t device;
  unsigned long long owned;
};

template <typename Function>
Function* fake(const char* name) {
  static void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

struct Work {
  const float* x;
  float* y;
  std::int64_t count;
};

int twice(void* data) {
  auto* const work = static_cast<Work*>(data);
  for (std::int64_t i = 0; i < work->count; ++i) work->y[i] = 2 * work->x[i];
  delete work;
  return 0;
}

}  // namespace

EXPORT int fake_torch_alive() {
  return alive;
}
// The next run fails; 2: it makes an output on the CPU.
EXPORT void fake_torch_fail(int how) {
  fail_next = how;
}

// The folder that the last model was told to find its kernels in.
EXPORT const char* fake_torch_kernels() {
  return kernels.c_str();
}

EXPORT std::uint64_t aoti_torch_abi_version() {
  return std::uint64_t{2} << 56 | std::uint64_t{13} << 48;
}
EXPORT std::int32_t aoti_torch_device_type_cpu() {
  return kCpu;
}
EXPORT std::int32_t aoti_torch_device_type_cuda() {
  return kCuda;
}

#define DTYPE(name, code)                         \
  EXPORT std::int32_t aoti_torch_dtype_##name() { \
    return code;                                  \
  }
DTYPE(float32, kFloat)
DTYPE(float64, 7)
DTYPE(float16, 5)
DTYPE(bfloat16, 15)
DTYPE(int64, 4)
DTYPE(int32, 3)
DTYPE(int16, 2)
DTYPE(int8, 1)
DTYPE(uint8, 0)
DTYPE(uint16, 27)
DTYPE(uint32, 28)
DTYPE(uint64, 29)
DTYPE(bool, 11)

EXPORT std::int32_t aoti_torch_create_tensor_from_blob(void* data, std::int64_t dims,
                                                       const std::int64_t* sizes,
                                                       const std::int64_t* strides, std::int64_t,
                                                       std::int32_t dtype, std::int32_t device,
                                                       std::int32_t, Tensor** made) {
  if (dims != 2) return 1;
  ++alive;
  *made = new Tensor{data, {sizes[0], sizes[1]}, {strides[0], strides[1]}, dtype, device, 0};
  return 0;
}
EXPORT std::int32_t aoti_torch_delete_tensor_object(Tensor* tensor) {
  if (tensor->owned != 0) fake<decltype(fake_cuda_free)>("fake_cuda_free")(tensor->owned);
  --alive;
  delete tensor;
  return 0;
}
EXPORT std::int32_t aoti_torch_get_data_ptr(Tensor* tensor, void** data) {
  *data = tensor->data;
  return 0;
}
EXPORT std::int32_t aoti_torch_get_dim(Tensor*, std::int64_t* dims) {
  *dims = 2;
  return 0;
}
EXPORT std::int32_t aoti_torch_get_sizes(Tensor* tensor, std::int64_t** sizes) {
  *sizes = tensor->sizes.data();
  return 0;
}
EXPORT std::int32_t aoti_torch_get_strides(Tensor* tensor, std::int64_t** strides) {
  *strides = tensor->strides.data();
  return 0;
}
EXPORT std::int32_t aoti_torch_get_dtype(Tensor* tensor, std::int32_t* dtype) {
  *dtype = tensor->dtype;
  return 0;
}
EXPORT std::int32_t aoti_torch_get_device_type(Tensor* tensor, std::int32_t* device) {
  *device = tensor->device;
  return 0;
}

EXPORT std::int32_t AOTInductorModelContainerCreateWithDevice(void** container, std::size_t,
                                                              const char* device,
                                                              const char* cubin_dir) {
  if (std::string(device) != "cuda:0" || cubin_dir == nullptr) return 1;
  kernels = cubin_dir;
  *container = new std::string(device);
  return 0;
}
EXPORT std::int32_t AOTInductorModelContainerDelete(void* container) {
  delete static_cast<std::string*>(container);
  return 0;
}
EXPORT std::int32_t AOTInductorModelContainerGetNumInputs(void*, std::size_t* count) {
  *count = 1;
  return 0;
}
EXPORT std::int32_t AOTInductorModelContainerGetNumOutputs(void*, std::size_t* count) {
  *count = 1;
  return 0;
}
EXPORT std::int32_t AOTInductorModelContainerRun(void*, Tensor** inputs, std::size_t,
                                                 Tensor** outputs, std::size_t, void* stream,
                                                 void*) {
  Tensor* const x = inputs[0];
  const std::int64_t count = x->sizes[0] * x->sizes[1];
  const int how = fail_next;
  fail_next = 0;
  if (how != 1) {
    const auto memory = fake<decltype(fake_cuda_alloc)>("fake_cuda_alloc")(
        static_cast<unsigned long long>(count) * 4);
    ++alive;
    outputs[0] = new Tensor{reinterpret_cast<void*>(memory), x->sizes, x->strides, x->dtype,
                            how == 2 ? kCpu : x->device,     memory};
    fake<decltype(fake_cuda_enqueue)>("fake_cuda_enqueue")(
        stream, twice,
        new Work{static_cast<float*>(x->data), reinterpret_cast<float*>(memory), count});
  }
  aoti_torch_delete_tensor_object(x);
  return how == 1 ? 1 : 0;
}
