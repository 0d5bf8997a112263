#include "glet/bind/python_runner.h"

#include <pybind11/stl.h>

#include <deque>
#include <string>
#include <utility>

#include "glet/bind/numpy_view.h"
#include "glet/bind/objects.h"
#include "glet/error.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

class PythonBatch : public exec::OutputBatch {
 public:
  using exec::OutputBatch::OutputBatch;
  ~PythonBatch() override { drop(arrays_); }

  void keep(py::array array, std::size_t item_bytes) {
    parts_.push_back({static_cast<const std::byte*>(array.data()), item_bytes});
    arrays_.push_back(std::move(array));
  }

  // The frames of `n` items, one after the other.
  void keep_bytes(const py::array& objects, const exec::TensorSpec& spec, int n) {
    std::string& frames = frames_.emplace_back();
    std::vector<std::size_t> offsets{0};
    const std::size_t elements = spec.elements();
    const std::string where = "[PythonRunner] output '" + spec.name + "':";
    for (std::size_t item = 0; item < static_cast<std::size_t>(n); ++item) {
      encode_bytes(objects, item * elements, elements, spec.max_bytes, where, frames);
      offsets.push_back(frames.size());
    }
    parts_.push_back({reinterpret_cast<const std::byte*>(frames.data()), 0, std::move(offsets)});
  }

 private:
  std::deque<std::string> frames_;
  std::vector<py::object> arrays_;
};

std::string text(const py::handle& value) {
  return py::str(value).cast<std::string>();
}

py::tuple as_tuple(const py::object& result) {
  if (py::isinstance<py::tuple>(result) || py::isinstance<py::list>(result)) {
    return py::tuple(result);
  }
  return py::make_tuple(result);
}

// The output as a contiguous array of the signature's dtype (objects for bytes) and shape.
py::array checked(const py::handle& output, const exec::TensorSpec& spec, int n) {
  const auto ascontiguousarray = py::module_::import("numpy").attr("ascontiguousarray");
  // ascontiguousarray makes a scalar one-dimensional: the shape is looked at before.
  const py::object given = spec.is_bytes()
                               ? py::object(as_objects(output))
                               : py::object(py::module_::import("numpy").attr("asarray")(output));
  const py::tuple expected = py::cast<py::tuple>(py::cast(batch_shape(spec, n)));
  const py::object shape = given.attr("shape");
  if (!shape.equal(expected)) {
    throw ModelError("[PythonRunner] output '" + spec.name + "' has shape " + text(shape) +
                     "; expected " + text(expected));
  }
  if (spec.is_bytes()) return given.cast<py::array>();
  return ascontiguousarray(given, numpy_dtype(spec.dtype)).cast<py::array>();
}

}  // namespace

void drop(std::vector<py::object>& objects) {
  if (Py_IsInitialized() != 0 || PyGILState_Check() != 0) {
    const py::gil_scoped_acquire gil;
    objects.clear();
    return;
  }
  for (py::object& object : objects) object.release();
}

PythonRunner::PythonRunner(py::object function, exec::Signature signature, int max_batch)
    : function_(std::move(function)),
      signature_(std::make_shared<const exec::Signature>(std::move(signature))),
      max_batch_(max_batch),
      inputs_(std::make_shared<exec::BatchBuffer>(signature_->inputs, max_batch)) {
  if (PyCallable_Check(function_.ptr()) == 0) {
    throw ArgumentError("[PythonRunner] " + text(py::repr(function_)) + " cannot be called");
  }
  using Shared = std::shared_ptr<exec::BatchBuffer>;
  owner_ = py::capsule(new Shared(inputs_), [](void* held) { delete static_cast<Shared*>(held); });
}

PythonRunner::~PythonRunner() {
  std::vector<py::object> held{std::move(function_), std::move(owner_)};
  drop(held);
}

py::tuple PythonRunner::call(int n) const {
  py::tuple arguments(signature_->inputs.size());
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const exec::TensorSpec& spec = signature_->inputs[i];
    if (spec.is_bytes()) {
      arguments[i] =
          decode_bytes(spec, batch_shape(spec, n), inputs_->data(i), inputs_->item_bytes(i), n);
      continue;
    }
    arguments[i] = view(spec, batch_shape(spec, n), inputs_->data(i), owner_);
  }
  return as_tuple(function_(*arguments));
}

std::shared_ptr<const exec::OutputBatch> PythonRunner::run(int n) {
  const py::gil_scoped_acquire gil;
  try {
    const py::tuple outputs = call(n);
    if (outputs.size() != signature_->outputs.size()) {
      throw ModelError("[PythonRunner] the function returned " + std::to_string(outputs.size()) +
                       " outputs; the signature has " + std::to_string(signature_->outputs.size()));
    }
    auto batch = std::make_shared<PythonBatch>(signature_);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const exec::TensorSpec& spec = signature_->outputs[i];
      py::array array = checked(outputs[i], spec, n);
      if (spec.is_bytes()) {
        batch->keep_bytes(array, spec, n);
        continue;
      }
      // A view of the input tensors would change with the next batch.
      if (inputs_->owns(array.data())) array = array.attr("copy")().cast<py::array>();
      batch->keep(std::move(array), spec.bytes());
    }
    return batch;
  } catch (const ArgumentError& error) {
    throw ModelError(error.what());
  } catch (const py::error_already_set& error) {
    // Its text can only be had here, under the GIL.
    throw ModelError(std::string("[PythonRunner] ") + error.what());
  }
}

}  // namespace glet::bind
