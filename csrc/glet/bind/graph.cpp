#include "glet/bind/graph.h"

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "glet/bind/bind.h"
#include "glet/bind/python_runner.h"
#include "glet/error.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

struct PyCaptured {
  std::vector<exec::cuda::DevicePointer> inputs;
  std::vector<exec::cuda::DevicePointer> outputs;
  std::uintptr_t graph = 0;
  py::object call;
  bool one_block = false;
  std::size_t bytes = 0;
  py::object owner;
  std::string reason;
};

// A Python object that may be let go on any thread.
std::shared_ptr<py::object> shared(py::object object) {
  return {new py::object(std::move(object)), [](py::object* held) {
            std::vector<py::object> last;
            last.push_back(std::move(*held));
            drop(last);
            delete held;
          }};
}

// "OutOfMemoryError: CUDA out of memory": one line.
std::string first_line(const py::error_already_set& error) {
  std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

[[noreturn]] void raise(const std::string& where, const py::error_already_set& error) {
  const std::string text = "[GraphRunner] " + where + ": " + first_line(error);
  const auto name = error.type().attr("__name__").cast<std::string>();
  // Torch's own, which is not loaded here.
  const bool no_memory = name == "OutOfMemoryError" || error.matches(PyExc_MemoryError);
  if (no_memory || name == "DeviceError" || name == "AcceleratorError") throw DeviceError(text);
  throw ModelError(text);
}

exec::Captured converted(PyCaptured made) {
  exec::Captured captured;
  captured.graph = reinterpret_cast<exec::cuda::GraphExec>(made.graph);
  captured.inputs = std::move(made.inputs);
  captured.outputs = std::move(made.outputs);
  captured.one_block = made.one_block;
  captured.bytes = made.bytes;
  captured.reason = std::move(made.reason);
  captured.owner = shared(std::move(made.owner));
  if (made.call.is_none()) return captured;
  if (captured.reason.empty()) captured.reason = "it was captured as a call";
  captured.call = [function = shared(std::move(made.call))](int n) {
    const py::gil_scoped_acquire gil;
    try {
      return (*function)(n).cast<std::vector<exec::cuda::DevicePointer>>();
    } catch (const py::error_already_set& error) {
      raise("the call for " + std::to_string(n), error);
    } catch (const py::cast_error&) {
      throw ModelError("[GraphRunner] the call did not return a list of output addresses");
    }
  };
  return captured;
}

}  // namespace

exec::GraphRunner::Capture python_capture(py::object function) {
  if (PyCallable_Check(function.ptr()) == 0) {
    throw ArgumentError("[Engine.load_graph] " + py::repr(function).cast<std::string>() +
                        " cannot be called");
  }
  return [held = shared(std::move(function))](const exec::CaptureRequest& request) {
    const py::gil_scoped_acquire gil;
    const std::string where = "capture of batch " + std::to_string(request.batch);
    try {
      const auto stream = reinterpret_cast<std::uintptr_t>(request.stream);
      return converted((*held)(request.batch, stream, request.context_id).cast<PyCaptured>());
    } catch (const py::error_already_set& error) {
      raise(where, error);
    } catch (const py::cast_error&) {
      throw ModelError("[GraphRunner] " + where + ": it did not return a Captured");
    }
  };
}

void bind_graph(py::module_& m) {
  py::class_<PyCaptured>(m, "Captured", "What a capture made for one batch size on one stream.")
      .def(py::init([](std::vector<exec::cuda::DevicePointer> inputs,
                       std::vector<exec::cuda::DevicePointer> outputs, std::uintptr_t graph,
                       py::object call, bool one_block, std::size_t bytes, py::object owner,
                       std::string reason) {
             return PyCaptured{std::move(inputs), std::move(outputs), graph,
                               std::move(call),   one_block,          bytes,
                               std::move(owner),  std::move(reason)};
           }),
           py::kw_only(), py::arg("inputs"),
           py::arg("outputs") = std::vector<exec::cuda::DevicePointer>{}, py::arg("graph") = 0,
           py::arg("call") = py::none(), py::arg("one_block") = false, py::arg("bytes") = 0,
           py::arg("owner") = py::none(), py::arg("reason") = "");
}

}  // namespace glet::bind
