#include "glet/web/grpc_connection.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "glet/web/grpc_status.h"

namespace glet::web {
namespace {

constexpr int kReads = 4;                     // of one connection before the others get a turn
constexpr std::size_t kWriteBytes = 1 << 20;  // framed at once
constexpr std::size_t kHeaderOverhead = 32;   // of a header, as RFC 9113 counts it
constexpr std::size_t kLongestPath = 512;
constexpr std::size_t kHeaderBomb = 16;  // times what headers may have

GrpcStream& own(H2Stream& stream) {
  return static_cast<GrpcStream&>(stream);
}

}  // namespace

GrpcConnection::GrpcConnection(int fd, std::uint64_t number, GrpcShared& shared, Nanos now)
    : number_(number),
      shared_(shared),
      channel_(fd, shared.guard.begin(Alpn::kH2)),
      session_(shared.api, *this, shared.limits.h2),
      now_(now),
      began_(now),
      last_heard_(now),
      last_call_(now),
      forgiven_(now) {}

GrpcConnection::~GrpcConnection() {
  for (const auto& stream : streams_) {
    if (!stream->is_open) continue;
    shared_.handler.abandon(*stream);
    shared_.held_bytes -= stream->held_bytes;
  }
  shared_.unsent_bytes -= unsent_bytes_;
  if (is_dirty_) std::erase(shared_.dirty, this);
}

// ---- the socket ----

GrpcConnection::Read GrpcConnection::receive(std::span<std::byte> buffer, Nanos now) {
  now_ = now;
  // What TLS holds, the socket does not tell of again.
  for (int i = 0; (i < kReads || channel_.has_pending()) && !is_deaf(); ++i) {
    const ssize_t got = channel_.read(buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (channel_.is_sending()) mark_dirty();
      return Read::kDrained;
    }
    if (got <= 0) return Read::kGone;
    last_heard_ = now;
    const auto size = static_cast<std::size_t>(got);
    if (is_blocked_) heard_blocked_ += size;
    if (!session_.receive(buffer.first(size))) {
      if (session_.is_stranger()) tell_stranger();
      return Read::kGone;
    }
    mark_dirty();
    if (!channel_.may_have_more() && !channel_.has_pending()) return Read::kDrained;
  }
  return is_deaf() ? Read::kDrained : Read::kMore;
}

// A browser or a REST client at the wrong port should hear more than a closed connection. Nothing
// was sent yet: our settings wait for the peer's first bytes.
void GrpcConnection::tell_stranger() {
  constexpr std::string_view kLine = "this port speaks gRPC, over HTTP/2 and not HTTP/1.1\n";
  std::string answer =
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
      "Content-Length: " +
      std::to_string(kLine.size()) + "\r\n\r\n" + std::string(kLine);
  iovec whole{answer.data(), answer.size()};
  [[maybe_unused]] const ssize_t sent = channel_.write({&whole, 1});
}

bool GrpcConnection::flush(Nanos now) {
  now_ = now;
  is_dirty_ = false;
  std::vector<GrpcStream*> going_on;
  going_on.swap(queued_);
  for (GrpcStream* stream : going_on) {
    stream->is_queued = false;
    if (!stream->is_open || stream->ended) continue;
    stream->is_paused = false;
    take_stream(*stream);
    count_held(*stream);
    if (stream->is_paused) continue;
    session_.consume(*stream, std::exchange(stream->unconsumed_bytes, 0));
    if (stream->remote_ended) on_end(*stream);
  }
  const bool goes_on = write();
  if (std::exchange(some_behind_, false)) {
    for (const auto& stream : streams_) {
      if (stream->is_open && stream->is_paused) released(*stream);
    }
  }
  return goes_on;
}

bool GrpcConnection::write() {
  is_blocked_ = false;
  while (true) {
    if (queue_.size() == 0) {
      // Settings wait for the handshake.
      if (!channel_.is_shaking() && !session_.produce(queue_, kWriteBytes)) return false;
      if (queue_.size() == 0 && !channel_.is_sending()) break;
    }
    leaving_.begin(now_);
    const ssize_t written = queue_.write_to(channel_);
    if (written > 0) leaving_.moved(static_cast<std::size_t>(written), now_);
    if (written >= 0 || errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
    is_blocked_ = true;
    return true;
  }
  leaving_.end();
  heard_blocked_ = 0;
  // Between the two GOAWAYs of an end calls may still come.
  return !is_over_ && (session_.is_open() || (is_stopping_ && !refuses_new_));
}

void GrpcConnection::mark_dirty() {
  if (is_dirty_) return;
  is_dirty_ = true;
  shared_.dirty.push_back(this);
}

// ---- what the peer does ----

H2Stream& GrpcConnection::on_request(std::int32_t) {
  GrpcStream* stream = nullptr;
  if (spare_.empty()) {
    streams_.push_back(std::make_unique<GrpcStream>());
    stream = streams_.back().get();
  } else {
    stream = spare_.back();
    spare_.pop_back();
  }
  stream->is_open = true;
  stream->closed = false;
  stream->began = now_;
  ++open_;
  has_spoken_ = true;
  return *stream;
}

void GrpcConnection::on_header(H2Stream& base, std::string_view name, std::string_view value) {
  GrpcStream& stream = own(base);
  if (stream.has_headers) return;  // trailers say nothing that is of use here
  stream.header_bytes += name.size() + value.size() + kHeaderOverhead;
  if (stream.header_bytes > shared_.limits.h2.max_header_bytes) {
    // A few bytes of a compressed header may say thousands, as often as a frame has room for.
    if (stream.header_bytes > kHeaderBomb * shared_.limits.h2.max_header_bytes) end_at_once();
    return;
  }
  if (name == ":path") {
    stream.path.assign(value.substr(0, kLongestPath));
    stream.method = grpc_method(value);
  } else if (name == ":method") {
    stream.is_post = value == "POST";
  } else if (name == "content-type") {
    constexpr std::string_view kType = "application/grpc";
    stream.is_grpc =
        value.starts_with(kType) &&
        (value.size() == kType.size() || value[kType.size()] == '+' || value[kType.size()] == ';');
  } else if (name == "grpc-encoding") {
    stream.encoding = value == "gzip" || value == "deflate" ? GrpcEncoding::kPacked
                      : value == "identity"                 ? GrpcEncoding::kIdentity
                                                            : GrpcEncoding::kUnknown;
  } else if (name == "grpc-accept-encoding") {
    stream.accepts_gzip = value.find("gzip") != std::string_view::npos;
  } else if (name == "grpc-timeout") {
    const auto timeout_ns = grpc_timeout_ns(value);
    stream.bad_timeout = !timeout_ns;
    if (timeout_ns) stream.timeout = Nanos(*timeout_ns);
  } else if (name == "traceparent") {
    stream.traceparent = value;
  } else if (name == "authorization") {
    if (const Tokens* tokens = shared_.guard.tokens())
      stream.right = tokens->right_of_header(value);
  }
  if (stream.method == GrpcMethod::kPython && !name.starts_with(':')) {
    stream.headers.emplace_back(name, value);
  }
}

void GrpcConnection::on_headers_end(H2Stream& base) {
  GrpcStream& stream = own(base);
  if (stream.has_headers) return;
  stream.has_headers = true;
  last_call_ = now_;
  begin(stream);
}

void GrpcConnection::begin(GrpcStream& stream) {
  const std::size_t most = shared_.limits.h2.max_header_bytes;
  if (stream.header_bytes > most) {
    return end(stream, grpc_code(GrpcStatus::kResourceExhausted),
               "headers of " + std::to_string(stream.header_bytes) + " bytes; up to " +
                   std::to_string(most) + " are valid");
  }
  if (!stream.is_post) return session_.refuse(stream, "405");
  if (!stream.is_grpc) return session_.refuse(stream, "415");
  if (!admit(stream)) return;
  if (stream.method == GrpcMethod::kUnknown) {
    return end(stream, grpc_code(GrpcStatus::kUnimplemented),
               "no method '" + stream.path +
                   "'; valid are those of inference.GRPCInferenceService and "
                   "grpc.health.v1.Health/Check");
  }
  if (stream.encoding == GrpcEncoding::kUnknown) {
    return end(stream, grpc_code(GrpcStatus::kUnimplemented),
               "unknown grpc-encoding; valid: identity, gzip, deflate");
  }
  if (stream.bad_timeout) {
    return end(stream, grpc_code(GrpcStatus::kInvalidArgument),
               "malformed grpc-timeout; valid are up to eight digits and one of H M S m u n");
  }
  if (stream.timeout != kNever) stream.deadline = later_by(now_, stream.timeout);
}

void GrpcConnection::on_data(H2Stream& base, std::span<const std::byte> bytes) {
  GrpcStream& stream = own(base);
  if (stream.is_paused) {
    stream.unconsumed_bytes += bytes.size();
  } else {
    session_.consume(stream, bytes.size());
  }
  if (stream.ended) return;
  last_call_ = now_;
  stream.arriving.moved(bytes.size(), now_);
  stream.in.append(bytes);
  if (stream.is_stream()) {
    if (!stream.is_paused) take_stream(stream);
  } else {
    take_unary(stream);
  }
  count_held(stream);
}

// The one message of a call waits in the reader until the call is known to have no other.
void GrpcConnection::take_unary(GrpcStream& stream) {
  const std::size_t longest = shared_.limits.max_message_bytes;
  if (!stream.has_message) {
    const GrpcReader::Next next = stream.in.next(longest);
    if (next == GrpcReader::Next::kNone) return;
    if (next != GrpcReader::Next::kMessage) return refuse_message(stream, next);
    stream.has_message = true;
  }
  if (stream.in.at_end()) return;
  end(stream, grpc_code(GrpcStatus::kUnimplemented),
      "more than one message in a call of " + stream.path + "; it takes exactly one");
}

void GrpcConnection::take_stream(GrpcStream& stream) {
  const GrpcLimits& limits = shared_.limits;
  while (!stream.ended) {
    if (stream.calls.size() >= limits.max_ahead || stream.is_behind()) {
      stream.is_paused = true;
      some_behind_ = true;
      return;
    }
    const GrpcReader::Next next = stream.in.next(limits.max_message_bytes);
    if (next == GrpcReader::Next::kNone) return;
    if (next != GrpcReader::Next::kMessage) return refuse_message(stream, next);
    shared_.handler.serve(*this, stream, now_);
  }
}

void GrpcConnection::refuse_message(GrpcStream& stream, GrpcReader::Next why) {
  if (why == GrpcReader::Next::kTooLong) {
    return end(stream, grpc_code(GrpcStatus::kResourceExhausted),
               "a message of " + std::to_string(stream.in.length()) + " bytes; up to " +
                   std::to_string(shared_.limits.max_message_bytes) + " are valid");
  }
  end(stream, grpc_code(GrpcStatus::kInvalidArgument),
      "malformed gRPC message: its first byte says neither 0 (as it is) nor 1 (compressed)");
}

void GrpcConnection::count_held(GrpcStream& stream) {
  shared_.held_bytes += stream.in.size() - stream.held_bytes;
  stream.held_bytes = stream.in.size();
  if (shared_.held_bytes <= shared_.limits.max_held_bytes || stream.ended) return;
  end(stream, grpc_code(GrpcStatus::kResourceExhausted),
      "too much is being sent to this frontend at once; try again later");
}

void GrpcConnection::on_end(H2Stream& base) {
  GrpcStream& stream = own(base);
  if (stream.ended) return;
  if (stream.is_stream()) {
    if (stream.is_paused) return;
    if (!stream.in.at_end()) {
      return end(stream, grpc_code(GrpcStatus::kInvalidArgument), "the call ends within a message");
    }
    if (stream.calls.empty()) end(stream, grpc_code(GrpcStatus::kOk), {});
    return;
  }
  if (!stream.has_message) {
    const bool is_empty = stream.in.size() == 0;
    return end(stream,
               grpc_code(is_empty ? GrpcStatus::kUnimplemented : GrpcStatus::kInvalidArgument),
               is_empty ? "no message in a call of " + stream.path + "; it takes exactly one"
                        : "the call ends within a message");
  }
  shared_.handler.serve(*this, stream, now_);
  stream.in.clear();
  count_held(stream);
}

void GrpcConnection::on_close(H2Stream& base) {
  GrpcStream& stream = own(base);
  shared_.handler.abandon(stream);
  shared_.held_bytes -= stream.held_bytes;
  stream.is_open = false;
  --open_;
  last_call_ = now_;
  if (stream.is_queued) std::erase(queued_, &stream);
  stream.reuse();
  stream.closed = true;  // until it is opened again
  spare_.push_back(&stream);
}

}  // namespace glet::web
