#include "glet/web/grpc_calls.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "glet/error.h"
#include "glet/web/grpc_messages.h"
#include "glet/web/zlib.h"

namespace glet::web {
namespace {

// A message beyond this is handed on as it lies; rows of a smaller one are copied.
constexpr std::size_t kKeptMessage = 16 << 10;
constexpr double kNanosPerMicro = 1e3;
constexpr double kMicrosPerMilli = 1e3;
constexpr double kDayUs = 24 * 3600 * 1e6;

std::string_view text_view(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// An answer is compressed when its call was, and the client reads gzip.
bool wants_gzip(const GrpcStream& stream) {
  return stream.encoding == GrpcEncoding::kPacked && stream.accepts_gzip && has_zlib();
}

}  // namespace

void GrpcCalls::attach(net::DoorHost& host, std::uint64_t door) {
  host_ = &host;
  door_ = door;
  oip_.attach(host);
}

void GrpcCalls::serve(GrpcConnection& connection, GrpcStream& stream, Nanos now) {
  if (stream.in.compressed()) return serve_packed(connection, stream, now);
  const std::span<const std::byte> message = stream.in.message();
  std::shared_ptr<const void> keep;
  if (message.size() >= kKeptMessage) keep = stream.in.keep();
  serve_message(connection, stream, message, keep, now);
}

void GrpcCalls::serve_packed(GrpcConnection& connection, GrpcStream& stream, Nanos now) {
  if (stream.encoding != GrpcEncoding::kPacked) {
    return fail(connection, stream, {}, GrpcStatus::kInvalidArgument,
                "a compressed message without a grpc-encoding that says how");
  }
  if (!has_zlib()) {
    return fail(
        connection, stream, {}, GrpcStatus::kUnimplemented,
        "compression needs libz.so.1, which this frontend does not have; identity is valid");
  }
  std::string reason;
  auto plain = inflate(text_view(stream.in.message()), limits_.max_message_bytes, reason);
  if (!plain) return fail(connection, stream, {}, GrpcStatus::kInvalidArgument, reason);
  const auto keep = std::make_shared<const std::string>(*std::move(plain));
  serve_message(connection, stream, std::as_bytes(std::span(*keep)), keep, now);
}

void GrpcCalls::serve_message(GrpcConnection& connection, GrpcStream& stream,
                              std::span<const std::byte> message,
                              const std::shared_ptr<const void>& keep, Nanos now) {
  try {
    switch (stream.method) {
      case GrpcMethod::kModelInfer:
      case GrpcMethod::kModelStreamInfer:
        return infer(connection, stream, message, keep, now);
      case GrpcMethod::kServerLive:
        return answer_flag(connection, stream, true);
      case GrpcMethod::kServerReady:
        return answer_flag(connection, stream, host_->server_ready());
      case GrpcMethod::kModelReady:
        return answer_flag(connection, stream, is_ready(message));
      case GrpcMethod::kPython:
        return ask_python(connection, stream, message, now);
      case GrpcMethod::kUnknown:
        return;  // refused with its headers
    }
  } catch (const WireError& e) {
    fail(connection, stream, {}, GrpcStatus::kInvalidArgument, e.what());
  }
}

void GrpcCalls::answer_flag(GrpcConnection& connection, GrpcStream& stream, bool value) {
  connection.answer(stream, false);
  write_flag(value, stream.out);
  connection.end(stream, grpc_code(GrpcStatus::kOk), {});
}

bool GrpcCalls::is_ready(std::span<const std::byte> message) const {
  const GrpcModelReady asked = read_model_ready(message);
  return !refuse_model(*host_, asked.name, asked.version) && host_->is_ready(asked.name);
}

void GrpcCalls::ask_python(GrpcConnection& connection, GrpcStream& stream,
                           std::span<const std::byte> message, Nanos now) {
  auto [tag, call] = calls_.take();
  *call = {};
  call->connection = &connection;
  call->stream = &stream;
  const bool loads = stream.path.ends_with("/RepositoryModelLoad") ||
                     stream.path.ends_with("/RepositoryModelUnload");
  call->overdue = now + (loads ? limits_.loading : limits_.python);
  stream.calls.push_back(tag);
  net::WebRequest request;
  request.door = door_;
  request.call = tag;
  request.protocol = "grpc";
  request.target = stream.path;
  request.headers = std::move(stream.headers);
  request.body = text_view(message);
  host_->ask_python(std::move(request));
}

void GrpcCalls::infer(GrpcConnection& connection, GrpcStream& stream,
                      std::span<const std::byte> message, const std::shared_ptr<const void>& keep,
                      Nanos now) {
  OipRequest request;
  Call asked;
  asked.connection = &connection;
  asked.stream = &stream;
  try {
    read_infer(message, keep, limits_.max_message_bytes, request);
    if (stream.deadline <= now) {
      host_->count_refused(request.model, exec::Outcome::kLate);
      return fail(connection, stream, asked, GrpcStatus::kDeadlineExceeded,
                  "the call's grpc-timeout has passed already");
    }
    request.timeout_us = timeout_us(request, stream, now);
  } catch (const WireError& e) {
    host_->count_refused(request.model, exec::Outcome::kInvalid);
    asked.model = request.model;
    asked.id = request.id;
    return fail(connection, stream, asked, GrpcStatus::kInvalidArgument, e.what());
  }
  if (stream.is_stream()) {
    asked.model = request.model;
    asked.id = request.id;
  }
  auto [tag, call] = calls_.take();
  *call = std::move(asked);
  stream.calls.push_back(tag);
  request.traceparent = stream.traceparent;
  const std::uint64_t inference = oip_.start(tag, request, now);
  if (Call* started = calls_.find(tag)) started->inference = inference;
}

// What is left of a unary call is its deadline; a stream goes on for longer than its requests,
// which have a deadline of their own or the model's SLO, cut to what is left of the stream.
std::optional<double> GrpcCalls::timeout_us(const OipRequest& request, const GrpcStream& stream,
                                            Nanos now) const {
  if (stream.deadline == kNever) return request.timeout_us;
  const double left_us =
      std::min(kDayUs, static_cast<double>((stream.deadline - now).count()) / kNanosPerMicro);
  if (request.timeout_us.value_or(0) > 0) return std::min(left_us, *request.timeout_us);
  if (!stream.is_stream()) return left_us;
  const net::ServedModel* model = host_->find_model(request.model);
  if (model == nullptr || model->slo_ms() * kMicrosPerMilli < left_us) return request.timeout_us;
  return left_us;
}

void GrpcCalls::abandon(GrpcStream& stream) {
  for (const std::uint64_t tag : stream.calls) {
    Call* call = calls_.find(tag);
    if (call == nullptr) continue;
    const std::uint64_t inference = call->inference;
    calls_.release(tag);
    if (inference != 0) oip_.cancel(inference);
  }
  stream.calls.clear();
}

void GrpcCalls::release(std::uint64_t tag) {
  const Call& call = *calls_.find(tag);
  GrpcConnection& connection = *call.connection;
  GrpcStream& stream = *call.stream;
  std::erase(stream.calls, tag);
  calls_.release(tag);
  connection.released(stream);
}

// ---- answers ----

void GrpcCalls::oip_done(std::uint64_t tag, OipResponse response) {
  const Call* call = calls_.find(tag);
  if (call == nullptr) return;
  GrpcConnection& connection = *call->connection;
  GrpcStream& stream = *call->stream;
  const bool packed = wants_gzip(stream);
  connection.answer(stream, packed);
  write_response(response, stream.is_stream(), packed ? plain_ : stream.out);
  if (packed) pack_message(plain_, stream.out);
  if (stream.is_stream()) connection.sent(stream);
  release(tag);
  if (!stream.is_stream()) connection.end(stream, grpc_code(GrpcStatus::kOk), {});
}

void GrpcCalls::oip_failed(std::uint64_t tag, OipCode reason, std::string_view message) {
  Call* call = calls_.find(tag);
  if (call == nullptr) return;
  call->inference = 0;
  GrpcConnection& connection = *call->connection;
  GrpcStream& stream = *call->stream;
  fail(connection, stream, *call, grpc_status(reason), message);
  if (calls_.find(tag) != nullptr) release(tag);
}

// A stream goes on after what failed in it.
void GrpcCalls::fail(GrpcConnection& connection, GrpcStream& stream, const Call& call,
                     GrpcStatus status, std::string_view message) {
  if (!stream.is_stream()) return connection.end(stream, grpc_code(status), message);
  connection.answer(stream, wants_gzip(stream));
  write_stream_error(call.model, call.id, message, stream.out);
  connection.sent(stream);
}

void GrpcCalls::web_answer(std::uint64_t tag, const net::WebAnswer& answer) {
  const Call* call = calls_.find(tag);
  if (call == nullptr) return;
  GrpcConnection& connection = *call->connection;
  GrpcStream& stream = *call->stream;
  if (answer.status == 0) {
    connection.answer(stream, false);
    write_message(answer.body, stream.out);
    return connection.end(stream, grpc_code(GrpcStatus::kOk), {});
  }
  connection.end(stream, static_cast<std::uint32_t>(answer.status), answer.body);
}

void GrpcCalls::tick(Nanos now) {
  const auto overdue = calls_.tags_where([now](const Call& call) { return now > call.overdue; });
  for (const std::uint64_t tag : overdue) {
    const Call& call = *calls_.find(tag);
    call.connection->end(*call.stream, grpc_code(GrpcStatus::kDeadlineExceeded),
                         "this frontend did not answer in time");
  }
}

}  // namespace glet::web
