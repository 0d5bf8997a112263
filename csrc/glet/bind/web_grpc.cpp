#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "glet/bind/bind.h"
#include "glet/net/frontend_loop.h"
#include "glet/web/grpc_door.h"
#include "glet/web/grpc_messages.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

using namespace py::literals;

constexpr std::size_t kMegabyte = 1 << 20;

Nanos seconds(double value) {
  return std::chrono::duration_cast<Nanos>(std::chrono::duration<double>(value));
}

std::string add_grpc_door(net::FrontendLoop& loop, const std::string& address,
                          const std::string& libnghttp2, std::size_t max_message_mb,
                          std::size_t max_connections, std::uint32_t max_streams, double idle_s,
                          double keepalive_s, std::shared_ptr<web::Guard> guard) {
  web::GrpcLimits limits;
  limits.max_message_bytes = max_message_mb * kMegabyte;
  limits.max_connections = max_connections;
  limits.h2.max_streams = max_streams;
  limits.idle = seconds(idle_s);
  limits.keepalive = seconds(keepalive_s);
  limits.stall = loop.door_limits().stall;
  limits.max_held_bytes = loop.door_limits().held_bytes;
  auto door = std::make_unique<web::GrpcDoor>(address, libnghttp2, limits, std::move(guard));
  std::string actual = door->address();
  loop.add_door(std::move(door));
  return actual;
}

void set_door_limits(net::FrontendLoop& loop, double idle_s, double stall_s,
                     std::size_t max_held_mb) {
  loop.set_door_limits({seconds(idle_s), seconds(stall_s), max_held_mb * kMegabyte});
}

py::str text(std::string_view view) {
  return {view.data(), view.size()};
}

py::object shm(const std::optional<web::OipShm>& part) {
  if (!part) return py::none();
  return py::make_tuple(text(part->region), part->offset, part->byte_size);
}

py::dict read_infer(const py::bytes& message, std::size_t longest) {
  const auto view = static_cast<std::string_view>(message);
  web::OipRequest request;
  web::read_infer({reinterpret_cast<const std::byte*>(view.data()), view.size()}, nullptr, longest,
                  request);
  py::list inputs;
  for (const web::OipInput& input : request.inputs) {
    inputs.append(py::dict(
        "name"_a = text(input.name), "datatype"_a = text(input.datatype), "shape"_a = input.shape,
        "bytes"_a =
            py::bytes(reinterpret_cast<const char*>(input.bytes.data()), input.bytes.size()),
        "shm"_a = shm(input.shm)));
  }
  py::list outputs;
  for (const web::OipWanted& output : request.outputs) {
    outputs.append(py::dict("name"_a = text(output.name),
                            "classification"_a = output.classification, "shm"_a = shm(output.shm)));
  }
  return py::dict("model"_a = text(request.model), "version"_a = text(request.version),
                  "id"_a = text(request.id), "timeout_us"_a = request.timeout_us,
                  "inputs"_a = inputs, "outputs"_a = outputs);
}

}  // namespace

void bind_web_grpc(py::module_& m) {
  m.def("add_grpc_door", add_grpc_door, "loop"_a, "address"_a, "libnghttp2"_a, "max_message_mb"_a,
        "max_connections"_a, py::kw_only(), "max_streams"_a = 1024, "idle_s"_a = 600.0,
        "keepalive_s"_a = 30.0, "guard"_a = nullptr);
  m.def("set_door_limits", set_door_limits, "loop"_a, py::kw_only(), "idle_s"_a = 75.0,
        "stall_s"_a = 30.0, "max_held_mb"_a = 1024);
  m.def("read_infer_request", read_infer, "message"_a, "longest"_a = 64 * kMegabyte);
}

}  // namespace glet::bind
