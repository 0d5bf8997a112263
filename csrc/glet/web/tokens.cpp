#include "glet/web/tokens.h"

#include <algorithm>
#include <cstring>

#include "glet/error.h"
#include "glet/web/http_route.h"
#include "glet/web/http_text.h"

namespace glet::web {
namespace {

constexpr std::string_view kScheme = "Bearer ";

bool is_alphanumeric(char c) {
  const char small = to_lower(c);
  return (small >= 'a' && small <= 'z') || (c >= '0' && c <= '9');
}

// RFC 6750, 2.1.
bool is_bearer(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || std::string_view("-._~+/=").find(c) != std::string_view::npos;
  });
}

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || std::string_view("-._@/").find(c) != std::string_view::npos;
  });
}

// 0 where both are the same, without a branch on what is in them.
std::uint64_t difference(const std::uint8_t* a, const std::uint8_t* b, std::size_t size) {
  std::uint64_t found = 0;
  for (std::size_t i = 0; i < size; i += sizeof found) {
    std::uint64_t x = 0;
    std::uint64_t y = 0;
    std::memcpy(&x, a + i, sizeof x);
    std::memcpy(&y, b + i, sizeof y);
    found |= x ^ y;
  }
  // What was found is not known to the compiler, so it cannot stop early.
  asm volatile("" : "+r"(found));
  return found;
}

}  // namespace

bool allows(Right right, Need need) {
  switch (need) {
    case Need::kNothing:
      return true;
    case Need::kToken:
      return right != Right::kNone;
    case Need::kUse:
      return right == Right::kUse || right == Right::kAdmin;
    case Need::kDashboard:
      return right == Right::kDashboard || right == Right::kAdmin;
    case Need::kAdmin:
      break;
  }
  return right == Right::kAdmin;
}

Need http_need(std::string_view method, std::string_view path) {
  if (method == "GET" || method == "HEAD") {
    const bool is_open = path == "/" || path == "/dashboard" || path.starts_with("/dashboard/") ||
                         path == "/v2/health/live" || path == "/v2/health/ready";
    if (is_open) return Need::kNothing;
    return path == "/metrics" || path == "/glet/state.json" ? Need::kToken : Need::kUse;
  }
  if (path.starts_with("/glet/models/")) return Need::kDashboard;
  const bool uses =
      path == "/v2/repository/index" || route_of(path).kind != HttpRoute::Kind::kOther;
  return uses ? Need::kUse : Need::kAdmin;
}

Tokens Tokens::parse(std::string_view text, const std::string& where) {
  Tokens found;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::string at = where + ", line " + std::to_string(++number);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    Right right = Right::kUse;
    if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
      std::string_view name = trimmed(line.substr(0, colon));
      line = trimmed(line.substr(colon + 1));
      const std::size_t space = name.find_first_of(" \t");
      const std::string_view said =
          space == std::string_view::npos ? std::string_view() : trimmed(name.substr(space));
      name = name.substr(0, space);
      if (said == "admin") right = Right::kAdmin;
      if (!is_name(name) || (!said.empty() && said != "admin")) {
        throw ConfigError(at + ": is not `NAME: TOKEN` or `NAME admin: TOKEN`");
      }
      if (name == "admin" && said.empty()) {
        throw ConfigError(at + ": admin is a right and no name; valid is `NAME admin: TOKEN`");
      }
    }
    found.add(line, right, at);
  }
  if (found.known_.empty()) {
    throw ConfigError(where + ": holds no token; valid is a line `NAME: TOKEN` for each client");
  }
  return found;
}

void Tokens::add(std::string_view token, Right right, const std::string& where) {
  if (!is_bearer(token) || token.size() > kLongest) {
    throw ConfigError(where + ": the token is not 1 to " + std::to_string(kLongest) +
                      " letters, digits and -._~+/=");
  }
  if (right_of(token) != Right::kNone) {
    throw ConfigError(where + ": the token is there already; every client gets its own");
  }
  Known known{};
  std::memcpy(known.padded, token.data(), token.size());
  known.size = token.size();
  known.right = right;
  known_.push_back(known);
}

Right Tokens::right_of_header(std::string_view value) const {
  value = trimmed(value);
  if (value.size() < kScheme.size() || !same_name(value.substr(0, kScheme.size()), kScheme)) {
    return Right::kNone;
  }
  return right_of(trimmed(value.substr(kScheme.size())));
}

Right Tokens::right_of(std::string_view token) const {
  std::uint8_t padded[kLongest] = {};
  std::memcpy(padded, token.data(), std::min(token.size(), kLongest));
  auto right = static_cast<unsigned>(Right::kNone);
  for (const Known& known : known_) {
    const std::uint64_t differs =
        difference(padded, known.padded, kLongest) | (known.size ^ token.size());
    // All ones where nothing differs.
    const auto same = static_cast<unsigned>(((differs | (0 - differs)) >> 63) - 1);
    right |= same & static_cast<unsigned>(known.right);
  }
  return static_cast<Right>(right);
}

}  // namespace glet::web
