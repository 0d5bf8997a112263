#include <memory>
#include <string>

#include "glet/bind/bind.h"
#include "glet/web/guard.h"

namespace py = pybind11;

namespace glet::bind {
namespace {

using namespace py::literals;

web::Tokens parse_tokens(const std::string& text, const std::string& where,
                         const std::string& dashboard_token) {
  web::Tokens tokens = web::Tokens::parse(text, where);
  if (!dashboard_token.empty()) {
    tokens.add(dashboard_token, web::Right::kDashboard, "dashboard_token");
  }
  return tokens;
}

std::string right_of(const web::Tokens& tokens, const std::string& authorization) {
  switch (tokens.right_of_header(authorization)) {
    case web::Right::kDashboard:
      return "dashboard";
    case web::Right::kUse:
      return "use";
    case web::Right::kAdmin:
      return "admin";
    default:
      return "";
  }
}

}  // namespace

void bind_web_guard(py::module_& m) {
  py::class_<web::Tokens>(m, "Tokens")
      .def(py::init(&parse_tokens), "text"_a, "where"_a, py::kw_only(), "dashboard_token"_a = "")
      .def("right", &right_of, "authorization"_a)
      .def("__len__", &web::Tokens::size);
  py::class_<web::Guard, std::shared_ptr<web::Guard>>(m, "WebGuard")
      .def(py::init<>())
      .def(
          "set_tls",
          [](web::Guard& guard, const std::string& libssl, const std::string& cert,
             const std::string& key,
             const std::string& client_ca) { guard.set_tls(libssl, {cert, key, client_ca}); },
          "libssl"_a, "cert"_a, "key"_a, "client_ca"_a = "",
          py::call_guard<py::gil_scoped_release>())
      .def("set_tokens", &web::Guard::set_tokens, "tokens"_a)
      .def("expires_in_s", &web::Guard::expires_in_s);
}

}  // namespace glet::bind
