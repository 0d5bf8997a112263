#pragma once

#include <string>
#include <string_view>

namespace glet::web {

// What a path asks for. Everything but inference and health is Python's.
struct HttpRoute {
  enum class Kind { kInfer, kLive, kReady, kModelReady, kOther };
  Kind kind = Kind::kOther;
  std::string model;
  std::string version;  // empty without
};

// /v2/health/{live,ready} and /v2/models/NAME[/versions/V]/{infer,ready}; %XX is decoded in NAME
// and V.
HttpRoute route_of(std::string_view path);

}  // namespace glet::web
