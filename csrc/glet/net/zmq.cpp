#include "glet/net/zmq.h"

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "glet/error.h"
#include "glet/shared_library.h"
#include "glet/short_slices.h"

namespace glet::net {

struct ZmqApi {
  int (*errno_)();
  const char* (*strerror_)(int);
  void* (*ctx_new)();
  int (*ctx_term)(void*);
  int (*ctx_set)(void*, int, int);
  void* (*socket)(void*, int);
  int (*close)(void*);
  int (*bind)(void*, const char*);
  int (*connect)(void*, const char*);
  int (*disconnect)(void*, const char*);
  int (*setsockopt)(void*, int, const void*, std::size_t);
  int (*getsockopt)(void*, int, void*, std::size_t*);
  int (*socket_monitor)(void*, const char*, int);
  int (*msg_init)(void*);
  int (*msg_init_size)(void*, std::size_t);
  int (*msg_init_data)(void*, void*, std::size_t, void (*)(void*, void*), void*);
  int (*msg_close)(void*);
  int (*msg_move)(void*, void*);
  int (*msg_copy)(void*, void*);
  void* (*msg_data)(void*);
  std::size_t (*msg_size)(const void*);
  int (*msg_more)(const void*);
  int (*msg_send)(void*, void*, int);
  int (*msg_recv)(void*, void*, int);
  int (*poll)(void*, int, long);
};

namespace {

// Numbers of libzmq's stable interface (zmq.h, 4.x).
constexpr int kOptFd = 14;
constexpr int kOptEvents = 15;
constexpr int kOptLinger = 17;
constexpr int kOptMaxMsgSize = 22;
constexpr int kOptSndHwm = 23;
constexpr int kOptRcvHwm = 24;
constexpr int kOptLastEndpoint = 32;
constexpr int kOptRouterMandatory = 33;
constexpr int kOptImmediate = 39;
constexpr int kOptCurveServer = 47;
constexpr int kOptCurvePublicKey = 48;
constexpr int kOptCurveSecretKey = 49;
constexpr int kOptCurveServerKey = 50;
constexpr int kOptZapDomain = 55;
constexpr int kOptZapEnforceDomain = 93;
constexpr int kOptHeartbeatIvl = 75;
constexpr int kOptHeartbeatTimeout = 77;
constexpr int kOptReconnectIvl = 18;
constexpr int kOptReconnectIvlMax = 21;
constexpr int kDontWait = 1;
constexpr int kSendMore = 2;
constexpr int kHausnumero = 156384712;
constexpr int kEterm = kHausnumero + 53;

constexpr int kHeartbeatMs = 1000;
constexpr int kHeartbeatTimeoutMs = 3000;
constexpr int kReconnectMs = 50;
constexpr int kReconnectMaxMs = 1000;

const ZmqApi* loaded = nullptr;

ZmqApi open_library(const std::string& path) {
  const SharedLibrary<DeviceError> library("[load_zmq]", path, "libzmq >= 4.2 needed");
  ZmqApi api{};
  library.require("zmq_errno", api.errno_);
  library.require("zmq_strerror", api.strerror_);
  library.require("zmq_ctx_new", api.ctx_new);
  library.require("zmq_ctx_term", api.ctx_term);
  library.require("zmq_ctx_set", api.ctx_set);
  library.require("zmq_socket", api.socket);
  library.require("zmq_close", api.close);
  library.require("zmq_bind", api.bind);
  library.require("zmq_connect", api.connect);
  library.require("zmq_disconnect", api.disconnect);
  library.require("zmq_setsockopt", api.setsockopt);
  library.require("zmq_getsockopt", api.getsockopt);
  library.require("zmq_socket_monitor", api.socket_monitor);
  library.require("zmq_msg_init", api.msg_init);
  library.require("zmq_msg_init_size", api.msg_init_size);
  library.require("zmq_msg_init_data", api.msg_init_data);
  library.require("zmq_msg_close", api.msg_close);
  library.require("zmq_msg_move", api.msg_move);
  library.require("zmq_msg_copy", api.msg_copy);
  library.require("zmq_msg_data", api.msg_data);
  library.require("zmq_msg_size", api.msg_size);
  library.require("zmq_msg_more", api.msg_more);
  library.require("zmq_msg_send", api.msg_send);
  library.require("zmq_msg_recv", api.msg_recv);
  library.require("zmq_poll", api.poll);
  return api;
}

std::string last_error() {
  return zmq_api().strerror_(zmq_api().errno_());
}

template <typename T>
void set_option(void* socket, int option, T value) {
  if (zmq_api().setsockopt(socket, option, &value, sizeof value) != 0) {
    throw DeviceError("[Socket] option " + std::to_string(option) + ": " + last_error());
  }
}

void set_text(void* socket, int option, std::string_view value) {
  if (zmq_api().setsockopt(socket, option, value.data(), value.size()) != 0) {
    throw DeviceError("[Socket] option " + std::to_string(option) + ": " + last_error());
  }
}

void set_keys(void* socket, const CurveKeys& own) {
  set_text(socket, kOptCurvePublicKey, own.public_key);
  set_text(socket, kOptCurveSecretKey, own.secret_key);
}

}  // namespace

const ZmqApi& load_zmq(const std::string& path) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (loaded == nullptr) {
    static ZmqApi api;
    api = open_library(path);
    loaded = &api;
  }
  return *loaded;
}

const ZmqApi& zmq_api() {
  if (loaded == nullptr) throw DeviceError("[zmq_api] libzmq is not open; call load_zmq first");
  return *loaded;
}

Message::Message() noexcept {
  loaded->msg_init(storage_);
}

Message::Message(std::size_t bytes) {
  if (zmq_api().msg_init_size(storage_, bytes) != 0) {
    throw DeviceError("[Message] no memory for " + std::to_string(bytes) + " bytes");
  }
}

Message::Message(std::string_view bytes) : Message(bytes.size()) {
  std::memcpy(data(), bytes.data(), bytes.size());
}

Message Message::borrowed(std::span<const std::byte> data, std::shared_ptr<const void> keep) {
  auto holder = std::make_unique<std::shared_ptr<const void>>(std::move(keep));
  const auto release = [](void*, void* hint) {
    delete static_cast<std::shared_ptr<const void>*>(hint);
  };
  Message message;
  // libzmq wants void* but never writes to a frame that is sent.
  if (zmq_api().msg_init_data(message.storage_, const_cast<std::byte*>(data.data()), data.size(),
                              release, holder.get()) != 0) {
    throw DeviceError("[Message.borrowed] no memory for a frame");
  }
  static_cast<void>(holder.release());
  return message;
}

Message::Message(Message&& other) noexcept : Message() {
  loaded->msg_move(storage_, other.storage_);
}

Message& Message::operator=(Message&& other) noexcept {
  if (this != &other) loaded->msg_move(storage_, other.storage_);
  return *this;
}

Message::~Message() {
  loaded->msg_close(storage_);
}

Message Message::share() const {
  Message other;
  zmq_api().msg_copy(other.storage_, raw());
  return other;
}

std::byte* Message::data() noexcept {
  return static_cast<std::byte*>(loaded->msg_data(raw()));
}
const std::byte* Message::data() const noexcept {
  return static_cast<const std::byte*>(loaded->msg_data(raw()));
}
std::size_t Message::size() const noexcept {
  return loaded->msg_size(raw());
}
bool Message::more() const noexcept {
  return loaded->msg_more(raw()) != 0;
}

Context::Context() : context_(zmq_api().ctx_new()) {
  if (context_ == nullptr) throw DeviceError("[Context] zmq_ctx_new: " + last_error());
}

Context::Context(const std::string& libzmq_path) : context_(load_zmq(libzmq_path).ctx_new()) {
  if (context_ == nullptr) throw DeviceError("[Context] zmq_ctx_new: " + last_error());
}

Context::~Context() {
  if (is_borrowed_) return;
  while (zmq_api().ctx_term(context_) != 0 && zmq_api().errno_() == EINTR) {
  }
}

Socket::Socket(const Context& context, SocketType type, const SocketOptions& options) {
  // A context starts its threads with its first socket.
  const ShortSlices inherited;
  socket_ = zmq_api().socket(context.raw(), static_cast<int>(type));
  if (socket_ == nullptr) throw DeviceError("[Socket] zmq_socket: " + last_error());
  set_option(socket_, kOptLinger, 0);
  set_option(socket_, kOptSndHwm, options.high_water_mark);
  set_option(socket_, kOptRcvHwm, options.high_water_mark);
  if (type == SocketType::kPair) return;
  set_option(socket_, kOptMaxMsgSize, options.max_frame_bytes);
  set_option(socket_, kOptHeartbeatIvl, kHeartbeatMs);
  set_option(socket_, kOptHeartbeatTimeout, kHeartbeatTimeoutMs);
  set_option(socket_, kOptReconnectIvl, kReconnectMs);
  set_option(socket_, kOptReconnectIvlMax, kReconnectMaxMs);
  if (options.immediate) set_option(socket_, kOptImmediate, 1);
  if (options.mandatory) set_option(socket_, kOptRouterMandatory, 1);
}

Socket::~Socket() {
  zmq_api().close(socket_);
}

void Socket::serve_curve(const CurveKeys& own, bool asks_gate) {
  set_option(socket_, kOptCurveServer, 1);
  set_keys(socket_, own);
  if (!asks_gate) return;
  set_text(socket_, kOptZapDomain, "glet");
  set_option(socket_, kOptZapEnforceDomain, 1);
}

void Socket::use_curve(const CurveKeys& own, const std::string& server_key) {
  set_text(socket_, kOptCurveServerKey, server_key);
  set_keys(socket_, own);
}

std::string Socket::bind(const std::string& endpoint) {
  if (zmq_api().bind(socket_, endpoint.c_str()) != 0) {
    throw ConfigError("cannot listen on " + endpoint + ": " + last_error() +
                      "; valid are tcp://ADDRESS:PORT with a free port, or ipc://PATH");
  }
  char buffer[512] = {};
  std::size_t size = sizeof buffer;
  if (zmq_api().getsockopt(socket_, kOptLastEndpoint, buffer, &size) != 0) return endpoint;
  return buffer;
}

void Socket::connect(const std::string& endpoint) {
  if (zmq_api().connect(socket_, endpoint.c_str()) != 0) {
    throw ConfigError("cannot connect to " + endpoint + ": " + last_error() +
                      "; valid are tcp://ADDRESS:PORT or ipc://PATH");
  }
}

void Socket::disconnect(const std::string& endpoint) {
  zmq_api().disconnect(socket_, endpoint.c_str());
}

Socket::Waiting Socket::waiting() const {
  int events = 0;
  std::size_t size = sizeof events;
  if (zmq_api().getsockopt(socket_, kOptEvents, &events, &size) != 0) return Waiting::kEnded;
  return (events & kPollIn) != 0 ? Waiting::kMessage : Waiting::kNothing;
}

void Socket::monitor(const std::string& inproc_endpoint, int events) {
  if (zmq_api().socket_monitor(socket_, inproc_endpoint.c_str(), events) != 0) {
    throw DeviceError("[Socket.monitor] " + last_error());
  }
}

Socket::Sent Socket::send(Message& frame, bool more) {
  const int flags = kDontWait | (more ? kSendMore : 0);
  while (zmq_api().msg_send(frame.raw(), socket_, flags) < 0) {
    const int error = zmq_api().errno_();
    if (error == EINTR) continue;
    if (error == EAGAIN) return Sent::kFull;
    if (error == EHOSTUNREACH) return Sent::kNoPeer;
    throw DeviceError("[Socket.send] " + last_error());
  }
  return Sent::kYes;
}

bool Socket::receive(Message& frame) {
  while (zmq_api().msg_recv(frame.raw(), socket_, kDontWait) < 0) {
    const int error = zmq_api().errno_();
    if (error == EINTR) continue;
    if (error == EAGAIN || error == kEterm) return false;
    throw DeviceError("[Socket.receive] " + last_error());
  }
  return true;
}

int Socket::fd() const {
  int fd = -1;
  std::size_t size = sizeof fd;
  if (zmq_api().getsockopt(socket_, kOptFd, &fd, &size) != 0) {
    throw DeviceError("[Socket.fd] " + last_error());
  }
  return fd;
}

void Socket::skip_rest() {
  Message frame;
  while (receive(frame) && frame.more()) {
  }
}

int wait(std::span<pollfd> descriptors, int timeout_ms) {
  const int ready = ::poll(descriptors.data(), descriptors.size(), timeout_ms);
  if (ready >= 0) return ready;
  if (errno == EINTR) return 0;
  throw DeviceError(std::string("[wait] ") + std::strerror(errno));
}

int poll(std::span<PollItem> items, long timeout_ms) {
  static_assert(sizeof(PollItem) == 16, "PollItem mirrors zmq_pollitem_t");
  const int ready = zmq_api().poll(items.data(), static_cast<int>(items.size()), timeout_ms);
  if (ready >= 0) return ready;
  if (zmq_api().errno_() == EINTR || zmq_api().errno_() == kEterm) return 0;
  throw DeviceError("[poll] " + last_error());
}

}  // namespace glet::net
