#pragma once

#include <string>
#include <vector>

#include "glet/exec/partition/cuda_driver.h"

namespace glet::exec {

struct CudaDeviceReport {
  std::string name;
  int sms = 0;
  int memory_mb = 0;               // MiB
  std::string compute_capability;  // "9.0"
  // Of the split that green contexts use; zeros where there is none.
  int units = 0;
  int unit_sms = 0;
  int remainder_sms = 0;
};

struct CudaReport {
  bool available = false;  // green contexts can be made on every device
  std::string why;         // why not, one line; empty when they can
  std::string driver;      // "13.0"; empty without a driver
  std::vector<CudaDeviceReport> devices;
};

// What `driver` and its devices can do. Makes no context. Never throws: what fails is in `why`.
CudaReport probe_cuda(const CudaDriver& driver);
// Of the driver of this process, which it opens.
CudaReport probe_cuda();

}  // namespace glet::exec
