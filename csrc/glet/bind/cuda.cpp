#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "glet/bind/arrays.h"
#include "glet/bind/bind.h"
#include "glet/exec/memory_export.h"
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

py::bytes export_device_memory(std::uintptr_t address, std::size_t bytes,
                               std::optional<std::uintptr_t> stream) {
  std::string frame;
  {
    const py::gil_scoped_release nogil;
    std::optional<exec::cuda::Stream> given;
    if (stream) given = reinterpret_cast<exec::cuda::Stream>(*stream);
    frame = exec::device_frame(exec::export_memory(address, bytes, given));
  }
  return py::bytes(frame);
}

DeviceArray device_array(const std::string& dtype, std::vector<std::int64_t> shape,
                         const py::bytes& frame) {
  return {exec::dtype_from_name(dtype), std::move(shape), std::string(frame)};
}

}  // namespace

void bind_cuda(py::module_& m) {
  py::class_<DeviceArray>(m, "DeviceArray")
      .def(py::init(&device_array), "dtype"_a, "shape"_a, "frame"_a);
  m.def("export_device_memory", &export_device_memory, "address"_a, "size"_a,
        "stream"_a = py::none());
  m.def("cuda_probe", &cuda_probe,
        "What the CUDA driver and its devices can do. Makes no context; never raises.");
}

}  // namespace glet::bind
