#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "glet/web/oip_call.h"

// What gRPC adds to HTTP/2 in its headers.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
namespace glet::web {

// Numbers of https://grpc.io/docs/guides/status-codes/.
enum class GrpcStatus : std::uint32_t {
  kOk = 0,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kUnauthenticated = 16,
};

GrpcStatus grpc_status(OipCode code);
// As it stands in a header.
constexpr std::uint32_t grpc_code(GrpcStatus status) {
  return static_cast<std::uint32_t>(status);
}

// A grpc-timeout in nanoseconds: up to eight digits and one of H M S m u n. Nothing when it is
// none; what is longer than the clock can count is the longest it can.
std::optional<std::int64_t> grpc_timeout_ns(std::string_view value);

// Text as grpc-message has it: printable ASCII but the percent sign, the rest as %XX.
std::string grpc_message(std::string_view text);

}  // namespace glet::web
