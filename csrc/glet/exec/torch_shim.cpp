#include "glet/exec/torch_shim.h"

#include <dlfcn.h>

#include <mutex>
#include <utility>

#include "glet/error.h"
#include "glet/exec/tensor.h"

namespace glet::exec {
namespace {

constexpr std::uint64_t kMajor = 2;
constexpr std::uint64_t kOldestMinor = 11;

std::string version_text(std::uint64_t abi) {
  return std::to_string(abi >> 56) + "." + std::to_string((abi >> 48) & 0xff);
}

template <typename Function>
void find(void* library, const std::string& path, const std::string& symbol, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, symbol.c_str()));
  if (function == nullptr) {
    throw DeviceError("[load_torch] " + path + " has no " + symbol +
                      "; a libtorch_cpu.so of torch 2.11 or later has it");
  }
}

}  // namespace

std::shared_ptr<const TorchShim> TorchShim::open(const std::string& path) {
  // Global: compiled models and the intra-op setters look torch's functions up in the process.
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    throw DeviceError("[load_torch] cannot open " + path + ": " + ::dlerror());
  }
  const std::shared_ptr<TorchShim> shim(new TorchShim(path, library));
  shim->check_version();
  shim->resolve();
  return shim;
}

TorchShim::~TorchShim() {
  ::dlclose(library_);
}

void TorchShim::check_version() {
  std::uint64_t (*abi_version)() = nullptr;
  find(library_, path_, "aoti_torch_abi_version", abi_version);
  abi_ = abi_version();
  const std::uint64_t minor = (abi_ >> 48) & 0xff;
  if (abi_ >> 56 != kMajor || minor < kOldestMinor) {
    throw DeviceError("[load_torch] " + path_ + " is torch " + version() + "; wanted 2." +
                      std::to_string(kOldestMinor) + " or a later 2.x");
  }
}

void TorchShim::resolve() {
  const auto get = [this](const std::string& name, auto& function) {
    find(library_, path_, "aoti_torch_" + name, function);
  };
  get("create_tensor_from_blob", create_tensor_from_blob);
  get("delete_tensor_object", delete_tensor);
  get("get_data_ptr", get_data_ptr);
  get("get_dim", get_dim);
  get("get_sizes", get_sizes);
  get("get_strides", get_strides);
  get("get_dtype", get_dtype);
  get("get_device_type", get_device_type);
  get("device_type_cpu", device_type_cpu);
  get("device_type_cuda", device_type_cuda);
  for (std::size_t i = 0; i < std::size(dtype_code); ++i) {
    std::int32_t (*code)() = nullptr;
    get("dtype_" + std::string(dtype_name(static_cast<DType>(i))), code);
    dtype_code[i] = code();
  }
  // Since 2.13.
  exception_what_ = reinterpret_cast<const char* (*)()>(
      ::dlsym(library_, "torch_exception_get_what_without_backtrace"));
}

std::string TorchShim::version() const {
  return version_text(abi_);
}

std::string TorchShim::last_error() const {
  const char* what = exception_what_ != nullptr ? exception_what_() : nullptr;
  return what != nullptr ? what : "";
}

namespace {

std::mutex process_mutex;
std::shared_ptr<const TorchShim> process_shim;

}  // namespace

std::shared_ptr<const TorchShim> load_torch(const std::string& path) {
  const std::lock_guard lock(process_mutex);
  if (process_shim != nullptr && process_shim->path() == path) return process_shim;
  auto shim = TorchShim::open(path);
  if (process_shim != nullptr) {
    throw DeviceError("[load_torch] torch was loaded from " + process_shim->path() +
                      " before; one process has one torch");
  }
  process_shim = std::move(shim);
  return process_shim;
}

std::shared_ptr<const TorchShim> loaded_torch() {
  const std::lock_guard lock(process_mutex);
  if (process_shim == nullptr) {
    throw DeviceError(
        "[AotiModel] torch is not loaded; call load_torch() with the path of "
        "libtorch_cpu.so first");
  }
  return process_shim;
}

}  // namespace glet::exec
