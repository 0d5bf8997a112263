#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>

#include "glet/web/grpc_body.h"
#include "glet/web/h2_library.h"

namespace glet::web {

// One exchange of a connection: a request and what is answered to it. Whoever makes them derives
// from it; the session only points to them, from on_request() to on_close().
struct H2Stream {
  std::int32_t id = 0;
  bool remote_ended = false;  // the peer sends nothing more
  bool answered = false;      // response headers are on their way
  bool ended = false;         // nothing follows what is in `out` but the trailers
  bool closed = false;
  OutBody out;
  std::uint32_t status = 0;    // grpc-status of the trailers
  std::string status_message;  // grpc-message, encoded
};

struct H2Limits {
  std::uint32_t max_streams = 1024;             // at once on one connection
  std::uint32_t max_header_bytes = 16 << 10;    // of one request, as RFC 9113 6.5.2 counts them
  std::uint32_t max_frame_bytes = 1 << 20;      // of DATA towards us
  std::uint32_t stream_window_bytes = 4 << 20;  // what a peer may send ahead on a stream
  std::uint32_t connection_window_bytes = 32 << 20;  // and on all of a connection
  std::uint64_t control_burst = 10'000;              // frames that carry no request, at once
  std::uint64_t control_per_s = 5'000;               // and from then on
};

// The server's side of one HTTP/2 connection, without its socket: bytes in, events out; answers in,
// bytes out. HTTP/2 itself is nghttp2's.
class H2Session {
 public:
  // What a peer did. Called from receive() and produce(); none of them may call those two.
  class Events {
   public:
    virtual ~Events() = default;
    virtual H2Stream& on_request(std::int32_t id) = 0;
    virtual void on_header(H2Stream& stream, std::string_view name, std::string_view value) = 0;
    virtual void on_headers_end(H2Stream& stream) = 0;
    virtual void on_data(H2Stream& stream, std::span<const std::byte> bytes) = 0;
    virtual void on_end(H2Stream& stream) = 0;
    // The last that is heard of a stream. Not called for those that a session leaves behind when it
    // is destroyed.
    virtual void on_close(H2Stream& stream) = 0;
    // A frame that carries no request: PING, SETTINGS, RST_STREAM, PRIORITY, or DATA of no bytes.
    virtual void on_control() = 0;
    virtual void on_pong() = 0;
  };

  // Throws DeviceError when there is no memory.
  H2Session(const h2::Api& api, Events& events, const H2Limits& limits);
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;
  ~H2Session();

  // False when the connection cannot go on: `error()` says why. What is to be sent then is still
  // worth sending.
  bool receive(std::span<const std::byte> bytes);
  const std::string& error() const { return error_; }
  // True when the peer does not speak HTTP/2 at all.
  bool is_stranger() const { return is_stranger_; }

  // Response headers of a gRPC answer; its messages go into `stream.out`, then resume() or end().
  void answer(H2Stream& stream, bool gzip);
  void resume(H2Stream& stream);
  // Trailers after what is in `stream.out`; without answer() before, they are all of the answer.
  void end(H2Stream& stream, std::uint32_t status, std::string_view message);
  // An answer of HTTP without a body, for what is not gRPC.
  void refuse(H2Stream& stream, std::string_view http_status);
  // The peer may send `bytes` more on the stream.
  void consume(const H2Stream& stream, std::size_t bytes);
  void reset(const H2Stream& stream, std::uint32_t error);

  void ping();
  // The peer is to open no more streams; those that are open go on.
  void announce_end();
  void refuse_new();
  // Ends the connection once what is queued is sent.
  void terminate(std::uint32_t error);

  // Appends frames to `queue` until that holds about `enough` bytes or there are none; false when
  // the connection cannot go on.
  bool produce(WriteQueue& queue, std::size_t enough);
  // False when neither side has anything to say any more.
  bool is_open() const;

 private:
  struct Calls;  // what nghttp2 calls; h2_session.cpp

  H2Stream* find(std::int32_t id) const;
  void trailers(H2Stream& stream);

  const h2::Api& api_;
  Events& events_;
  h2::Session* session_ = nullptr;
  WriteQueue* queue_ = nullptr;  // during produce()
  std::exception_ptr thrown_;
  std::string error_;
  bool is_stranger_ = false;
};

}  // namespace glet::web
