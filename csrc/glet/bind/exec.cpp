#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "glet/bind/bind.h"
#include "glet/bind/nanos.h"
#include "glet/bind/objects.h"
#include "glet/exec/aoti_model.h"
#include "glet/exec/engine.h"
#include "glet/exec/profiled_runner.h"
#include "glet/exec/tensor.h"
#include "glet/exec/torch_shim.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

void bind_signature(py::module_& m) {
  using exec::Signature;
  using exec::TensorSpec;
  py::class_<TensorSpec>(m, "TensorSpec",
                         "One input or output of one request, without the batch dimension.")
      .def(py::init([](std::string name, const std::string& dtype, std::vector<std::int64_t> shape,
                       std::size_t max_bytes) {
             TensorSpec spec{std::move(name), exec::dtype_from_name(dtype), std::move(shape)};
             if (spec.is_bytes()) spec.max_bytes = max_bytes;
             spec.bytes();  // throws on a shape that cannot be
             return spec;
           }),
           py::arg("name"), py::arg("dtype"), py::arg("shape"),
           py::arg("max_bytes") = exec::kDefaultMaxBytes)
      .def_readonly("name", &TensorSpec::name)
      .def_property_readonly(
          "dtype", [](const TensorSpec& self) { return std::string(exec::dtype_name(self.dtype)); })
      .def_property_readonly("shape",
                             [](const TensorSpec& self) { return py::tuple(py::cast(self.shape)); })
      .def_readonly("max_bytes", &TensorSpec::max_bytes)
      .def_property_readonly("bytes", &TensorSpec::bytes);
  m.def(
      "encode_bytes",
      [](const py::object& given) {
        const py::array objects = as_objects(given);
        std::string frame;
        encode_bytes(objects, 0, static_cast<std::size_t>(objects.size()), exec::kAnyLength,
                     "[encode_bytes]", frame);
        return py::bytes(frame);
      },
      py::arg("array"), "The frame of a bytes tensor.");
  py::class_<Signature>(m, "Signature")
      .def(py::init([](std::vector<TensorSpec> inputs, std::vector<TensorSpec> outputs) {
             return Signature{std::move(inputs), std::move(outputs)};
           }),
           py::arg("inputs"), py::arg("outputs"))
      .def_readonly("inputs", &Signature::inputs)
      .def_readonly("outputs", &Signature::outputs);
}

void bind_models(py::module_& m) {
  using exec::AotiModel;
  m.def(
      "load_torch", [](const std::string& path) { return exec::load_torch(path)->version(); },
      py::arg("path"), py::call_guard<py::gil_scoped_release>(),
      "Opens libtorch_cpu.so for this process and returns its version, \"2.13\".");
  py::class_<AotiModel, std::shared_ptr<AotiModel>>(
      m, "AotiModel", "A model compiled by AOTInductor; gpulets share its weights.")
      .def(py::init([](const std::string& path, exec::Signature signature, int runners,
                       std::optional<int> cuda_device) {
             const py::gil_scoped_release nogil;
             return std::make_shared<AotiModel>(exec::loaded_torch(), path, std::move(signature),
                                                runners, cuda_device.value_or(AotiModel::kCpu));
           }),
           py::arg("path"), py::arg("signature"), py::arg("runners") = 1,
           py::arg("cuda_device") = py::none())
      .def_property_readonly("path", &AotiModel::path)
      .def_property_readonly("runners", &AotiModel::runners)
      .def_property_readonly("constants_bytes", &AotiModel::constants_bytes);
  py::class_<exec::Emulation, std::shared_ptr<exec::Emulation>>(
      m, "Emulation", "How long a stand-in device takes for one model; may be set while it serves.")
      .def(py::init<double>(), py::arg("factor") = 1.0)
      .def_property("factor", &exec::Emulation::factor, &exec::Emulation::set_factor)
      .def("set_latency", &exec::Emulation::set_latency, py::arg("latency"));
}

}  // namespace

void bind_exec(py::module_& m) {
  m.def("now_ns", [] { return to_ns(exec::now()); }, "The core's monotonic clock.");
  bind_signature(m);
  bind_partition(m);
  bind_models(m);
  bind_completion(m);
  bind_graph(m);
  bind_engine(m);
}

}  // namespace glet::bind
