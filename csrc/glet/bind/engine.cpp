#include "glet/exec/engine.h"

#include <poll.h>
#include <pybind11/stl.h>

#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "glet/bind/bind.h"
#include "glet/bind/buffer_payload.h"
#include "glet/bind/graph.h"
#include "glet/bind/nanos.h"
#include "glet/bind/python_runner.h"
#include "glet/error.h"
#include "glet/exec/aoti_cuda_runner.h"
#include "glet/exec/aoti_runner.h"
#include "glet/exec/null_runner.h"
#include "glet/exec/profiled_runner.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {
namespace {

using exec::GpuletId;
using exec::ModelId;

// Python's engine: closes while the interpreter still lives, and never waits for its workers with
// the GIL, which a worker that runs a Python function needs.
class PyEngine {
 public:
  PyEngine() : engine_(new exec::Engine, Delete()) {
    static const bool registered = [] {
      py::module_::import("atexit").attr("register")(py::cpp_function(close_all));
      return true;
    }();
    static_cast<void>(registered);
    open().insert(this);
  }
  PyEngine(const PyEngine&) = delete;
  PyEngine& operator=(const PyEngine&) = delete;
  ~PyEngine() { close(); }

  void close() {
    open().erase(this);
    auto last = std::move(engine_);
  }

  // A copy, so that a close() in another thread cannot pull the engine from under a call.
  std::shared_ptr<exec::Engine> get() const {
    if (engine_ == nullptr) throw ArgumentError("[Engine] it is closed");
    return engine_;
  }

 private:
  struct Delete {
    void operator()(exec::Engine* engine) const {
      if (PyGILState_Check() != 0) {
        const py::gil_scoped_release nogil;
        delete engine;
      } else {
        delete engine;
      }
    }
  };

  static std::set<PyEngine*>& open() {
    static std::set<PyEngine*> engines;  // the GIL guards it
    return engines;
  }
  static void close_all() {
    while (!open().empty()) (*open().begin())->close();
  }

  std::shared_ptr<exec::Engine> engine_;
};

exec::PartitionReport resize_gpulet(const PyEngine& self, GpuletId gpulet, const std::string& kind,
                                    int share_pct, std::vector<int> cores, int device,
                                    std::optional<exec::Placement> placement) {
  const auto spec = partition_spec(kind, share_pct, std::move(cores), device, placement);
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  return engine->resize(gpulet, spec);
}

exec::PartitionReport add_gpulet(const PyEngine& self, GpuletId gpulet, const std::string& kind,
                                 int share_pct, std::vector<int> cores, int device,
                                 std::optional<exec::Placement> placement, int priority) {
  auto spec = partition_spec(kind, share_pct, std::move(cores), device, placement);
  spec.priority = priority;
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  return engine->add_gpulet(gpulet, spec);
}

void remove_gpulet(const PyEngine& self, GpuletId gpulet, std::int64_t drain_until_ns) {
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  engine->remove_gpulet(gpulet, from_ns(drain_until_ns));
}

using Loans =
    std::vector<std::pair<GpuletId, std::vector<std::pair<ModelId, profile::LatencyTable>>>>;

void set_loans(const PyEngine& self, GpuletId gpulet, Loans loans) {
  std::vector<exec::LoanSpec> wanted;
  for (auto& [lender, latency] : loans) wanted.push_back({lender, std::move(latency)});
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  engine->set_loans(gpulet, wanted);
}

exec::PartitionReport partition(const PyEngine& self, GpuletId gpulet) {
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  return engine->partition(gpulet);
}

py::dict green_counts(const PyEngine& self, int device) {
  const auto counts = self.get()->green_counts(device);
  return py::dict("created"_a = counts.created, "reused"_a = counts.reused,
                  "destroyed"_a = counts.destroyed, "in_use"_a = counts.in_use,
                  "idle"_a = counts.idle);
}

void load(const PyEngine& self, GpuletId gpulet, ModelId model,
          std::unique_ptr<exec::Runner> runner, batch::ModelPlan plan) {
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  engine->load(gpulet, model, std::move(runner), std::move(plan));
}

void load_aoti(const PyEngine& self, GpuletId gpulet, ModelId model,
               const std::shared_ptr<exec::AotiModel>& aoti, int max_batch, batch::ModelPlan plan) {
  if (aoti->cuda_device() == exec::AotiModel::kCpu) {
    load(self, gpulet, model, std::make_unique<exec::AotiRunner>(aoti, max_batch), std::move(plan));
    return;
  }
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  engine->load(
      gpulet, model,
      std::make_unique<exec::AotiCudaRunner>(engine->green_device(gpulet), aoti, max_batch),
      std::move(plan));
}

void load_python(const PyEngine& self, GpuletId gpulet, ModelId model, py::object function,
                 exec::Signature signature, int max_batch, batch::ModelPlan plan) {
  load(self, gpulet, model,
       std::make_unique<PythonRunner>(std::move(function), std::move(signature), max_batch),
       std::move(plan));
}

void load_profiled(const PyEngine& self, GpuletId gpulet, ModelId model, exec::Signature signature,
                   int max_batch, batch::ModelPlan plan,
                   std::shared_ptr<exec::Emulation> emulation) {
  load(self, gpulet, model,
       std::make_unique<exec::ProfiledRunner>(std::move(signature), max_batch, plan.latency,
                                              std::move(emulation)),
       plan);
}

void load_graph(const PyEngine& self, GpuletId gpulet, ModelId model, py::object capture,
                exec::Signature signature, int max_batch, batch::ModelPlan plan,
                std::vector<int> batches, std::size_t max_graphs, std::size_t max_bytes) {
  const auto engine = self.get();
  auto captures = python_capture(std::move(capture));
  const py::gil_scoped_release nogil;
  exec::GraphOptions options{std::move(batches), {max_graphs, max_bytes}};
  engine->load(
      gpulet, model,
      std::make_unique<exec::GraphRunner>(engine->green_device(gpulet), std::move(captures),
                                          std::move(signature), max_batch, std::move(options)),
      std::move(plan));
}

void load_null(const PyEngine& self, GpuletId gpulet, ModelId model, exec::Signature signature,
               int max_batch, batch::ModelPlan plan) {
  load(self, gpulet, model, std::make_unique<exec::NullRunner>(std::move(signature), max_batch),
       std::move(plan));
}

void update(const PyEngine& self, GpuletId gpulet, ModelId model, batch::ModelPlan plan) {
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  engine->update(gpulet, model, std::move(plan));
}

void unload(const PyEngine& self, GpuletId gpulet, ModelId model, std::int64_t drain_until_ns) {
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  engine->unload(gpulet, model, from_ns(drain_until_ns));
}

std::vector<std::int64_t> measure(const PyEngine& self, GpuletId gpulet, ModelId model, int batch,
                                  int repeats) {
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  std::vector<std::int64_t> durations_ns;
  for (const Nanos took : engine->measure(gpulet, model, batch, repeats)) {
    durations_ns.push_back(to_ns(took));
  }
  return durations_ns;
}

exec::Submission submission(const py::tuple& request, Nanos arrival) {
  if (request.size() != 5) {
    throw ArgumentError("[Engine.submit] a request has " + std::to_string(request.size()) +
                        " fields; it is (tag, gpulet, model, deadline_ns, buffers)");
  }
  exec::Submission made;
  made.tag = request[0].cast<std::uint64_t>();
  made.gpulet = request[1].cast<GpuletId>();
  made.model = request[2].cast<ModelId>();
  made.arrival = arrival;
  made.deadline = from_ns(request[3].cast<std::int64_t>());
  made.payload = std::make_unique<BufferPayload>(made.tag, request[4]);
  return made;
}

// Keeps the GIL: it waits for nothing but short decisions, and giving the GIL up could cost a
// busy process milliseconds to get back.
void submit(const PyEngine& self, const py::sequence& requests) {
  const Nanos arrival = exec::now();
  std::vector<exec::Submission> burst;
  burst.reserve(requests.size());
  for (const py::handle request : py::list(requests)) {
    burst.push_back(submission(py::cast<py::tuple>(request), arrival));
  }
  self.get()->submit(burst);
}

bool cancel(const PyEngine& self, std::uint64_t tag, GpuletId gpulet, ModelId model,
            std::int64_t deadline_ns) {
  return self.get()->cancel({tag, gpulet, model, from_ns(deadline_ns)});
}

py::list drain(const PyEngine& self, std::size_t max) {
  std::vector<exec::Completion> done;
  self.get()->drain(done, max);
  py::list list(done.size());
  for (std::size_t i = 0; i < done.size(); ++i) {
    done[i].payload.reset();
    list[i] = py::cast(std::move(done[i]));
  }
  return list;
}

bool drain_all(const PyEngine& self, std::int64_t until_ns) {
  const auto engine = self.get();
  const py::gil_scoped_release nogil;
  return engine->drain_all(from_ns(until_ns));
}

bool wait(const PyEngine& self, std::int64_t timeout_ns) {
  if (timeout_ns < 0) {
    throw ArgumentError("[Engine.wait] timeout_ns " + std::to_string(timeout_ns) +
                        "; must be at least 0");
  }
  const auto engine = self.get();
  pollfd fd{engine->completion_fd(), POLLIN, 0};
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  int ready = 0;
  {
    const py::gil_scoped_release nogil;
    ready = ::ppoll(&fd, 1, &timeout, nullptr);
  }
  if (ready < 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
  return ready > 0;
}

void bind_loading(py::class_<PyEngine>& engine) {
  engine
      .def("load_aoti", &load_aoti, py::arg("gpulet"), py::arg("model"), py::arg("aoti"),
           py::arg("max_batch"), py::arg("plan"))
      .def("load_python", &load_python, py::arg("gpulet"), py::arg("model"), py::arg("function"),
           py::arg("signature"), py::arg("max_batch"), py::arg("plan"))
      .def("load_profiled", &load_profiled, py::arg("gpulet"), py::arg("model"),
           py::arg("signature"), py::arg("max_batch"), py::arg("plan"),
           py::arg("emulation") = nullptr)
      .def("load_graph", &load_graph, py::arg("gpulet"), py::arg("model"), py::arg("capture"),
           py::arg("signature"), py::arg("max_batch"), py::arg("plan"), py::kw_only(),
           py::arg("batches") = std::vector<int>{},
           py::arg("max_graphs") = exec::GraphLimits{}.max_graphs,
           py::arg("max_bytes") = exec::GraphLimits{}.max_bytes)
      .def("load_null", &load_null, py::arg("gpulet"), py::arg("model"), py::arg("signature"),
           py::arg("max_batch"), py::arg("plan"))
      .def("update", &update, py::arg("gpulet"), py::arg("model"), py::arg("plan"))
      .def("unload", &unload, py::arg("gpulet"), py::arg("model"), py::arg("drain_until_ns") = 0);
}

}  // namespace

std::shared_ptr<exec::Engine> engine_of(const py::object& engine) {
  return engine.cast<const PyEngine&>().get();
}

void bind_engine(py::module_& m) {
  py::class_<PyEngine> engine(m, "Engine", "The gpulets of this process.");
  engine.def(py::init<>())
      .def("add_gpulet", &add_gpulet, py::arg("gpulet"), py::arg("kind") = "cpu",
           py::arg("share_pct") = 100, py::arg("cores") = std::vector<int>{}, py::arg("device") = 0,
           py::arg("placement") = py::none(), py::arg("priority") = 0)
      .def("resize_gpulet", &resize_gpulet, py::arg("gpulet"), py::arg("kind") = "cpu",
           py::arg("share_pct") = 100, py::arg("cores") = std::vector<int>{}, py::arg("device") = 0,
           py::arg("placement") = py::none())
      .def("remove_gpulet", &remove_gpulet, py::arg("gpulet"), py::arg("drain_until_ns") = 0)
      .def("set_loans", &set_loans, py::arg("gpulet"), py::arg("loans"))
      .def("green_counts", &green_counts, py::arg("device") = 0)
      .def("partition", &partition, py::arg("gpulet"))
      .def("measure", &measure, py::arg("gpulet"), py::arg("model"), py::arg("batch"),
           py::arg("repeats"))
      .def("submit", &submit, py::arg("requests"))
      .def("cancel", &cancel, py::arg("tag"), py::arg("gpulet"), py::arg("model"),
           py::arg("deadline_ns"))
      .def("drain", &drain, py::arg("max") = std::numeric_limits<std::size_t>::max())
      .def("wait", &wait, py::arg("timeout_ns"))
      .def("completion_fd", [](const PyEngine& self) { return self.get()->completion_fd(); })
      .def("drain_all", &drain_all, py::arg("until_ns"))
      .def(
          "close_idle_imports", [](PyEngine& self) { self.get()->close_idle_imports(); },
          py::call_guard<py::gil_scoped_release>())
      .def("stats", [](const PyEngine& self) { return self.get()->stats(); })
      .def("close", &PyEngine::close,
           "Stops all gpulets; what is queued is dropped. Calling it again does nothing.")
      .def(
          "__enter__", [](PyEngine& self) -> PyEngine& { return self; },
          py::return_value_policy::reference_internal)
      .def("__exit__", [](PyEngine& self, const py::args&) { self.close(); });
  bind_loading(engine);
}

}  // namespace glet::bind
