#include "glet/web/grpc_connection.h"
#include "glet/web/grpc_status.h"

// What a connection refuses and ends.
namespace glet::web {

// By the headers: of who may not, no message is kept.
bool GrpcConnection::admit(GrpcStream& stream) {
  if (shared_.guard.tokens() == nullptr) return true;
  if (allows(stream.right, grpc_need(stream.method, stream.path))) return true;
  const bool is_known = stream.right != Right::kNone;
  end(stream, grpc_code(is_known ? GrpcStatus::kPermissionDenied : GrpcStatus::kUnauthenticated),
      is_known ? kNoRight : kNoToken);
  return false;
}

void GrpcConnection::sent(GrpcStream& stream) {
  session_.resume(stream);
  mark_dirty();
}

void GrpcConnection::end(GrpcStream& stream, std::uint32_t status, std::string_view message) {
  if (status == 0) {
    session_.end(stream, status, {});
  } else {
    session_.end(stream, status, grpc_message(message));
  }
  // What else comes is not looked at.
  if (stream.is_stream() || status != 0) stream.in.clear();
  shared_.handler.abandon(stream);
  mark_dirty();
}

void GrpcConnection::released(GrpcStream& stream) {
  if (!stream.is_stream() || stream.ended) return;
  if (stream.is_paused) {
    some_behind_ = true;
    if (stream.is_queued || stream.calls.size() > shared_.limits.max_ahead / 2) return;
    if (stream.is_behind()) return;
    stream.is_queued = true;
    queued_.push_back(&stream);
    mark_dirty();
    return;
  }
  if (stream.is_finished() && stream.in.at_end()) end(stream, grpc_code(GrpcStatus::kOk), {});
}

}  // namespace glet::web
