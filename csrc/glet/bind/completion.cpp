#include <array>
#include <utility>

#include "glet/bind/bind.h"
#include "glet/bind/nanos.h"
#include "glet/bind/numpy_view.h"
#include "glet/bind/objects.h"
#include "glet/error.h"
#include "glet/exec/submission.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

constexpr std::array<const char*, 7> kOutcomes{"ok",          "late",    "full",     "failed",
                                               "unavailable", "invalid", "cancelled"};

py::array output(const py::object& self, std::size_t index) {
  const auto& done = self.cast<const exec::Completion&>();
  const std::size_t count = done.outputs == nullptr ? 0 : done.outputs->outputs();
  if (index >= count) {
    throw ArgumentError("[Completion.output] output " + std::to_string(index) + " of " +
                        std::to_string(count) + "; outcome " +
                        kOutcomes[static_cast<std::size_t>(done.outcome)]);
  }
  const exec::TensorSpec& spec = done.outputs->signature().outputs[index];
  if (spec.is_bytes()) {
    return decode_bytes(spec, {spec.shape.begin(), spec.shape.end()},
                        done.outputs->item(index, done.slot).data(), 0, 1);
  }
  py::array array = view(spec, {spec.shape.begin(), spec.shape.end()},
                         done.outputs->item(index, done.slot).data(), self);
  // Other requests of the batch see the same memory.
  py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return array;
}

void bind_answer(py::module_& m) {
  using exec::Completion;
  py::class_<Completion>(m, "Completion", "The one answer to a submitted request.")
      .def_readonly("tag", &Completion::tag)
      .def_property_readonly(
          "outcome",
          [](const Completion& self) { return kOutcomes[static_cast<std::size_t>(self.outcome)]; },
          "ok, late, full, failed, unavailable, invalid or cancelled.")
      .def_readonly("gpulet", &Completion::gpulet)
      .def_readonly("model", &Completion::model)
      .def_readonly("batch", &Completion::batch, "Size of the batch it ran in; 0 when it did not.")
      .def_property_readonly("queue_ns", [](const Completion& self) { return to_ns(self.queued); })
      .def_property_readonly("batch_ns", [](const Completion& self) { return to_ns(self.batched); })
      .def_property_readonly("execute_ns",
                             [](const Completion& self) { return to_ns(self.executed); })
      .def_property_readonly(
          "error",
          [](const Completion& self) {
            return self.error == nullptr ? py::object(py::none())
                                         : py::object(py::str(*self.error));
          },
          "What went wrong, for failed and invalid; None otherwise.")
      .def_property_readonly(
          "outputs",
          [](const Completion& self) {
            return self.outputs == nullptr ? 0 : self.outputs->outputs();
          },
          "How many outputs there are.")
      .def("output", &output, py::arg("index"),
           "One output of this request: a read-only array over the batch's memory, no copy.");
}

void bind_stats(py::module_& m) {
  using exec::ModelStats;
  py::class_<ModelStats>(m, "ModelStats", "Counters of one model on one gpulet since its load.")
      .def_readonly("gpulet", &ModelStats::gpulet)
      .def_readonly("model", &ModelStats::model)
      .def_readonly("ok", &ModelStats::ok)
      .def_readonly("late", &ModelStats::late)
      .def_readonly("full", &ModelStats::full)
      .def_readonly("failed", &ModelStats::failed)
      .def_readonly("cancelled", &ModelStats::cancelled)
      .def_readonly("batches", &ModelStats::batches)
      .def_readonly("items", &ModelStats::items)
      .def_readonly("borrowed", &ModelStats::borrowed)
      .def_readonly("waiting", &ModelStats::waiting)
      .def_readonly("correction", &ModelStats::correction)
      .def_property_readonly("busy_ns", [](const ModelStats& self) { return to_ns(self.busy); })
      .def_property_readonly("running_ns",
                             [](const ModelStats& self) { return to_ns(self.running); })
      .def_property_readonly("kind", [](const ModelStats& self) { return self.runner.kind; })
      .def_property_readonly("reason", [](const ModelStats& self) { return self.runner.reason; })
      .def_property_readonly("graphs", [](const ModelStats& self) { return self.runner.graphs; })
      .def_property_readonly("graph_bytes",
                             [](const ModelStats& self) { return self.runner.graph_bytes; })
      .def_property_readonly("pinned_bytes",
                             [](const ModelStats& self) { return self.runner.pinned_bytes; })
      .def_property_readonly("device_busy_ns",
                             [](const ModelStats& self) { return to_ns(self.runner.device_busy); });
}

}  // namespace

void bind_completion(py::module_& m) {
  bind_answer(m);
  bind_stats(m);
}

}  // namespace glet::bind
