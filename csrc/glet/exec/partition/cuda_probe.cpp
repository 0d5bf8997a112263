#include "glet/exec/partition/cuda_probe.h"

#include <exception>

#include "glet/exec/partition/green_context.h"

namespace glet::exec {
namespace {

void probe_device(const CudaDriver& driver, int index, CudaDeviceReport& device) {
  device.name = driver.device_name(index);
  device.sms = driver.device_attribute(index, cuda::kMultiprocessorCount);
  device.memory_mb = static_cast<int>(driver.device_memory_bytes(index) >> 20);
  device.compute_capability =
      std::to_string(driver.device_attribute(index, cuda::kCapabilityMajor)) + "." +
      std::to_string(driver.device_attribute(index, cuda::kCapabilityMinor));
  if (!driver.why_no_green().empty()) return;
  const SmSplit split(driver, index);
  device.units = split.grid().units;
  device.unit_sms = split.grid().unit_sms;
  device.remainder_sms = split.grid().remainder_sms;
}

}  // namespace

CudaReport probe_cuda(const CudaDriver& driver) {
  CudaReport report;
  report.driver = driver.version();
  report.why = driver.why_no_green();
  for (int i = 0; i < driver.device_count(); ++i) {
    try {
      probe_device(driver, i, report.devices.emplace_back());
    } catch (const std::exception& error) {
      if (report.why.empty()) report.why = "device " + std::to_string(i) + ": " + error.what();
    }
  }
  report.available = report.why.empty();
  return report;
}

CudaReport probe_cuda() {
  CudaReport report;
  try {
    return probe_cuda(*CudaDriver::shared());
  } catch (const std::exception& error) {
    report.why = error.what();
  }
  return report;
}

}  // namespace glet::exec
