#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glet/time.h"
#include "glet/web/grpc_reader.h"
#include "glet/web/h2_session.h"
#include "glet/web/pace.h"
#include "glet/web/tokens.h"

namespace glet::web {

enum class GrpcMethod : std::uint8_t {
  kUnknown,
  kModelInfer,
  kModelStreamInfer,
  kServerLive,
  kServerReady,
  kModelReady,
  kPython,  // answered there
};

// What ":path" says: "/inference.GRPCInferenceService/ModelInfer".
GrpcMethod grpc_method(std::string_view path);
// What it takes; `path` tells those apart that Python answers.
Need grpc_need(GrpcMethod method, std::string_view path);

// kPacked: gzip or deflate, which tell themselves apart.
enum class GrpcEncoding : std::uint8_t { kIdentity, kPacked, kUnknown };

// One gRPC call: its headers, the messages that came, and the requests under way for it.
struct GrpcStream : H2Stream {
  GrpcMethod method = GrpcMethod::kUnknown;
  GrpcEncoding encoding = GrpcEncoding::kIdentity;
  bool is_post = false;
  bool is_grpc = false;
  bool accepts_gzip = false;
  bool has_headers = false;
  bool has_message = false;  // unary: the one message lies in `in`
  bool is_paused = false;    // enough is under way; what comes in waits
  bool is_queued = false;    // among those that go on with the next flush
  bool is_open = false;
  bool bad_timeout = false;
  Right right = Right::kNone;  // of the token that came
  std::string path;
  std::string traceparent;                                   // of W3C Trace Context, or empty
  std::vector<std::pair<std::string, std::string>> headers;  // for Python's calls only
  std::size_t header_bytes = 0;
  Nanos timeout = kNever;   // grpc-timeout
  Nanos deadline = kNever;  // and when that is over
  GrpcReader in;
  std::size_t held_bytes = 0;        // of `in`, as the door has counted them
  std::size_t unconsumed_bytes = 0;  // of the window, while paused
  std::vector<std::uint64_t> calls;  // under way
  Nanos began = kNever;
  Pace arriving;                  // of a message that is not whole
  Pace leaving;                   // of answers that wait for the peer's window
  std::uint64_t left_before = 0;  // of out.moved(), when it was looked at last

  static constexpr std::size_t kMostUnsent = 4 << 20;

  bool is_stream() const { return method == GrpcMethod::kModelStreamInfer; }
  // Nothing is under way and nothing more comes.
  bool is_finished() const { return remote_ended && !is_paused && calls.empty(); }
  // More answers wait than a peer that reads leaves.
  bool is_behind() const { return out.size() >= kMostUnsent; }
  // Ready for another call; keeps the memory of buffers.
  void reuse();
};

}  // namespace glet::web
