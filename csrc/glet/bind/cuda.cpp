#include <pybind11/pybind11.h>

#include "glet/bind/bind.h"
#include "glet/exec/partition/cuda_probe.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {
namespace {

py::dict to_dict(const exec::CudaDeviceReport& device) {
  return py::dict("name"_a = device.name, "sms"_a = device.sms, "memory_mb"_a = device.memory_mb,
                  "compute_capability"_a = device.compute_capability, "units"_a = device.units,
                  "unit_sms"_a = device.unit_sms, "remainder_sms"_a = device.remainder_sms);
}

py::dict cuda_probe() {
  exec::CudaReport report;
  {
    const py::gil_scoped_release nogil;
    report = exec::probe_cuda();
  }
  py::list devices;
  for (const auto& device : report.devices) devices.append(to_dict(device));
  return py::dict("available"_a = report.available, "why"_a = report.why,
                  "driver"_a = report.driver, "devices"_a = devices);
}

}  // namespace

void bind_cuda(py::module_& m) {
  m.def("cuda_probe", &cuda_probe,
        "What the CUDA driver and its devices can do. Makes no context; never raises.");
}

}  // namespace glet::bind
