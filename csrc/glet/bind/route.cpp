#include <pybind11/stl.h>

#include <optional>
#include <utility>
#include <vector>

#include "glet/bind/bind.h"
#include "glet/route/router.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {

using batch::ModelId;
using route::GpuletId;
using route::Router;

void bind_route(py::module_& m) {
  py::class_<Router>(m, "Router")
      .def(py::init<>())
      .def(
          "set_routes",
          [](Router& self, ModelId model, const std::vector<std::pair<GpuletId, double>>& pairs) {
            std::vector<route::Route> routes;
            for (const auto& [gpulet, weight] : pairs) routes.push_back({gpulet, weight});
            self.set_routes(model, routes);
          },
          "model"_a, "routes"_a)
      .def("remove_model", &Router::remove_model, "model"_a)
      .def("set_up", &Router::set_up, "gpulet"_a, "up"_a)
      .def(
          "pick",
          [](Router& self, ModelId model, std::optional<GpuletId> exclude) {
            const GpuletId gpulet = self.pick(model, exclude.value_or(route::kNoGpulet));
            return gpulet == route::kNoGpulet ? std::nullopt : std::optional<GpuletId>(gpulet);
          },
          "model"_a, "exclude"_a = py::none())
      .def("done", &Router::done, "model"_a, "gpulet"_a)
      .def("outstanding", &Router::outstanding, "model"_a, "gpulet"_a);
}

}  // namespace glet::bind
