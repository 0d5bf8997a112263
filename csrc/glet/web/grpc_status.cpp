#include "glet/web/grpc_status.h"

#include <limits>

namespace glet::web {

GrpcStatus grpc_status(OipCode code) {
  switch (code) {
    case OipCode::kInvalid:
      return GrpcStatus::kInvalidArgument;
    case OipCode::kNotFound:
      return GrpcStatus::kNotFound;
    case OipCode::kFull:
      return GrpcStatus::kResourceExhausted;
    case OipCode::kUnavailable:
      return GrpcStatus::kUnavailable;
    case OipCode::kLate:
      return GrpcStatus::kDeadlineExceeded;
    case OipCode::kFailed:
      break;
  }
  return GrpcStatus::kInternal;
}

std::optional<std::int64_t> grpc_timeout_ns(std::string_view value) {
  constexpr std::size_t kMostDigits = 8;
  if (value.size() < 2 || value.size() > kMostDigits + 1) return std::nullopt;
  std::int64_t count = 0;
  for (const char digit : value.substr(0, value.size() - 1)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    count = count * 10 + (digit - '0');
  }
  std::int64_t unit_ns = 0;
  switch (value.back()) {
    case 'H':
      unit_ns = 3'600'000'000'000;
      break;
    case 'M':
      unit_ns = 60'000'000'000;
      break;
    case 'S':
      unit_ns = 1'000'000'000;
      break;
    case 'm':
      unit_ns = 1'000'000;
      break;
    case 'u':
      unit_ns = 1'000;
      break;
    case 'n':
      unit_ns = 1;
      break;
    default:
      return std::nullopt;
  }
  std::int64_t total_ns = 0;
  if (__builtin_mul_overflow(count, unit_ns, &total_ns)) {
    return std::numeric_limits<std::int64_t>::max();
  }
  return total_ns;
}

std::string grpc_message(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c >= ' ' && c <= '~' && c != '%') {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

}  // namespace glet::web
