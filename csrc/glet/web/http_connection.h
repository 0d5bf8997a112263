#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "glet/time.h"
#include "glet/web/channel.h"
#include "glet/web/http_answer.h"
#include "glet/web/http_parser.h"
#include "glet/web/pace.h"
#include "glet/web/zlib.h"

namespace glet::web {

// One connection: requests out of it, answers into it in the order of the requests, whatever order
// they are made in.
class HttpConnection {
 public:
  // Owns the descriptor, which does not block.
  HttpConnection(int fd, std::unique_ptr<TlsSession> tls, const HttpLimits& limits,
                 HttpParser::Reads reads, Nanos now);
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  enum class Io { kDone, kBlocked, kClosed };
  // One read into the parser; behind the last request what comes is thrown away.
  Io read(Nanos now);
  // Sends all that is ready, in as few calls as there are.
  Io write(Nanos now);

  // A request whose answer has its place in the order from now on.
  struct Slot {
    bool ready = false;
    bool keep_alive = true;
    bool with_body = true;
    int minor = 1;
    std::optional<Packing> packing;  // what the client takes
    std::uint64_t call = 0;          // the door's, 0 without
    std::size_t held = 0;            // bytes of its body, while it is not answered
    std::string text;
    std::vector<net::Message> frames;
  };
  // Returns the number of the new slot.
  std::uint64_t open(const HttpRequest& request);
  Slot& slot(std::uint64_t number) { return slots_[number - first_]; }
  bool is_last(std::uint64_t number) const { return number - first_ + 1 == slots_.size(); }
  // Encodes the answer; it is sent once all before it are.
  void answer(std::uint64_t number, HttpAnswer answer, bool keep_alive);
  // "100 Continue", in order.
  void say_continue();
  const std::deque<Slot>& slots() const { return slots_; }

  // Another request may be taken: not too many are in flight, not too much waits to be sent.
  bool has_room() const;
  bool sending() const { return unsent_ > 0 || channel_.is_sending(); }
  bool quiet() const { return slots_.empty() && !sending(); }
  // Another read() has something at once.
  bool has_pending() const { return channel_.has_pending(); }
  bool is_shaking() const { return channel_.is_shaking(); }
  // More waits to be sent than a client that reads leaves.
  bool is_behind() const;
  // Bytes of requests that are not answered, and of answers that are not sent.
  std::size_t held() const { return parser.held() + held_ + ready_ + unsent_; }
  // The client gets the end of the stream, and its own has to end before the descriptor is closed:
  // closing with unread bytes would take back what was sent.
  void linger();

  int fd() const { return channel_.fd(); }
  HttpParser parser;
  bool dirty = false;    // among those to flush
  bool last = false;     // no request is taken any more; closed when all is sent
  bool refused = false;  // its bytes are no HTTP, or nobody's who may
  bool lingering = false;
  unsigned interest = 0;      // what epoll waits for
  bool hopeless = false;      // to be dropped when it has its turn
  std::size_t counted = 0;    // of held(), by the door
  Nanos last_moved;           // bytes went in or out
  Nanos head_since = kNever;  // that a head, or a handshake, has not been whole
  Pace arriving;              // of a body
  Pace leaving;               // of answers

 private:
  struct Piece {
    std::string text;
    net::Message frame;
    bool is_frame = false;
    std::size_t size() const { return is_frame ? frame.size() : text.size(); }
  };
  void release_ready();
  std::string& tail();
  void sent(std::size_t bytes);

  Channel channel_;
  std::deque<Slot> slots_;
  std::uint64_t first_ = 1;  // number of slots_.front()
  std::size_t held_ = 0;     // of bodies
  std::size_t ready_ = 0;    // of answers that wait for those before them
  std::deque<Piece> out_;
  std::size_t offset_ = 0;  // of out_.front(), sent already
  std::size_t unsent_ = 0;
};

}  // namespace glet::web
