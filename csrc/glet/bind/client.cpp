#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "glet/bind/arrays.h"
#include "glet/bind/bind.h"
#include "glet/net/client_loop.h"
#include "glet/net/protocol.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {
namespace {

// How long a waiting thread stays deaf to Ctrl-C.
constexpr Nanos kSignalPause = std::chrono::milliseconds(100);

std::unique_ptr<net::ClientLoop> make_loop(const std::string& libzmq, const std::string& address,
                                           double timeout_s, double grace_s, double hold_s,
                                           bool announce, const ClientKeyTexts& keys) {
  const auto nanos = [](double seconds) {
    return Nanos(static_cast<std::int64_t>(std::clamp(seconds, 0.0, 1e6) * 1e9));
  };
  net::load_zmq(libzmq);
  net::ClientOptions options;
  options.timeout = nanos(timeout_s);
  options.grace = nanos(grace_s);
  options.limits.hold = nanos(hold_s);
  options.announce = announce;
  options.keys = client_keys(keys);
  return std::make_unique<net::ClientLoop>(address, options);
}

std::int64_t submit(net::ClientLoop& loop, const std::string& model, const NamedArrays& inputs,
                    std::optional<double> deadline_ms, const std::string& traceparent) {
  EncodedArrays encoded = encode_arrays(inputs);
  const py::gil_scoped_release release;
  return loop.submit(model, encoded.specs, std::move(encoded.frames), deadline_ms, traceparent);
}

// Every request ends by itself, so this ends too.
net::Answer wait(net::ClientLoop& loop, std::int64_t id) {
  for (;;) {
    {
      const py::gil_scoped_release release;
      std::optional<net::Answer> answer = loop.wait(id, kSignalPause);
      if (answer) return std::move(*answer);
    }
    if (PyErr_CheckSignals() == 0) continue;
    loop.cancel(id);
    loop.forget(id);
    throw py::error_already_set();
  }
}

// Consumes the frames.
py::list outputs(net::Answer& answer) {
  py::list list;
  if (!answer.outputs || answer.tensors.size() != answer.outputs->size()) return list;
  for (std::size_t i = 0; i < answer.tensors.size(); ++i) {
    const exec::TensorSpec& spec = (*answer.outputs)[i];
    list.append(py::make_tuple(spec.name, to_array(spec, std::move(answer.tensors[i]))));
  }
  answer.tensors.clear();
  return list;
}

py::dict counts(const net::ClientLoop& loop) {
  const net::ConnectionCounts& counted = loop.counts();
  return py::dict("garbage"_a = counted.garbage.load(), "stale"_a = counted.stale.load(),
                  "connects"_a = counted.connects.load(), "resent"_a = counted.resent.load());
}

std::span<const std::byte> view(const py::bytes& bytes) {
  const auto text = static_cast<std::string_view>(bytes);
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

py::object raw(std::span<const std::byte> bytes) {
  if (bytes.empty()) return py::none();
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// Text of a peer need not be UTF-8.
py::str text(std::string_view given) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(given.data(), static_cast<Py_ssize_t>(given.size()), "replace"));
}

py::dict parse_client_header(const py::bytes& frame) {
  const net::ClientHeader header = net::read_client_header(view(frame));
  return py::dict("op"_a = text(header.op), "id"_a = header.id, "version"_a = header.version,
                  "role"_a = text(header.role), "model"_a = text(header.model),
                  "deadline_ms"_a = header.deadline_ms, "inputs"_a = raw(header.inputs));
}

py::dict parse_server_header(const py::bytes& frame) {
  const net::ServerHeader header = net::read_server_header(view(frame));
  return py::dict("op"_a = text(header.op), "id"_a = header.id, "version"_a = header.version,
                  "error"_a = text(header.error), "message"_a = text(header.message),
                  "outputs"_a = raw(header.outputs), "body"_a = raw(header.body),
                  "batch"_a = header.times.batch, "queue_ns"_a = header.times.queued.count(),
                  "batch_ns"_a = header.times.batched.count(),
                  "execute_ns"_a = header.times.executed.count());
}

py::list parse_specs(const py::bytes& encoded) {
  py::list list;
  for (const exec::TensorSpec& spec : net::decode_specs(view(encoded))) {
    list.append(py::make_tuple(text(spec.name), text(exec::dtype_name(spec.dtype)), spec.shape));
  }
  return list;
}

}  // namespace

void bind_client(py::module_& m) {
  py::class_<net::Answer>(m, "Answer")
      .def_readonly("id", &net::Answer::id)
      .def_property_readonly("code", [](const net::Answer& a) { return text(a.code); })
      .def_property_readonly("message", [](const net::Answer& a) { return text(a.message); })
      .def_property_readonly("body", [](const net::Answer& a) { return py::bytes(a.body); })
      .def_property_readonly("batch", [](const net::Answer& a) { return a.times.batch; })
      .def_property_readonly("queue_ns",
                             [](const net::Answer& a) { return a.times.queued.count(); })
      .def_property_readonly("batch_ns",
                             [](const net::Answer& a) { return a.times.batched.count(); })
      .def_property_readonly("execute_ns",
                             [](const net::Answer& a) { return a.times.executed.count(); })
      .def("take_outputs", outputs);

  py::class_<net::ClientLoop>(m, "ClientLoop")
      .def(py::init(&make_loop), "libzmq"_a, "address"_a, py::kw_only(), "timeout_s"_a = 60.0,
           "grace_s"_a = 5.0, "hold_s"_a = 5.0, "announce"_a = false, "keys"_a = ClientKeyTexts())
      .def("submit", submit, "model"_a, "inputs"_a, "deadline_ms"_a = py::none(),
           "traceparent"_a = "")
      .def("submit_op", &net::ClientLoop::submit_op, "op"_a,
           "fields"_a = std::vector<std::string>(), py::call_guard<py::gil_scoped_release>())
      .def("wait", wait, "request"_a)
      .def("cancel", &net::ClientLoop::cancel, "request"_a,
           py::call_guard<py::gil_scoped_release>())
      .def("forget", &net::ClientLoop::forget, "request"_a,
           py::call_guard<py::gil_scoped_release>())
      .def("drain", &net::ClientLoop::drain)
      .def_property_readonly("completion_fd", &net::ClientLoop::completion_fd)
      .def("counts", counts)
      .def("close", &net::ClientLoop::close, py::call_guard<py::gil_scoped_release>());

  m.def("parse_client_header", parse_client_header, "frame"_a);
  m.def("parse_server_header", parse_server_header, "frame"_a);
  m.def("parse_specs", parse_specs, "encoded"_a);
}

}  // namespace glet::bind
