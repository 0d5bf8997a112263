#include "glet/exec/partition/partition.h"

#include <pybind11/operators.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "glet/bind/bind.h"
#include "glet/error.h"

namespace py = pybind11;

namespace glet::bind {

exec::PartitionSpec partition_spec(const std::string& kind, int share_pct, std::vector<int> cores,
                                   int device, const std::optional<exec::Placement>& placement) {
  using Kind = exec::PartitionSpec::Kind;
  exec::PartitionSpec spec{
      .share_pct = share_pct, .cores = std::move(cores), .device = device, .placement = {}};
  if (kind == "profiled") {
    spec.kind = Kind::kProfiled;
  } else if (kind == "green") {
    spec.kind = Kind::kGreen;
    if (!placement) throw ArgumentError("[Engine] kind 'green' needs a placement; got none");
    spec.placement = *placement;
  } else if (kind != "cpu") {
    throw ArgumentError("[Engine] kind '" + kind + "'; valid: cpu, profiled, green");
  }
  return spec;
}

void bind_partition(py::module_& m) {
  using exec::PartitionReport;
  using exec::Placement;
  py::class_<Placement>(m, "Placement", "Neighbouring units of a device's grid.")
      .def(py::init([](int first, int count, bool remainder) {
             return Placement{first, count, remainder};
           }),
           py::arg("first"), py::arg("count"), py::arg("remainder") = false)
      .def_readonly("first", &Placement::first)
      .def_readonly("count", &Placement::count)
      .def_readonly("remainder", &Placement::remainder)
      .def(py::self == py::self)
      .def("__hash__",
           [](const Placement& self) {
             return py::hash(py::make_tuple(self.first, self.count, self.remainder));
           })
      .def("__repr__", [](const Placement& self) { return exec::describe(self); });
  py::class_<PartitionReport>(m, "PartitionReport", "What a gpulet's thread really got.")
      .def_readonly("cores", &PartitionReport::cores)
      .def_readonly("intra_op_threads", &PartitionReport::intra_op_threads)
      .def_readonly("placement", &PartitionReport::placement)
      .def_readonly("units", &PartitionReport::units)
      .def_readonly("sms", &PartitionReport::sms)
      .def_readonly("given_pct", &PartitionReport::given_pct)
      .def_readonly("context_id", &PartitionReport::context_id)
      .def_readonly("stream", &PartitionReport::stream);
  m.def("usable_cores", &exec::usable_cores, "Cores this process may use.");
  m.def("assign_cores", &exec::assign_cores, py::arg("cores"), py::arg("shares_pct"),
        "Disjoint cores for gpulets of these shares, in order, rounded down to whole cores.");
}

}  // namespace glet::bind
