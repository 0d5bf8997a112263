#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>

#include "glet/exec/partition/cuda_api.h"

namespace glet::exec {

// The CUDA driver, found at run time: the core runs where there is none. It does not change once it
// is open, and any thread may call through it.
class CudaDriver {
 public:
  static constexpr const char* kLibrary = "libcuda.so.1";

  // Opens, initialises and asks for everything once. Throws DeviceError, one line with what to do:
  // no library, a driver before CUDA 12.0, a function that is missing, no device. A driver that is
  // only too old for green contexts opens; see require_green().
  static std::shared_ptr<const CudaDriver> open(const std::string& library = kLibrary);

  // The driver of this process: opened by the first call, whose outcome stays. Throws as open().
  static std::shared_ptr<const CudaDriver> shared();
  static bool available() noexcept;
  // Why shared() throws; empty when it does not.
  static std::string why_unavailable();

  CudaDriver(const CudaDriver&) = delete;
  CudaDriver& operator=(const CudaDriver&) = delete;

  // "13.0": the newest CUDA that the driver speaks.
  std::string version() const;
  int device_count() const { return devices_; }

  // Of device 0..device_count() - 1; each throws DeviceError for a device that is not there.
  cuda::Device device(int index) const;
  std::string device_name(int index) const;
  int device_attribute(int index, int attribute) const;
  std::size_t device_memory_bytes(int index) const;

  // Empty when green contexts can be used; else why not and what to do, in one line.
  const std::string& why_no_green() const { return why_no_green_; }
  // Throws DeviceError that says why_no_green().
  void require_green() const;

  // Calls the driver; throws DeviceError with the call, and the name and text of the error.
  template <typename... Args>
  void call(const cuda::EntryPoint<Args...>& entry, std::type_identity_t<Args>... args) const {
    check(entry.function(args...), entry.name);
  }
  void check(cuda::Result result, const char* call) const;

  // Whether all later calls of the process fail, too, as after an illegal address in a kernel.
  static bool is_sticky(cuda::Result result);

  // For what must not throw, or wants to look at the error itself.
  const cuda::EntryPoints& entry() const { return entry_; }

  // "CUDA_ERROR_OUT_OF_MEMORY (2): out of memory"
  std::string describe(cuda::Result result) const;

 private:
  explicit CudaDriver(const std::string& library) : library_(library) {}
  void resolve(cuda::GetProcAddress find);
  void initialise();

  std::string library_;
  cuda::EntryPoints entry_;
  int version_ = 0;
  int devices_ = 0;
  std::string missing_green_;
  std::string why_no_green_;
};

}  // namespace glet::exec
