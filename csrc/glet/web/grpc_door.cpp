#include "glet/web/grpc_door.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "glet/error.h"
#include "glet/web/listen.h"

namespace glet::web {
namespace {

constexpr std::uint64_t kListener = ~std::uint64_t{0};
constexpr int kEvents = 64;
constexpr int kAccepts = 64;
constexpr int kFlushes = 4;
constexpr int kHandshakes = 8;
constexpr std::size_t kReadBytes = 256 << 10;
constexpr Nanos kSweepEvery = std::chrono::milliseconds(500);

// GOAWAY, and no SETTINGS before it: a client takes that for a connection that failed, and waits
// before it tries again.
std::string too_many() {
  constexpr std::string_view kWhy = "too many connections";
  std::string frame = std::string("\0\0", 2) + static_cast<char>(8 + kWhy.size());
  frame += std::string("\7\0\0\0\0\0", 6);
  frame += std::string("\0\0\0\0\0\0\0", 7) + static_cast<char>(h2::kEnhanceYourCalm);
  return frame += kWhy;
}

void set_interest(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t number) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = number;
  if (::epoll_ctl(epoll, operation, fd, &event) != 0) {
    throw DeviceError(std::string("[GrpcDoor] epoll_ctl: ") + std::strerror(errno));
  }
}

}  // namespace

GrpcDoor::GrpcDoor(const std::string& address, const std::string& libnghttp2,
                   const GrpcLimits& limits, std::shared_ptr<Guard> guard)
    : address_(address),
      shared_{h2::load(libnghttp2), limits, calls_, GuardView(std::move(guard)), 0, 0, {}},
      calls_(*this, shared_.limits),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kReadBytes)) {
  listener_ = listen_at(address_);
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) {
    ::close(listener_);
    throw DeviceError(std::string("[GrpcDoor] epoll_create1: ") + std::strerror(errno));
  }
  listen_again(true);
}

GrpcDoor::~GrpcDoor() {
  connections_ = {};
  if (listener_ >= 0) ::close(listener_);
  ::close(epoll_);
}

void GrpcDoor::attach(net::DoorHost& host, std::uint64_t number) {
  calls_.attach(host, number);
}

// ---- connections ----

void GrpcDoor::listen_again(bool wanted) {
  if (listener_ < 0 || wanted == is_listening_) return;
  is_listening_ = wanted;
  set_interest(epoll_, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener_, EPOLLIN, kListener);
}

void GrpcDoor::accept(Nanos now) {
  for (int i = 0; i < kAccepts; ++i) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      // No descriptors left: who waits stays in the backlog for a while.
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        listen_again(false);
        accept_at_ = now + kAcceptPause;
      }
      return;
    }
    if (connections_.size() >= shared_.limits.max_connections) {
      static const std::string refusal = too_many();
      if (!shared_.guard.has_tls()) {
        [[maybe_unused]] const ssize_t sent =
            ::send(fd, refusal.data(), refusal.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      }
      ::close(fd);
      continue;
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto [number, connection] = connections_.take();
    *connection = std::make_unique<GrpcConnection>(fd, number, shared_, now);
    set_interest(epoll_, EPOLL_CTL_ADD, fd, (*connection)->interest = EPOLLIN, number);
  }
}

void GrpcDoor::watch(GrpcConnection& connection) {
  const std::uint32_t wanted =
      (connection.is_deaf() ? 0U : EPOLLIN) | (connection.is_blocked() ? EPOLLOUT : 0U);
  if (wanted == connection.interest) return;
  connection.interest = wanted;
  set_interest(epoll_, EPOLL_CTL_MOD, connection.fd(), wanted, connection.number());
}

void GrpcDoor::close(std::uint64_t number) {
  std::unique_ptr<GrpcConnection>* connection = connections_.find(number);
  if (connection == nullptr) return;
  connection->reset();
  connections_.release(number);
}

bool GrpcDoor::receive(Nanos now) {
  std::array<epoll_event, kEvents> events;
  const int ready = ::epoll_wait(epoll_, events.data(), kEvents, 0);
  bool more = ready == kEvents;
  int handshakes = 0;
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kListener) {
      accept(now);
      continue;
    }
    std::unique_ptr<GrpcConnection>* found = connections_.find(event.data.u64);
    if (found == nullptr) continue;
    GrpcConnection& connection = **found;
    // A handshake costs as much as hundreds of requests: the others wait for the next burst.
    if (connection.is_shaking() && ++handshakes > kHandshakes) {
      more = true;
      continue;
    }
    if ((event.events & EPOLLOUT) != 0) connection.writable();
    if ((event.events & ~std::uint32_t{EPOLLOUT}) == 0) continue;
    if (connection.is_deaf()) {
      if ((event.events & (EPOLLERR | EPOLLHUP)) != 0) close(event.data.u64);
      continue;
    }
    const auto read = connection.receive({buffer_.get(), kReadBytes}, now);
    if (read == GrpcConnection::Read::kGone) close(event.data.u64);
    more |= read == GrpcConnection::Read::kMore;
  }
  return more;
}

void GrpcDoor::flush(Nanos now) {
  // What was sent may let a stream go on, whose answers are to be sent again.
  for (int i = 0; i < kFlushes && !shared_.dirty.empty(); ++i) {
    std::vector<GrpcConnection*> dirty;
    dirty.swap(shared_.dirty);
    for (GrpcConnection* connection : dirty) {
      if (connection->flush(now)) {
        watch(*connection);
      } else {
        close(connection->number());
      }
    }
  }
}

void GrpcDoor::tick(Nanos now) {
  if (!is_stopping_ && now >= accept_at_) listen_again(true);
  calls_.tick(now);
  const auto all = connections_.tags_where([](const auto&) { return true; });
  for (const std::uint64_t number : all) {
    if (!(*connections_.find(number))->tick(now)) close(number);
  }
  if (now < next_sweep_) return;
  next_sweep_ = now + kSweepEvery;
  sweep(now);
}

void GrpcDoor::sweep(Nanos now) {
  const auto all = connections_.tags_where([](const auto&) { return true; });
  for (const std::uint64_t number : all) {
    if (!(*connections_.find(number))->sweep(now)) close(number);
  }
  if (shared_.unsent_bytes <= shared_.limits.max_held_bytes) return;
  const auto hoarding =
      connections_.tags_where([](const auto& connection) { return connection->is_hoarding(); });
  for (const std::uint64_t number : hoarding) close(number);
}

void GrpcDoor::stop(Nanos) {
  is_stopping_ = true;
  listen_again(false);
  if (listener_ >= 0) ::close(std::exchange(listener_, -1));
  for (const std::uint64_t number : connections_.tags_where([](const auto&) { return true; })) {
    (*connections_.find(number))->stop();
  }
}

std::size_t GrpcDoor::outstanding() const {
  std::size_t count = 0;
  connections_.tags_where([&count](const auto& connection) {
    count += connection->unsent();
    return false;
  });
  return count;
}

// ---- answers ----

void GrpcDoor::answered(std::uint64_t call, const net::ServedModel& model, const net::ResultTimes&,
                        std::vector<net::Message>& outputs, Nanos) {
  calls_.oip().answered(call, model, outputs);
}

void GrpcDoor::failed(std::uint64_t call, exec::Outcome outcome, std::string_view message) {
  calls_.oip().failed(call, outcome, message);
}

void GrpcDoor::web_answer(std::uint64_t call, net::WebAnswer answer, Nanos) {
  calls_.web_answer(call, answer);
}

void GrpcDoor::add_shm(const std::string& name, std::byte* address, std::size_t size) {
  calls_.oip().regions().add(name, address, size);
}

void GrpcDoor::add_device_memory(const std::string& name, const exec::DeviceTensor& whole) {
  calls_.oip().regions().add(name, whole);
}

void GrpcDoor::remove_shm(const std::string& name) {
  calls_.oip().regions().remove(name);
}

}  // namespace glet::web
