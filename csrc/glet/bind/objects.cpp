#include "glet/bind/objects.h"

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "glet/bind/numpy_view.h"
#include "glet/error.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

// Of one element, alive as long as it.
std::string_view view_of(PyObject* element, const std::string& where, std::size_t index) {
  if (PyBytes_Check(element) != 0) {
    return {PyBytes_AS_STRING(element), static_cast<std::size_t>(PyBytes_GET_SIZE(element))};
  }
  const std::string name = where + " element " + std::to_string(index);
  if (PyUnicode_Check(element) == 0) {
    throw ArgumentError(name + " is a " + Py_TYPE(element)->tp_name + "; valid are bytes and str");
  }
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(element, &size);
  if (text == nullptr) {
    PyErr_Clear();
    throw ArgumentError(name + " is a str that UTF-8 cannot hold; give bytes");
  }
  return {text, static_cast<std::size_t>(size)};
}

}  // namespace

py::array decode_bytes(const exec::TensorSpec& spec, std::vector<py::ssize_t> shape,
                       const std::byte* first, std::size_t stride, int n) {
  py::array made(numpy_dtype(exec::DType::kBytes), std::move(shape));
  auto** slot = static_cast<PyObject**>(made.mutable_data());
  const std::size_t elements = spec.elements();
  for (int item = 0; item < n; ++item) {
    const std::byte* at = first + stride * static_cast<std::size_t>(item);
    for (std::size_t i = 0; i < elements; ++i, ++slot) {
      std::uint32_t length = 0;
      std::memcpy(&length, at, exec::kLengthBytes);
      at += exec::kLengthBytes;
      PyObject* element =
          PyBytes_FromStringAndSize(reinterpret_cast<const char*>(at), Py_ssize_t{length});
      if (element == nullptr) throw py::error_already_set();
      Py_XSETREF(*slot, element);
      at += length;
    }
  }
  return made;
}

py::array as_objects(const py::handle& given) {
  using namespace py::literals;
  return py::module_::import("numpy")
      .attr("asarray")(given, "dtype"_a = numpy_dtype(exec::DType::kBytes), "order"_a = "C")
      .cast<py::array>();
}

void encode_bytes(const py::array& objects, std::size_t begin, std::size_t count,
                  std::size_t max_bytes, const std::string& where, std::string& out) {
  auto* const* elements = static_cast<PyObject* const*>(objects.data());
  for (std::size_t i = begin; i < begin + count; ++i) {
    const std::string_view text = view_of(elements[i], where, i);
    if (text.size() > max_bytes) {
      throw ArgumentError(where + " element " + std::to_string(i) + " has " +
                          std::to_string(text.size()) + " bytes; at most " +
                          std::to_string(max_bytes) + " are valid");
    }
    const auto length = static_cast<std::uint32_t>(text.size());
    out.append(reinterpret_cast<const char*>(&length), exec::kLengthBytes);
    out.append(text);
  }
}

}  // namespace glet::bind
