#include <pybind11/stl.h>

#include <memory>
#include <utility>

#include "glet/bind/bind.h"
#include "glet/exec/engine.h"
#include "glet/net/executor_loop.h"
#include "glet/net/frontend_loop.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

using net::ExecutorLoop;
using net::FrontendLoop;
using net::FrontendModelStats;
constexpr double kNanosPerMilli = 1e6;

using NoGil = py::call_guard<py::gil_scoped_release>;

// The loop with the engine it feeds, which has to outlive it.
struct PyExecutorLoop {
  PyExecutorLoop(const std::string& libzmq, std::shared_ptr<exec::Engine> fed, net::CurveKeys keys)
      : engine(std::move(fed)), loop(libzmq, *engine, std::move(keys)) {}

  std::shared_ptr<exec::Engine> engine;
  ExecutorLoop loop;
};

std::uintptr_t context_address(const net::Context& context) {
  return reinterpret_cast<std::uintptr_t>(context.raw());
}

py::dict stats_dict(const FrontendModelStats& stats) {
  py::dict out;
  out["received"] = stats.received;
  out["ok"] = stats.ok;
  out["good"] = stats.good;
  out["late"] = stats.late;
  out["full"] = stats.full;
  out["failed"] = stats.failed;
  out["unavailable"] = stats.unavailable;
  out["invalid"] = stats.invalid;
  out["cancelled"] = stats.cancelled;
  out["retried"] = stats.retried;
  out["unsent"] = stats.unsent;
  out["outstanding"] = stats.outstanding;
  if (stats.is_app) out["app"] = true;
  out["p50_ms"] = stats.p50_ms;
  out["p95_ms"] = stats.p95_ms;
  out["p99_ms"] = stats.p99_ms;
  out["latency"] = stats.latency;
  out["ok_ns"] = stats.ok_ns;
  out["refused_ns"] = stats.refused_ns;
  const net::TimeSums& times = stats.times;
  out["queue_ns"] = times.queued().count();
  out["batch_ns"] = times.batched().count();
  out["execute_ns"] = times.executed().count();
  const bool has_last = times.last() != kNever;
  if (has_last) {
    out["last_ago_ms"] = static_cast<double>((exec::now() - times.last()).count()) / kNanosPerMilli;
  } else {
    out["last_ago_ms"] = py::none();
  }
  py::list batches;
  for (std::size_t size = 0; size < times.sizes().size(); ++size) {
    const auto& [items, batched, executed] = times.sizes()[size];
    if (items > 0) batches.append(py::make_tuple(size, items, batched.count(), executed.count()));
  }
  out["batches"] = batches;
  return out;
}

py::dict frontend_stats(FrontendLoop& loop) {
  std::vector<FrontendModelStats> all;
  {
    const py::gil_scoped_release no_gil;
    all = loop.stats();
  }
  py::dict out;
  for (const FrontendModelStats& stats : all) out[py::str(stats.model)] = stats_dict(stats);
  return out;
}

// A peer's text: what is not UTF-8 in it becomes U+FFFD instead of an exception.
py::str text_of(const std::string& bytes) {
  PyObject* text =
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

py::list take_control(FrontendLoop& loop) {
  py::list out;
  for (const net::ControlRequest& request : loop.take_control()) {
    out.append(py::make_tuple(py::bytes(request.client), text_of(request.op), request.id,
                              py::bytes(request.header)));
  }
  return out;
}

void add_device_memory(FrontendLoop& loop, const std::string& name, const py::bytes& handle,
                       std::size_t size) {
  const auto bytes = static_cast<std::string_view>(handle);
  exec::DeviceTensor whole;
  if (bytes.size() != sizeof whole.handle) {
    throw ArgumentError("a handle of CUDA memory has " + std::to_string(sizeof whole.handle) +
                        " bytes; got " + std::to_string(bytes.size()));
  }
  std::memcpy(&whole.handle, bytes.data(), bytes.size());
  whole.bytes = size;
  whole.host = exec::this_host();
  const py::gil_scoped_release nogil;
  loop.add_device_memory(name, whole);
}

py::list take_web(FrontendLoop& loop) {
  std::vector<net::WebRequest> requests;
  {
    const py::gil_scoped_release no_gil;
    requests = loop.take_web();
  }
  py::list out;
  for (const net::WebRequest& request : requests) {
    py::list headers;
    for (const auto& [name, value] : request.headers) {
      headers.append(py::make_tuple(text_of(name), text_of(value)));
    }
    out.append(py::make_tuple(request.door, request.call, request.protocol, request.method,
                              text_of(request.target), headers, py::bytes(request.body)));
  }
  return out;
}

void answer_web(FrontendLoop& loop, std::uint64_t door, std::uint64_t call, int status,
                std::vector<std::pair<std::string, std::string>> headers, const py::bytes& body) {
  loop.answer_web(door, call, {status, std::move(headers), body});
}

// Rows of TracedRequest in python/glet/serve/tracing.py.
std::string outcome_word(exec::Outcome outcome) {
  return outcome == exec::Outcome::kOk ? "ok" : std::string(net::outcome_code(outcome));
}

py::list take_traces(FrontendLoop& loop) {
  const Nanos now = exec::now();
  py::list out;
  for (const net::TraceRecord& record : loop.traces().take()) {
    py::list stages;
    for (const net::StageTrace& stage : record.stages) {
      stages.append(py::make_tuple(
          stage.name, stage.model, outcome_word(stage.outcome), stage.requests,
          (now - stage.began).count(), (now - stage.ended).count(), stage.times.queued.count(),
          stage.times.batched.count(), stage.times.executed.count(), stage.times.batch));
    }
    out.append(py::make_tuple(record.model, outcome_word(record.outcome), record.trace->trace_id,
                              record.trace->span_id, (now - record.ended).count(),
                              (record.ended - record.arrival).count(), record.times.queued.count(),
                              record.times.batched.count(), record.times.executed.count(),
                              record.times.batch, stages));
  }
  return out;
}

void set_routes(FrontendLoop& loop, const std::string& name,
                const std::vector<std::tuple<int, int, int, double>>& routes) {
  std::vector<net::RouteSpec> specs;
  for (const auto& [executor, gpulet, model, weight] : routes) {
    specs.push_back({executor, gpulet, model, weight});
  }
  loop.set_routes(name, std::move(specs));
}

// (name, model, each, budget_ms, [(value, split), ...], outputs of one request) per stage.
using StageRow = std::tuple<std::string, std::string, int, double,
                            std::vector<std::pair<int, bool>>, std::vector<exec::TensorSpec>>;

void set_app(FrontendLoop& loop, const std::string& name, exec::Signature signature, double slo_ms,
             const std::vector<StageRow>& rows, std::vector<int> outputs) {
  std::vector<net::AppStageSpec> stages;
  for (const auto& [stage, model, each, budget_ms, inputs, made] : rows) {
    net::AppStageSpec& spec = stages.emplace_back();
    spec.name = stage;
    spec.model = model;
    spec.each = each;
    spec.budget_ms = budget_ms;
    for (const auto& [value, split] : inputs) spec.inputs.push_back({value, split});
    spec.outputs = made;
  }
  loop.set_app({name, std::move(signature), std::move(stages), std::move(outputs)}, slo_ms);
}

}  // namespace

void bind_net(py::module_& m) {
  py::class_<FrontendLoop>(m, "FrontendLoop")
      .def(py::init([](const std::string& libzmq, const KeyPair& keys, bool asks_gate) {
             return std::make_unique<FrontendLoop>(libzmq, curve_keys(keys), asks_gate);
           }),
           py::arg("libzmq"), py::arg("keys") = KeyPair(), py::arg("asks_gate") = false)
      .def("zmq_context", [](const FrontendLoop& loop) { return context_address(loop.context()); })
      .def("bind", &FrontendLoop::bind, py::arg("endpoint"), NoGil())
      .def("start", &FrontendLoop::start, NoGil())
      .def("close", &FrontendLoop::close, NoGil())
      .def("set_model", &FrontendLoop::set_model, py::arg("name"), py::arg("signature"),
           py::arg("slo_ms"), NoGil())
      .def("remove_model", &FrontendLoop::remove_model, py::arg("name"), NoGil())
      .def("set_app", &set_app, py::arg("name"), py::arg("signature"), py::arg("slo_ms"),
           py::arg("stages"), py::arg("outputs"), NoGil())
      .def("add_executor", &FrontendLoop::add_executor, py::arg("executor"), py::arg("endpoint"),
           NoGil())
      .def("remove_executor", &FrontendLoop::remove_executor, py::arg("executor"), NoGil())
      .def("set_routes", &set_routes, py::arg("name"), py::arg("routes"), NoGil())
      .def("set_accept", &FrontendLoop::set_accept, py::arg("name"), py::arg("part"), NoGil())
      .def("control_fd", &FrontendLoop::control_fd)
      .def("take_control", &take_control)
      .def("take_lost", &FrontendLoop::take_lost, NoGil())
      .def(
          "answer",
          [](FrontendLoop& loop, const py::bytes& client, const py::bytes& header) {
            loop.answer(client, header);
          },
          py::arg("client"), py::arg("header"))
      .def("web_fd", &FrontendLoop::web_fd)
      .def("take_web", &take_web)
      .def("answer_web", &answer_web, py::arg("door"), py::arg("call"), py::arg("status"),
           py::arg("headers"), py::arg("body"))
      .def(
          "add_shm",
          [](FrontendLoop& loop, const std::string& name, std::uintptr_t address,
             std::size_t size) { loop.add_shm(name, reinterpret_cast<std::byte*>(address), size); },
          py::arg("name"), py::arg("address"), py::arg("size"), NoGil())
      .def("add_device_memory", &add_device_memory, py::arg("name"), py::arg("handle"),
           py::arg("size"))
      .def("remove_shm", &FrontendLoop::remove_shm, py::arg("name"), NoGil())
      .def("set_starting", &FrontendLoop::set_starting, py::arg("starting"), NoGil())
      .def("set_ready", &FrontendLoop::set_ready, py::arg("ready"), NoGil())
      .def("stop_admitting", &FrontendLoop::stop_admitting, NoGil())
      .def("outstanding", &FrontendLoop::outstanding, NoGil())
      .def("stats", &frontend_stats)
      .def(
          "set_trace_ratio",
          [](FrontendLoop& loop, double ratio, const std::map<std::string, double>& of_models) {
            loop.traces().set_ratio(ratio, {of_models.begin(), of_models.end()});
          },
          py::arg("ratio"), py::arg("of_models"))
      .def("take_traces", &take_traces)
      .def("traces_dropped", [](FrontendLoop& loop) { return loop.traces().dropped(); });

  py::class_<PyExecutorLoop>(m, "ExecutorLoop")
      .def(py::init([](const std::string& libzmq, const py::object& engine, const KeyPair& keys) {
             return std::make_unique<PyExecutorLoop>(libzmq, engine_of(engine), curve_keys(keys));
           }),
           py::arg("libzmq"), py::arg("engine"), py::arg("keys") = KeyPair())
      .def("zmq_context",
           [](const PyExecutorLoop& self) { return context_address(self.loop.context()); })
      .def(
          "bind",
          [](PyExecutorLoop& self, const std::string& endpoint) {
            return self.loop.bind(endpoint);
          },
          py::arg("endpoint"), NoGil())
      .def(
          "start", [](PyExecutorLoop& self) { self.loop.start(); }, NoGil())
      .def(
          "close", [](PyExecutorLoop& self) { self.loop.close(); }, NoGil())
      .def("stop_admitting", [](PyExecutorLoop& self) { self.loop.stop_admitting(); })
      .def("outstanding", [](const PyExecutorLoop& self) { return self.loop.outstanding(); });
}

}  // namespace glet::bind
