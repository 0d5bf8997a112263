#include "glet/web/http_route.h"

#include <optional>

#include "glet/web/http_text.h"

namespace glet::web {
namespace {

constexpr std::string_view kModels = "/v2/models/";

std::optional<std::string> decoded(std::string_view segment) {
  std::string out;
  for (std::size_t i = 0; i < segment.size(); ++i) {
    if (segment[i] != '%') {
      out += segment[i];
      continue;
    }
    if (segment.size() - i < 3) return std::nullopt;
    const int high = hex_digit(segment[i + 1]);
    const int low = hex_digit(segment[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string_view take_segment(std::string_view& path) {
  const std::size_t slash = path.find('/');
  const std::string_view segment = path.substr(0, slash);
  path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  return segment;
}

}  // namespace

HttpRoute route_of(std::string_view path) {
  using Kind = HttpRoute::Kind;
  if (path == "/v2/health/live") return {Kind::kLive, {}, {}};
  if (path == "/v2/health/ready") return {Kind::kReady, {}, {}};
  if (!path.starts_with(kModels)) return {};
  path.remove_prefix(kModels.size());
  const auto model = decoded(take_segment(path));
  std::string version;
  if (path.starts_with("versions/")) {
    take_segment(path);
    const auto given = decoded(take_segment(path));
    if (!given || given->empty()) return {};
    version = *given;
  }
  if (!model || model->empty()) return {};
  if (path == "infer") return {Kind::kInfer, *model, std::move(version)};
  if (path == "ready") return {Kind::kModelReady, *model, std::move(version)};
  return {};
}

}  // namespace glet::web
