#include <algorithm>
#include <utility>

#include "glet/web/grpc_connection.h"
#include "glet/web/grpc_status.h"

// What a peer may take of time and memory, and how a connection ends.
namespace glet::web {

// ---- time ----

bool GrpcConnection::tick(Nanos now) {
  now_ = now;
  const GrpcLimits& limits = shared_.limits;
  if (!has_spoken_ && now - began_ > limits.handshake) return false;
  if (pinged_ != kNever && now - pinged_ > limits.pong) return false;
  if (pinged_ == kNever && now - last_heard_ > limits.keepalive) {
    pinged_ = now;
    session_.ping();
    mark_dirty();
  }
  if (is_stopping_ && !refuses_new_) {
    refuses_new_ = true;
    session_.refuse_new();
    mark_dirty();
  }
  if (is_stopping_) end_streams();
  if (open_ == 0 && now - last_call_ > limits.idle) stop();
  return true;
}

bool GrpcConnection::sweep(Nanos now) {
  now_ = now;
  if (leaving_.is_too_slow(now, shared_.limits.stall)) return false;
  std::size_t unsent = queue_.size();
  is_stuck_ = is_blocked_;
  for (const auto& stream : streams_) {
    if (!stream->is_open) continue;
    if (!stream->has_headers && now - stream->began > shared_.limits.handshake) return false;
    unsent += stream->out.size();
    look_at_arriving(*stream);
    if (stream->is_open) look_at_leaving(*stream);
  }
  shared_.unsent_bytes += unsent - std::exchange(unsent_bytes_, unsent);
  return true;
}

// A unary call is waited for until it is whole; a stream only within a message.
void GrpcConnection::look_at_arriving(GrpcStream& stream) {
  const bool is_waited_for = stream.has_headers && !stream.remote_ended && !stream.ended &&
                             !stream.is_paused && !(stream.is_stream() && stream.in.at_end());
  if (!is_waited_for) return stream.arriving.end();
  stream.arriving.begin(now_);
  if (!stream.arriving.is_too_slow(now_, shared_.limits.stall)) return;
  end(stream, grpc_code(GrpcStatus::kDeadlineExceeded), "the request did not come in time");
}

// Of a peer that never opens the window of a stream: its other streams go on.
void GrpcConnection::look_at_leaving(GrpcStream& stream) {
  const std::uint64_t moved = stream.out.moved();
  const std::uint64_t left = moved - std::exchange(stream.left_before, moved);
  if (stream.out.empty()) return stream.leaving.end();
  stream.leaving.begin(now_);
  if (left > 0) stream.leaving.moved(left, now_);
  is_stuck_ |= left == 0;
  if (!stream.leaving.is_too_slow(now_, shared_.limits.stall)) return;
  stream.leaving.end();
  shared_.handler.abandon(stream);
  session_.reset(stream, h2::kEnhanceYourCalm);
  mark_dirty();
}

// Twice, because calls that the peer opened before it hears the first are served: RFC 9113, 6.8.
void GrpcConnection::stop() {
  if (is_stopping_) return;
  is_stopping_ = true;
  is_over_ = is_over_ || is_shaking();
  session_.announce_end();
  mark_dirty();
}

// A stream may stay open for as long as its client likes, also with nothing under way.
void GrpcConnection::end_streams() {
  for (const auto& stream : streams_) {
    const bool is_idle = stream->is_open && stream->is_stream() && stream->calls.empty();
    if (!is_idle || stream->ended) continue;
    end(*stream, grpc_code(GrpcStatus::kUnavailable), "this frontend is stopping");
  }
}

std::size_t GrpcConnection::unsent() const {
  std::size_t count = queue_.size() > 0 || channel_.is_sending() ? 1 : 0;
  for (const auto& stream : streams_) {
    if (!stream->is_open) continue;
    if (stream->ended || !stream->out.empty() || !stream->calls.empty()) ++count;
  }
  return count;
}

// A bucket that leaks: what comes faster for long is no client.
void GrpcConnection::on_control() {
  has_spoken_ = true;
  const H2Limits& limits = shared_.limits.h2;
  const double passed_s = std::chrono::duration<double>(now_ - forgiven_).count();
  forgiven_ = now_;
  control_ = std::max(0.0, control_ - passed_s * static_cast<double>(limits.control_per_s)) + 1;
  if (control_ > static_cast<double>(limits.control_burst)) end_at_once();
}

void GrpcConnection::end_at_once() {
  if (std::exchange(is_over_, true)) return;
  session_.terminate(h2::kEnhanceYourCalm);
}

}  // namespace glet::web
