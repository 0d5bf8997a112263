#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "glet/batch/deadline_queue.h"
#include "glet/batch/gpulet_queue.h"
#include "glet/batch/loan.h"
#include "glet/bind/bind.h"
#include "glet/bind/nanos.h"
#include "glet/profile/latency_table.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {
namespace {

using batch::DeadlineQueue;
using batch::GpuletQueue;
using batch::ModelId;
using batch::ModelPlan;
using batch::QueueLimits;
using batch::Request;
using profile::LatencyTable;

std::vector<std::uint64_t> ids_of(const std::vector<Request>& requests) {
  std::vector<std::uint64_t> ids;
  ids.reserve(requests.size());
  for (const Request& request : requests) ids.push_back(request.id);
  return ids;
}

void bind_values(py::module_& m) {
  m.attr("NEVER_NS") = to_ns(kNever);
  py::native_enum<batch::Admit>(m, "Admit", "enum.Enum")
      .value("ACCEPTED", batch::Admit::kAccepted)
      .value("FULL", batch::Admit::kFull)
      .value("LATE", batch::Admit::kLate)
      .finalize();
  py::class_<LatencyTable>(m, "LatencyTable")
      .def(py::init([](const std::vector<std::pair<int, std::int64_t>>& points) {
             std::vector<LatencyTable::Point> table;
             for (const auto& [batch, ns] : points) table.push_back({batch, from_ns(ns)});
             return LatencyTable(table);
           }),
           "points"_a)
      .def_property_readonly("max_batch", &LatencyTable::max_batch)
      .def(
          "at", [](const LatencyTable& self, int batch) { return to_ns(self.at(batch)); },
          "batch"_a);
  py::class_<QueueLimits>(m, "QueueLimits")
      .def(py::init([](int capacity, int max_batch, bool drop_late, std::int64_t margin_ns,
                       std::int64_t linger_ns, std::int64_t slo_ns) {
             return QueueLimits{capacity,           max_batch,          drop_late,
                                from_ns(margin_ns), from_ns(linger_ns), from_ns(slo_ns)};
           }),
           py::kw_only(), "capacity"_a = QueueLimits{}.capacity,
           "max_batch"_a = QueueLimits{}.max_batch, "drop_late"_a = QueueLimits{}.drop_late,
           "margin_ns"_a = 0, "linger_ns"_a = 0, "slo_ns"_a = to_ns(kNever))
      .def_readonly("capacity", &QueueLimits::capacity)
      .def_readonly("max_batch", &QueueLimits::max_batch)
      .def_readonly("drop_late", &QueueLimits::drop_late)
      .def_property_readonly("margin_ns",
                             [](const QueueLimits& self) { return to_ns(self.margin); })
      .def_property_readonly("linger_ns",
                             [](const QueueLimits& self) { return to_ns(self.linger); })
      .def_property_readonly("slo_ns", [](const QueueLimits& self) { return to_ns(self.slo); });
  py::class_<batch::Decision>(m, "Decision")
      .def_readonly("batch_size", &batch::Decision::batch_size)
      .def_property_readonly("wake_at_ns",
                             [](const batch::Decision& self) { return to_ns(self.wake_at); })
      .def_property_readonly("slack_ns",
                             [](const batch::Decision& self) { return to_ns(self.slack); });
  py::class_<ModelPlan>(m, "ModelPlan")
      .def(py::init<LatencyTable, QueueLimits, double>(), "latency"_a, "limits"_a,
           "time_share"_a = 1.0)
      .def_readonly("latency", &ModelPlan::latency)
      .def_readonly("limits", &ModelPlan::limits)
      .def_readonly("time_share", &ModelPlan::time_share);
  py::class_<batch::GpuletDecision>(m, "GpuletDecision")
      .def_readonly("model", &batch::GpuletDecision::model)
      .def_readonly("batch_size", &batch::GpuletDecision::batch_size)
      .def_property_readonly("wake_at_ns",
                             [](const batch::GpuletDecision& self) { return to_ns(self.wake_at); });
}

void bind_deadline_queue(py::module_& m) {
  py::class_<DeadlineQueue>(m, "DeadlineQueue")
      .def(py::init<LatencyTable, QueueLimits>(), "latency"_a, "limits"_a)
      .def(
          "push",
          [](DeadlineQueue& self, std::uint64_t id, std::int64_t arrival_ns,
             std::int64_t deadline_ns, std::int64_t now_ns, std::int64_t busy_until_ns) {
            return self.push({id, from_ns(arrival_ns), from_ns(deadline_ns)}, from_ns(now_ns),
                             from_ns(busy_until_ns));
          },
          "request_id"_a, py::kw_only(), "arrival_ns"_a, "deadline_ns"_a, "now_ns"_a,
          "busy_until_ns"_a = 0)
      .def(
          "decide",
          [](const DeadlineQueue& self, std::int64_t now_ns) {
            return self.decide(from_ns(now_ns));
          },
          "now_ns"_a)
      .def(
          "take_late",
          [](DeadlineQueue& self, std::int64_t now_ns) {
            std::vector<Request> late;
            self.take_late(from_ns(now_ns), late);
            return ids_of(late);
          },
          "now_ns"_a)
      .def(
          "take_batch",
          [](DeadlineQueue& self, int count) {
            std::vector<Request> taken;
            self.take_batch(count, taken);
            return ids_of(taken);
          },
          "count"_a)
      .def(
          "cancel",
          [](DeadlineQueue& self, std::uint64_t id, std::int64_t deadline_ns) {
            return self
                .cancel(from_ns(deadline_ns), [id](std::uint64_t other) { return other == id; })
                .has_value();
          },
          "request_id"_a, "deadline_ns"_a)
      .def("take_all",
           [](DeadlineQueue& self) {
             std::vector<Request> taken;
             self.take_all(taken);
             return ids_of(taken);
           })
      .def(
          "observe",
          [](DeadlineQueue& self, int batch, std::int64_t took_ns) {
            self.observe(batch, from_ns(took_ns));
          },
          "batch"_a, "took_ns"_a)
      .def(
          "latency_ns",
          [](const DeadlineQueue& self, int batch) { return to_ns(self.latency(batch)); },
          "batch"_a)
      .def("update", &DeadlineQueue::update, "latency"_a, "limits"_a)
      .def_property_readonly("correction", &DeadlineQueue::correction)
      .def_property_readonly("limits", &DeadlineQueue::limits)
      .def_property_readonly(
          "earliest_deadline_ns",
          [](const DeadlineQueue& self) { return to_ns(self.earliest_deadline()); })
      .def("__len__", &DeadlineQueue::size);
}

void bind_gpulet_queue(py::module_& m) {
  py::class_<GpuletQueue>(m, "GpuletQueue")
      .def(py::init<>())
      .def("add", &GpuletQueue::add, "model"_a, "plan"_a)
      .def("update", &GpuletQueue::update, "model"_a, "plan"_a)
      .def(
          "remove",
          [](GpuletQueue& self, ModelId model) {
            std::vector<Request> taken;
            self.remove(model, taken);
            return ids_of(taken);
          },
          "model"_a)
      .def("has", &GpuletQueue::has, "model"_a)
      .def(
          "push",
          [](GpuletQueue& self, ModelId model, std::uint64_t id, std::int64_t arrival_ns,
             std::int64_t deadline_ns, std::int64_t now_ns, std::int64_t busy_until_ns) {
            return self.push(model, {id, from_ns(arrival_ns), from_ns(deadline_ns)},
                             from_ns(now_ns), from_ns(busy_until_ns));
          },
          "model"_a, "request_id"_a, py::kw_only(), "arrival_ns"_a, "deadline_ns"_a, "now_ns"_a,
          "busy_until_ns"_a = 0)
      .def(
          "take_late",
          [](GpuletQueue& self, std::int64_t now_ns) {
            std::vector<batch::LateRequest> late;
            self.take_late(from_ns(now_ns), late);
            std::vector<std::pair<ModelId, std::uint64_t>> ids;
            for (const auto& one : late) ids.emplace_back(one.model, one.request.id);
            return ids;
          },
          "now_ns"_a)
      .def(
          "decide",
          [](const GpuletQueue& self, std::int64_t now_ns) { return self.decide(from_ns(now_ns)); },
          "now_ns"_a)
      .def(
          "take_batch",
          [](GpuletQueue& self, const batch::GpuletDecision& decision) {
            std::vector<Request> taken;
            self.take_batch(decision, taken);
            return ids_of(taken);
          },
          "decision"_a)
      .def(
          "observe",
          [](GpuletQueue& self, ModelId model, int batch, std::int64_t took_ns) {
            self.observe(model, batch, from_ns(took_ns));
          },
          "model"_a, "batch"_a, "took_ns"_a)
      .def(
          "latency_ns",
          [](const GpuletQueue& self, ModelId model, int batch) {
            return to_ns(self.latency(model, batch));
          },
          "model"_a, "batch"_a)
      .def(
          "count",
          [](GpuletQueue& self, ModelId model, std::int64_t took_ns) {
            self.count(model, from_ns(took_ns));
          },
          "model"_a, "took_ns"_a)
      .def(
          "lends_until",
          [](const GpuletQueue& self, std::int64_t now_ns) {
            return to_ns(self.lends_until(from_ns(now_ns)));
          },
          "now_ns"_a)
      .def("correction", &GpuletQueue::correction, "model"_a)
      .def("size", py::overload_cast<ModelId>(&GpuletQueue::size, py::const_), "model"_a)
      .def("__len__", py::overload_cast<>(&GpuletQueue::size, py::const_));
}

void bind_loan(py::module_& m) {
  using batch::WideLatency;
  py::class_<WideLatency>(m, "WideLatency")
      .def(py::init<LatencyTable, int, bool>(), "latency"_a, "max_batch"_a, "known"_a)
      .def(
          "at_ns", [](const WideLatency& self, int batch) { return to_ns(self.at(batch)); },
          "batch"_a)
      .def(
          "pays",
          [](WideLatency& self, int batch, std::int64_t own_ns) {
            return self.pays(batch, from_ns(own_ns));
          },
          "batch"_a, "own_ns"_a)
      .def(
          "observe",
          [](WideLatency& self, int batch, std::int64_t took_ns) {
            self.observe(batch, from_ns(took_ns));
          },
          "batch"_a, "took_ns"_a);
  m.def(
      "loan_until",
      [](std::int64_t now_ns, std::int64_t own_ns, std::int64_t wide_ns,
         const GpuletQueue& lender) -> std::optional<std::int64_t> {
        const auto until =
            batch::loan_until(from_ns(now_ns), from_ns(own_ns), from_ns(wide_ns), lender);
        if (!until) return std::nullopt;
        return to_ns(*until);
      },
      "now_ns"_a, "own_ns"_a, "wide_ns"_a, "lender"_a);
}

}  // namespace

void bind_batch(py::module_& m) {
  bind_values(m);
  bind_deadline_queue(m);
  bind_gpulet_queue(m);
  bind_loan(m);
}

}  // namespace glet::bind
