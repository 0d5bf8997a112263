#include "glet/bind/buffer_payload.h"

#include <string>

#include "glet/error.h"

namespace py = pybind11;

namespace glet::bind {

BufferPayload::BufferPayload(std::uint64_t tag, py::handle buffers) {
  const auto sequence =
      py::reinterpret_steal<py::object>(PySequence_Fast(buffers.ptr(), "buffers must be a list"));
  if (!sequence) throw py::error_already_set();
  const auto size = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(sequence.ptr()));
  buffers_ = std::make_unique<Py_buffer[]>(size);
  PyObject** items = PySequence_Fast_ITEMS(sequence.ptr());
  for (; count_ < size; ++count_) {
    if (PyObject_GetBuffer(items[count_], &buffers_[count_], PyBUF_SIMPLE) == 0) continue;
    const py::error_already_set reason;
    release();
    throw ArgumentError("[Engine.submit] input " + std::to_string(count_) + " of request " +
                        std::to_string(tag) + " is no contiguous buffer: " + reason.what());
  }
}

BufferPayload::~BufferPayload() {
  if (Py_IsInitialized() == 0 && PyGILState_Check() == 0) return;  // nobody left to release it for
  const py::gil_scoped_acquire gil;
  release();
}

void BufferPayload::release() {
  for (std::size_t i = 0; i < count_; ++i) PyBuffer_Release(&buffers_[i]);
}

}  // namespace glet::bind
