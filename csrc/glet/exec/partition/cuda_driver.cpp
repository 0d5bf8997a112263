#include "glet/exec/partition/cuda_driver.h"

#include <dlfcn.h>

#include <exception>

#include "glet/error.h"

namespace glet::exec {
namespace {

using cuda::Result;

// cuGreenCtxStreamCreate is the youngest function that green contexts need.
constexpr int kGreenVersion = 12050;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

[[noreturn]] void fail(const std::string& what) {
  throw DeviceError("[CudaDriver] " + what);
}

const char* what_to_do(Result result) {
  switch (result) {
    case cuda::kNoDevice:
      return "see whether nvidia-smi lists a device and whether CUDA_VISIBLE_DEVICES hides it";
    case cuda::kStubLibrary:
      return "a stub of the CUDA toolkit was found first; take it out of LD_LIBRARY_PATH";
    case cuda::kSystemDriverMismatch:
      return "library and kernel module are of different drivers; reload the module or restart";
    default:
      return "see what nvidia-smi says";
  }
}

struct Opened {
  std::shared_ptr<const CudaDriver> driver;
  std::string why;
};

Opened try_open() {
  try {
    return {CudaDriver::open(), ""};
  } catch (const DeviceError& error) {
    return {nullptr, error.what()};
  }
}

const Opened& opened() {
  static const Opened once = try_open();
  return once;
}

}  // namespace

std::shared_ptr<const CudaDriver> CudaDriver::open(const std::string& library) {
  // Never closed again: the driver has threads and exit handlers of its own.
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    fail(std::string(why != nullptr ? why : library.c_str()) +
         "; install the NVIDIA driver, or start the container with its devices (--gpus all)");
  }
  const auto find = reinterpret_cast<cuda::GetProcAddress>(::dlsym(handle, "cuGetProcAddress_v2"));
  if (find == nullptr) {
    fail(library + " has no cuGetProcAddress_v2: it is older than CUDA 12.0; install driver 555 " +
         "(CUDA 12.5) or later");
  }
  const std::shared_ptr<CudaDriver> driver(new CudaDriver(library));
  driver->resolve(find);
  driver->initialise();
  return driver;
}

std::shared_ptr<const CudaDriver> CudaDriver::shared() {
  if (opened().driver == nullptr) throw DeviceError(opened().why);
  return opened().driver;
}

bool CudaDriver::available() noexcept {
  try {
    return opened().driver != nullptr;
  } catch (const std::exception&) {
    return false;
  }
}

std::string CudaDriver::why_unavailable() {
  return opened().why;
}

void CudaDriver::resolve(cuda::GetProcAddress find) {
  const auto lookup = [find]<typename... Args>(cuda::EntryPoint<Args...>& entry) {
    void* address = nullptr;
    int status = 0;
    // An old driver answers a newer version with an error, a broken one with success and nothing.
    const Result result = find(entry.name, &address, entry.since, cuda::kLegacyStream, &status);
    if (result != cuda::kSuccess) address = nullptr;
    entry.function = reinterpret_cast<Result (*)(Args...)>(address);
    return address != nullptr;
  };
  entry_.visit_basic([&](auto& entry) {
    if (!lookup(entry)) {
      fail(library_ + " has no " + entry.name + " of CUDA " + version_text(entry.since) +
           "; install the NVIDIA driver anew, 555 or later");
    }
  });
  entry_.visit_green([&](auto& entry) {
    if (!lookup(entry) && missing_green_.empty()) missing_green_ = entry.name;
  });
}

void CudaDriver::initialise() {
  const auto check_start = [this](Result result, const char* call) {
    if (result == cuda::kSuccess) return;
    fail(std::string(call) + ": " + describe(result) + "; " + what_to_do(result));
  };
  check_start(entry_.init.function(0), entry_.init.name);
  check_start(entry_.driver_get_version.function(&version_), entry_.driver_get_version.name);
  check_start(entry_.device_get_count.function(&devices_), entry_.device_get_count.name);
  if (devices_ < 1) fail(std::string("there is no device; ") + what_to_do(cuda::kNoDevice));
  if (version_ < kGreenVersion) {
    why_no_green_ = "the driver speaks CUDA " + version() + "; green contexts need CUDA " +
                    version_text(kGreenVersion) + ": install driver 555 or later";
  } else if (!missing_green_.empty()) {
    why_no_green_ = library_ + " of CUDA " + version() + " has no " + missing_green_ +
                    "; install the NVIDIA driver anew";
  }
}

std::string CudaDriver::version() const {
  return version_text(version_);
}

cuda::Device CudaDriver::device(int index) const {
  if (index < 0 || index >= devices_) {
    fail("device " + std::to_string(index) + " is not there; there are " +
         std::to_string(devices_) + ", counted from 0");
  }
  cuda::Device device = 0;
  call(entry_.device_get, &device, index);
  return device;
}

std::string CudaDriver::device_name(int index) const {
  char name[256] = {};
  call(entry_.device_get_name, name, static_cast<int>(sizeof(name)) - 1, device(index));
  return name;
}

int CudaDriver::device_attribute(int index, int attribute) const {
  int value = 0;
  call(entry_.device_get_attribute, &value, attribute, device(index));
  return value;
}

std::size_t CudaDriver::device_memory_bytes(int index) const {
  std::size_t bytes = 0;
  call(entry_.device_total_mem, &bytes, device(index));
  return bytes;
}

void CudaDriver::require_green() const {
  if (!why_no_green_.empty()) fail(why_no_green_);
}

void CudaDriver::check(Result result, const char* call) const {
  if (result == cuda::kSuccess) return;
  fail(std::string(call) + ": " + describe(result) +
       (is_sticky(result) ? "; the device is lost for this process: start its executor anew" : ""));
}

bool CudaDriver::is_sticky(Result result) {
  switch (result) {
    case cuda::kEccUncorrectable:
    case cuda::kNvlinkUncorrectable:
    case cuda::kIllegalAddress:
    case cuda::kLaunchTimeout:
    case cuda::kAssert:
    case cuda::kHardwareStackError:
    case cuda::kIllegalInstruction:
    case cuda::kMisalignedAddress:
    case cuda::kInvalidAddressSpace:
    case cuda::kInvalidPc:
    case cuda::kLaunchFailed:
      return true;
    default:
      return false;
  }
}

std::string CudaDriver::describe(Result result) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (entry_.get_error_name.function(result, &name) != cuda::kSuccess) name = nullptr;
  if (entry_.get_error_string.function(result, &text) != cuda::kSuccess) text = nullptr;
  return std::string(name != nullptr ? name : "error") + " (" + std::to_string(result) + ")" +
         (text != nullptr ? std::string(": ") + text : "");
}

}  // namespace glet::exec
