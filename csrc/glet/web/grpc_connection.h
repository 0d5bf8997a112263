#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "glet/time.h"
#include "glet/web/grpc_stream.h"
#include "glet/web/guard.h"
#include "glet/web/h2_session.h"

namespace glet::web {

struct GrpcLimits {
  H2Limits h2;
  std::size_t max_message_bytes = 64 << 20;  // also after decompression
  std::size_t max_connections = 1024;
  std::size_t max_held_bytes = std::size_t{1} << 30;  // of messages that are not whole, together
  std::size_t max_ahead = 64;                         // requests under way of one ModelStreamInfer
  Nanos handshake = std::chrono::seconds(10);         // until a peer has said hello
  Nanos idle = std::chrono::minutes(10);              // without a call
  Nanos keepalive = std::chrono::seconds(30);         // silence before a ping
  Nanos pong = std::chrono::seconds(20);              // and before the peer counts as gone
  Nanos stall = std::chrono::seconds(30);             // of bytes that do not move: Pace
  Nanos python = std::chrono::seconds(30);            // for what Python answers
  // The same where a model is loaded or unloaded: Python gives up before (serve/loading.py).
  Nanos loading = std::chrono::minutes(16);
};

class GrpcConnection;

// What a connection asks of the calls.
class GrpcHandler {
 public:
  virtual ~GrpcHandler() = default;
  // The message at hand of `stream.in` is one request of the call.
  virtual void serve(GrpcConnection& connection, GrpcStream& stream, Nanos now) = 0;
  // The stream is gone: nothing is answered to it any more.
  virtual void abandon(GrpcStream& stream) = 0;
};

// What the connections of a door have together.
struct GrpcShared {
  const h2::Api& api;
  GrpcLimits limits;
  GrpcHandler& handler;
  GuardView guard;
  std::size_t held_bytes = 0;          // of messages that are not whole
  std::size_t unsent_bytes = 0;        // of answers, when they were counted last
  std::vector<GrpcConnection*> dirty;  // with something to send
};

// One peer: its socket, its HTTP/2 session and its calls. The door drives it.
class GrpcConnection : private H2Session::Events {
 public:
  // Takes `fd`, a non-blocking socket, as the guard's TLS or as it is.
  GrpcConnection(int fd, std::uint64_t number, GrpcShared& shared, Nanos now);
  ~GrpcConnection() override;
  GrpcConnection(const GrpcConnection&) = delete;
  GrpcConnection& operator=(const GrpcConnection&) = delete;

  int fd() const { return channel_.fd(); }
  bool is_shaking() const { return channel_.is_shaking(); }
  std::uint64_t number() const { return number_; }

  enum class Read { kDrained, kMore, kGone };
  // A bounded burst from the socket, through `buffer`.
  Read receive(std::span<std::byte> buffer, Nanos now);
  // Goes on with streams that waited, and writes what there is. False when the connection is over.
  bool flush(Nanos now);
  // The socket took less than there is: flush() again when it can be written to.
  bool is_blocked() const { return is_blocked_; }
  // A peer that does not read is not read for long either: what it sends would have to be answered.
  bool is_deaf() const { return is_blocked_ && heard_blocked_ > kMostHeardBlocked; }
  void writable() { mark_dirty(); }
  std::uint32_t interest = 0;  // what the door's epoll waits for

  // Keepalive and limits in time. False when the connection is over.
  bool tick(Nanos now);
  // The same for what is slow or much; dearer, some times a second. Counts `unsent_bytes`.
  bool sweep(Nanos now);
  // Has answers that its peer does not take.
  bool is_hoarding() const { return is_stuck_ && unsent_bytes_ > GrpcStream::kMostUnsent; }
  // No new calls; the connection ends with the last that is under way.
  void stop();

  // Answers that are under way or not with the system yet.
  std::size_t unsent() const;

  // For the handler. The messages of an answer go to `stream.out` after answer(), and then comes
  // sent() or end().
  void answer(GrpcStream& stream, bool gzip) { session_.answer(stream, gzip); }
  void sent(GrpcStream& stream);
  void end(GrpcStream& stream, std::uint32_t status, std::string_view message);
  // A request of the stream has ended: more of it may begin, or the stream is over.
  void released(GrpcStream& stream);

 private:
  H2Stream& on_request(std::int32_t id) override;
  void on_header(H2Stream& stream, std::string_view name, std::string_view value) override;
  void on_headers_end(H2Stream& stream) override;
  void on_data(H2Stream& stream, std::span<const std::byte> bytes) override;
  void on_end(H2Stream& stream) override;
  void on_close(H2Stream& stream) override;
  void on_control() override;
  void on_pong() override { pinged_ = kNever; }

  void begin(GrpcStream& stream);
  bool admit(GrpcStream& stream);
  void take_unary(GrpcStream& stream);
  void take_stream(GrpcStream& stream);
  void refuse_message(GrpcStream& stream, GrpcReader::Next why);
  void count_held(GrpcStream& stream);
  bool write();
  void mark_dirty();
  void tell_stranger();
  void end_streams();
  void end_at_once();
  void look_at_arriving(GrpcStream& stream);
  void look_at_leaving(GrpcStream& stream);

  std::uint64_t number_;
  GrpcShared& shared_;
  Channel channel_;
  H2Session session_;
  WriteQueue queue_;
  std::vector<std::unique_ptr<GrpcStream>> streams_;  // open, or to be used again
  std::vector<GrpcStream*> spare_;
  static constexpr std::size_t kMostHeardBlocked = 1 << 20;
  std::size_t heard_blocked_ = 0;  // bytes that came while nothing could be written
  std::size_t unsent_bytes_ = 0;   // of answers; this connection's part of the door's
  Pace leaving_;
  std::vector<GrpcStream*> queued_;  // paused ones that may go on
  std::size_t open_ = 0;
  Nanos now_;
  Nanos began_;
  Nanos last_heard_;
  Nanos last_call_;
  Nanos pinged_ = kNever;  // when a ping went out that is not answered
  Nanos forgiven_;         // until when control frames are
  double control_ = 0;     // frames that carry no request, less what was forgiven
  bool has_spoken_ = false;
  bool is_blocked_ = false;
  bool is_stuck_ = false;     // something is to be sent and did not move lately
  bool some_behind_ = false;  // a stream is paused, maybe until answers are sent
  bool is_dirty_ = false;
  bool is_stopping_ = false;
  bool refuses_new_ = false;
  bool is_over_ = false;  // write what there is, then close
};

}  // namespace glet::web
