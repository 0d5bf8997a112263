#include <algorithm>
#include <memory>
#include <utility>

#include "glet/bind/bind.h"
#include "glet/net/frontend_loop.h"
#include "glet/web/http_door.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

std::string add_http_door(net::FrontendLoop& loop, const std::string& address,
                          std::size_t max_body_mb, std::size_t max_connections,
                          std::shared_ptr<web::Guard> guard) {
  web::HttpDoorOptions options;
  options.limits.body_bytes = max_body_mb << 20;
  options.connections = max_connections;
  options.idle = loop.door_limits().idle;
  options.stall = loop.door_limits().stall;
  options.held_bytes = loop.door_limits().held_bytes;
  auto door = std::make_unique<web::HttpDoor>(address, options, std::move(guard));
  std::string got = door->address();
  loop.add_door(std::move(door));
  return got;
}

py::tuple request_tuple(const web::HttpRequest& request) {
  py::list headers;
  for (const web::HttpHeader& header : request.headers) {
    headers.append(py::make_tuple(py::bytes(header.name.data(), header.name.size()),
                                  py::bytes(header.value.data(), header.value.size())));
  }
  const auto* body = reinterpret_cast<const char*>(request.body.data());
  return py::make_tuple(py::bytes(request.method.data(), request.method.size()),
                        py::bytes(request.target.data(), request.target.size()), request.minor,
                        headers, py::bytes(body, request.body.size()), request.keep_alive);
}

// Feeds the pieces one by one, as a socket would.
py::list parse_http(const py::list& pieces, std::size_t max_body_bytes) {
  web::HttpLimits limits;
  limits.body_bytes = max_body_bytes;
  web::HttpParser parser(limits);
  py::list out;
  for (const py::handle& item : pieces) {
    const std::string piece = py::cast<py::bytes>(item);
    for (std::size_t at = 0; at < piece.size();) {
      const std::span<char> space = parser.space();
      const std::size_t size = std::min(space.size(), piece.size() - at);
      std::copy_n(piece.data() + at, size, space.data());
      parser.filled(size);
      at += size;
      for (auto next = parser.next(); next != web::HttpParser::Next::kMore; next = parser.next()) {
        if (next == web::HttpParser::Next::kBad) {
          out.append(py::make_tuple(parser.error().status, parser.error().message));
          return out;
        }
        if (next == web::HttpParser::Next::kContinue) continue;
        out.append(request_tuple(parser.request()));
        parser.pop();
      }
    }
  }
  return out;
}

}  // namespace

void bind_web_http(py::module_& m) {
  m.def("add_http_door", &add_http_door, py::arg("loop"), py::arg("address"),
        py::arg("max_body_mb"), py::arg("max_connections"), py::kw_only(),
        py::arg("guard") = nullptr);
  m.def("parse_http", &parse_http, py::arg("pieces"), py::arg("max_body_bytes"));
}

}  // namespace glet::bind
