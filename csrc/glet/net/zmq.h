#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace glet::net {

// libzmq through its stable C interface, found at run time: the core links nothing, and every
// socket of the data plane lives in the same library that pyzmq brought.
struct ZmqApi;

// Opens libzmq once per process; later calls with any path return the first. Throws DeviceError
// that names the path, or the missing function.
const ZmqApi& load_zmq(const std::string& path);
// The library that load_zmq opened. Throws DeviceError when there is none yet.
const ZmqApi& zmq_api();

// One frame. Move-only; small frames are stored inside.
class Message {
 public:
  Message() noexcept;
  explicit Message(std::size_t bytes);
  explicit Message(std::string_view bytes);
  // Borrows `data` until the last holder of the frame is gone; `keep` is dropped then, on
  // whichever thread that happens.
  static Message borrowed(std::span<const std::byte> data, std::shared_ptr<const void> keep);
  Message(Message&& other) noexcept;
  Message& operator=(Message&& other) noexcept;
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message();

  // Another holder of the same bytes (large frames are counted, not copied).
  Message share() const;

  std::byte* data() noexcept;
  const std::byte* data() const noexcept;
  std::size_t size() const noexcept;
  std::span<const std::byte> bytes() const noexcept { return {data(), size()}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data()), size()}; }
  // True when another frame of the same message follows (after Socket::receive).
  bool more() const noexcept;

  void* raw() const noexcept { return const_cast<unsigned char*>(storage_); }

 private:
  alignas(16) unsigned char storage_[64];  // zmq_msg_t, a fixed part of libzmq's interface
};

enum class SocketType : int { kPair = 0, kDealer = 5, kRouter = 6 };

class Context {
 public:
  Context();  // in the libzmq that is open already
  // Opens libzmq first, see load_zmq.
  explicit Context(const std::string& libzmq_path);
  // One of somebody else in this process and in the same libzmq, who ends it.
  static Context borrowed(void* context) { return Context(context); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context();  // every socket must be closed before
  void* raw() const { return context_; }

 private:
  explicit Context(void* context) : context_(context), is_borrowed_(true) {}

  void* context_;
  bool is_borrowed_ = false;
};

// A pair of CURVE keys in Z85, 40 characters each; empty: nothing is encrypted.
struct CurveKeys {
  std::string public_key;
  std::string secret_key;

  bool empty() const { return secret_key.empty(); }
};

// What a client needs: its own pair, and the public key of who it connects to.
struct ClientKeys {
  CurveKeys own;
  std::string server_key;
};

// Whether CURVE is for this endpoint: what goes over ipc stays on this machine, and is plain.
inline bool crosses_network(std::string_view endpoint) {
  return endpoint.starts_with("tcp://");
}

struct SocketOptions {
  int high_water_mark = 100'000;             // messages queued per peer, each way
  std::int64_t max_frame_bytes = 256 << 20;  // a larger claim closes the connection
  bool mandatory = false;                    // ROUTER: sending to a gone peer is said
  bool immediate = false;                    // DEALER: queue only on completed connections
};

// A socket with one owner thread. LINGER is 0; transport-level heartbeats are on, so that a cut
// network is noticed on either side.
class Socket {
 public:
  Socket(const Context& context, SocketType type, const SocketOptions& options = {});
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket();

  // Before bind(): peers have to speak CURVE and know our public key. `asks_gate`: a ZapGate of the
  // context says which keys may come in; without one, none. Otherwise all may.
  void serve_curve(const CurveKeys& own, bool asks_gate);
  // Before connect(): the peer has to have the secret key of `server_key`.
  void use_curve(const CurveKeys& own, const std::string& server_key);
  // Binds, and returns the endpoint with wildcards resolved. Throws ConfigError naming the
  // endpoint: in use, no such interface, malformed.
  std::string bind(const std::string& endpoint);
  // Throws ConfigError naming a malformed endpoint. Connecting itself goes on in the background.
  void connect(const std::string& endpoint);
  // Forgets the endpoint; harmless when libzmq has given it up by itself.
  void disconnect(const std::string& endpoint);
  // kEnded: its context is being ended, and whoever owns the socket has to close it.
  enum class Waiting { kNothing, kMessage, kEnded };
  Waiting waiting() const;
  // Events of this socket appear on a PAIR socket connected to `inproc_endpoint`.
  void monitor(const std::string& inproc_endpoint, int events);

  enum class Sent { kYes, kFull, kNoPeer };
  // Never blocks. On kYes the frame is consumed. All frames but the last are sent with more=true.
  Sent send(Message& frame, bool more);
  // Never blocks; false when nothing waits.
  bool receive(Message& frame);
  // Readable when there may be more to receive, but only after receive() said false since the last
  // send() on this socket: libzmq announces changes, not states. Whoever waits on it alone has to
  // make sure of that order.
  int fd() const;
  // Receives and drops what is left of the current message. Call while the last frame had more().
  void skip_rest();

  void* raw() const { return socket_; }

 private:
  void* socket_;
};

struct PollItem {
  void* socket;  // null: use fd
  int fd;
  short events;
  short revents;
};
inline constexpr short kPollIn = 1;

// Waits until one item is ready or `timeout_ms` passed (-1: no limit). Interrupted calls return 0.
int poll(std::span<PollItem> items, long timeout_ms);

// Waits on plain descriptors, Socket::fd() among them: one system call, where poll() above makes
// several for each socket. Interrupted calls return 0.
int wait(std::span<pollfd> descriptors, int timeout_ms);

}  // namespace glet::net
