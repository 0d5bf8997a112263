#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "glet/bind/bind.h"
#include "glet/net/zap_gate.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {
namespace {

using net::ZapGate;

// `context` is a zmq context of this process: pyzmq's `underlying`, or a loop's.
std::unique_ptr<ZapGate> make_gate(const std::string& libzmq, std::uintptr_t context) {
  net::load_zmq(libzmq);
  return std::make_unique<ZapGate>(net::Context::borrowed(reinterpret_cast<void*>(context)));
}

py::list take_refused(ZapGate& gate) {
  py::list list;
  for (const net::Refusal& refusal : gate.take_refused()) {
    list.append(py::make_tuple(py::str(refusal.address), py::bytes(refusal.public_key)));
  }
  return list;
}

}  // namespace

void bind_curve(py::module_& m) {
  py::class_<ZapGate>(m, "ZapGate")
      .def(py::init(&make_gate), "libzmq"_a, "context"_a)
      .def("allow", &ZapGate::allow, "public_keys"_a)
      .def("take_refused", &take_refused)
      .def("close", &ZapGate::close, py::call_guard<py::gil_scoped_release>());
}

}  // namespace glet::bind
