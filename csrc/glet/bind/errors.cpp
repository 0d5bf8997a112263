#include "glet/error.h"

#include <cstring>
#include <exception>

#include "glet/bind/bind.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

void set_python_error(const char* name, const char* message) {
  const py::object type = py::module_::import("glet.errors").attr(name);
  // A message may quote bytes of a peer, which need not be UTF-8.
  const auto text = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(message, static_cast<Py_ssize_t>(std::strlen(message)), "replace"));
  if (text) PyErr_SetObject(type.ptr(), text.ptr());
}

void translate(std::exception_ptr pending) {
  try {
    if (pending) std::rethrow_exception(pending);
  } catch (const ConfigError& e) {
    set_python_error("ConfigError", e.what());
  } catch (const ArgumentError& e) {
    set_python_error("ArgumentError", e.what());
  } catch (const ProfileError& e) {
    set_python_error("ProfileError", e.what());
  } catch (const WireError& e) {
    set_python_error("WireError", e.what());
  } catch (const PeerLostError& e) {
    set_python_error("PeerLostError", e.what());
  } catch (const DeviceError& e) {
    set_python_error("DeviceError", e.what());
  } catch (const ModelError& e) {
    set_python_error("ModelError", e.what());
  } catch (const GletError& e) {
    set_python_error("GletError", e.what());
  }
}

}  // namespace

void bind_errors(py::module_&) {
  py::register_local_exception_translator(translate);
}

}  // namespace glet::bind
