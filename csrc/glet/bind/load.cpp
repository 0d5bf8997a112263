#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "glet/bind/arrays.h"
#include "glet/bind/bind.h"
#include "glet/bind/load_run.h"
#include "glet/net/load_loop.h"
#include "glet/web/http_peer.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {
namespace {

std::unique_ptr<net::LoadLoop> make_loop(const std::string& libzmq, const std::string& address,
                                         int connections, std::size_t http_connections,
                                         double connect_s, double drain_s,
                                         std::optional<double> give_up_s,
                                         const ClientKeyTexts& keys) {
  net::load_zmq(libzmq);
  net::LoadOptions options;
  options.connections = connections;
  options.connect = seconds(connect_s);
  options.drain = seconds(drain_s);
  if (give_up_s) options.give_up = seconds(*give_up_s);
  if (address.starts_with("http://")) {
    auto peer = std::make_unique<web::HttpPeer>(address, http_connections);
    return std::make_unique<net::LoadLoop>(std::move(peer), options);
  }
  options.keys = client_keys(keys);
  return std::make_unique<net::LoadLoop>(address, options);
}

void set_arrivals(net::LoadModel& model, const std::optional<ArrivalsNs>& arrivals_ns,
                  const std::optional<SampleOrder>& sample_order) {
  if (arrivals_ns) {
    model.arrivals_ns.assign(arrivals_ns->data(), arrivals_ns->data() + arrivals_ns->size());
  }
  if (sample_order) {
    model.sample_order.assign(sample_order->data(), sample_order->data() + sample_order->size());
  }
}

int add_model(net::LoadLoop& loop, const std::string& name, const std::vector<NamedArrays>& samples,
              const std::optional<ArrivalsNs>& arrivals_ns,
              const std::optional<SampleOrder>& sample_order, std::optional<double> deadline_ms,
              std::optional<double> slo_ms, bool read_answer) {
  net::LoadModel model;
  model.name = name;
  for (const NamedArrays& sample : samples) {
    EncodedArrays encoded = encode_arrays(sample);
    model.samples.push_back(
        {std::move(encoded.specs), std::make_shared<const net::Frames>(std::move(encoded.frames))});
  }
  set_arrivals(model, arrivals_ns, sample_order);
  model.deadline_ms = deadline_ms;
  if (slo_ms) model.slo = seconds(*slo_ms / 1e3);
  model.read_answer = read_answer;
  return loop.add_model(std::move(model));
}

int add_http_model(net::LoadLoop& loop, const std::string& name,
                   const std::vector<std::string>& requests,
                   const std::optional<ArrivalsNs>& arrivals_ns,
                   const std::optional<SampleOrder>& sample_order, std::optional<double> slo_ms,
                   std::size_t answer_bytes) {
  net::LoadModel model;
  model.name = name;
  for (const std::string& request : requests) model.samples.push_back({request, nullptr});
  set_arrivals(model, arrivals_ns, sample_order);
  if (slo_ms) model.slo = seconds(*slo_ms / 1e3);
  model.read_answer = answer_bytes > 0;
  model.answer_bytes = answer_bytes;
  return loop.add_model(std::move(model));
}

void start_closed(net::LoadLoop& loop, int in_flight, std::optional<double> duration_s,
                  std::optional<std::int64_t> requests) {
  net::ClosedLoop closed;
  closed.in_flight = in_flight;
  if (duration_s) closed.duration = seconds(*duration_s);
  if (requests) closed.requests = *requests;
  const py::gil_scoped_release release;
  loop.start_closed(closed);
}

}  // namespace

void bind_load(py::module_& m) {
  PYBIND11_NUMPY_DTYPE(net::LoadRecord, model, sample, intended_ns, sent_ns, answered_ns, outcome,
                       batch, queue_us, execute_us, answer);
  py::class_<net::LoadLoop>(m, "LoadLoop")
      .def(py::init(&make_loop), "libzmq"_a, "address"_a, py::kw_only(), "connections"_a = 1,
           "http_connections"_a = std::size_t{8192}, "connect_s"_a = 10.0, "drain_s"_a = 10.0,
           "give_up_s"_a = py::none(), "keys"_a = ClientKeyTexts())
      .def("add_model", add_model, "name"_a, "samples"_a, py::kw_only(),
           "arrivals_ns"_a = py::none(), "sample_order"_a = py::none(),
           "deadline_ms"_a = py::none(), "slo_ms"_a = py::none(), "read_answer"_a = false)
      .def("add_http_model", add_http_model, "name"_a, "requests"_a, py::kw_only(),
           "arrivals_ns"_a = py::none(), "sample_order"_a = py::none(), "slo_ms"_a = py::none(),
           "answer_bytes"_a = std::size_t{0})
      .def("start_open", &net::LoadLoop::start_open, py::call_guard<py::gil_scoped_release>())
      .def("start_closed", start_closed, "in_flight"_a, py::kw_only(), "duration_s"_a = py::none(),
           "requests"_a = py::none())
      .def("wait", wait_for_load<net::LoadLoop>, "timeout_s"_a)
      .def("stop", &net::LoadLoop::stop, py::call_guard<py::gil_scoped_release>())
      .def("close", &net::LoadLoop::close, py::call_guard<py::gil_scoped_release>())
      .def("progress", load_progress<net::LoadLoop>)
      .def("records", load_records<net::LoadLoop>);
}

}  // namespace glet::bind
