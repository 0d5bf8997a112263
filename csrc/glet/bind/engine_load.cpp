#include "glet/net/engine_load.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "glet/bind/arrays.h"
#include "glet/bind/bind.h"
#include "glet/bind/load_run.h"
#include "glet/bind/nanos.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {
namespace {

using Routes = std::vector<std::tuple<py::object, exec::GpuletId, exec::ModelId, double>>;
using Samples = std::vector<std::vector<py::array>>;

std::vector<net::EngineRoute> routes_of(const Routes& given) {
  std::vector<net::EngineRoute> routes;
  for (const auto& [engine, gpulet, model, weight] : given) {
    routes.push_back({engine_of(engine), gpulet, model, weight});
  }
  return routes;
}

net::StagedInputs staged(const std::vector<py::array>& sample) {
  net::StagedInputs inputs;
  for (const py::array& array : sample) {
    const std::string raw = raw_bytes(array);
    const auto* bytes = reinterpret_cast<const std::byte*>(raw.data());
    inputs.emplace_back(bytes, bytes + raw.size());
  }
  return inputs;
}

int add_model(net::EngineLoad& load, const Samples& samples, const ArrivalsNs& arrivals_ns,
              const Routes& routes, const std::optional<SampleOrder>& sample_order,
              std::optional<double> deadline_ms, std::optional<double> slo_ms) {
  net::EngineLoadModel model;
  for (const auto& sample : samples) model.samples.push_back(staged(sample));
  model.arrivals_ns.assign(arrivals_ns.data(), arrivals_ns.data() + arrivals_ns.size());
  if (sample_order) {
    model.sample_order.assign(sample_order->data(), sample_order->data() + sample_order->size());
  }
  if (deadline_ms) model.deadline = seconds(*deadline_ms / 1e3);
  if (slo_ms) model.slo = seconds(*slo_ms / 1e3);
  model.routes = routes_of(routes);
  return load.add_model(std::move(model));
}

void set_routes(net::EngineLoad& load, int model, const Routes& given) {
  const std::vector<net::EngineRoute> routes = routes_of(given);
  const py::gil_scoped_release release;
  load.set_routes(model, routes);
}

std::optional<std::int64_t> first_batch_ns(const net::EngineLoad& load, int model,
                                           const py::object& engine, exec::GpuletId gpulet) {
  const Nanos at = load.first_batch(model, engine_of(engine).get(), gpulet);
  return at == kNever ? std::nullopt : std::optional(to_ns(at));
}

}  // namespace

void bind_engine_load(py::module_& m) {
  using net::EngineLoad;
  const py::call_guard<py::gil_scoped_release> nogil;
  py::class_<EngineLoad>(m, "EngineLoad", "Open-loop load straight into engines of this process.")
      .def(py::init([](double drain_s) { return std::make_unique<EngineLoad>(seconds(drain_s)); }),
           py::kw_only(), "drain_s"_a = 10.0)
      .def("add_model", add_model, "samples"_a, "arrivals_ns"_a, "routes"_a, py::kw_only(),
           "sample_order"_a = py::none(), "deadline_ms"_a = py::none(), "slo_ms"_a = py::none())
      .def("set_routes", set_routes, "model"_a, "routes"_a)
      .def("start", &EngineLoad::start, nogil)
      .def("wait", wait_for_load<EngineLoad>, "timeout_s"_a)
      .def("stop", &EngineLoad::stop, nogil)
      .def("close", &EngineLoad::close, nogil)
      .def("progress", load_progress<EngineLoad>)
      .def("records", load_records<EngineLoad>)
      .def("first_batch_ns", first_batch_ns, "model"_a, "engine"_a, "gpulet"_a);
}

}  // namespace glet::bind
