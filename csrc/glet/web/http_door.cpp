#include "glet/web/http_door.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "glet/error.h"
#include "glet/web/listen.h"

// Sockets and time of the door; http_requests.cpp is what it answers.
namespace glet::web {
namespace {

constexpr std::string_view kTooMany = "too many connections";
constexpr std::size_t kBurst = 128;     // connections before the frontend's own sockets
constexpr int kAcceptBurst = 64;        // likewise
constexpr int kHandshakeBurst = 8;      // likewise
constexpr std::uint64_t kListener = 0;  // no connection has this tag
constexpr Nanos kSweepEvery = std::chrono::milliseconds(500);
constexpr Nanos kLinger = std::chrono::seconds(2);
constexpr std::size_t kMostTurnedAway = 64;  // that are let finish what they say before they go

}  // namespace

HttpDoor::HttpDoor(const std::string& address, const HttpDoorOptions& options,
                   std::shared_ptr<Guard> guard)
    : options_(options),
      guard_(std::move(guard)),
      address_(address),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) throw DeviceError(std::string("[HttpDoor] epoll: ") + std::strerror(errno));
  try {
    listener_ = listen_at(address_);
  } catch (...) {
    ::close(epoll_);
    throw;
  }
}

HttpDoor::~HttpDoor() {
  if (listener_ >= 0) ::close(listener_);
  ::close(epoll_);
}

void HttpDoor::attach(net::DoorHost& host, std::uint64_t number) {
  host_ = &host;
  number_ = number;
  oip_.attach(host);
}

// ---- connections ----

void HttpDoor::accept_all(Nanos now) {
  for (int i = 0; i < kAcceptBurst; ++i) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      // No descriptors or memory: those who wait would be announced without end. tick() looks
      // again.
      ::epoll_ctl(epoll_, EPOLL_CTL_DEL, listener_, nullptr);
      accepting_ = false;
      accept_at_ = now + kAcceptPause;
      return;
    }
    const bool too_many = connections_.size() >= options_.connections;
    if (connections_.size() >= options_.connections + kMostTurnedAway) {
      turn_away(fd);
      continue;
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto [tag, connection] = connections_.take();
    *connection = std::make_unique<HttpConnection>(
        fd, guard_.begin(Alpn::kHttp1), options_.limits,
        guard_.tokens() ? HttpParser::Reads::kHeads : HttpParser::Reads::kRequests, now);
    epoll_event event{};
    event.events = (*connection)->interest = EPOLLIN;
    event.data.u64 = tag;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
      drop(tag);
    } else if (too_many) {
      refuse(**connection, http_error(503, kTooMany));
      mark(tag, **connection);
    }
  }
}

void HttpDoor::turn_away(int fd) {
  if (!guard_.has_tls()) {
    std::string text;
    append_answer(text, http_error(503, kTooMany), false, 1, true);
    [[maybe_unused]] const auto sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }
  ::close(fd);
}

bool HttpDoor::receive(Nanos now) {
  std::array<epoll_event, kBurst> events;
  const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  int handshakes = 0;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const std::uint64_t tag = event.data.u64;
    if (tag == kListener) {
      accept_all(now);
      continue;
    }
    auto* found = connections_.find(tag);
    if (found == nullptr) continue;
    HttpConnection& connection = **found;
    // A handshake costs as much as hundreds of requests: the others wait for the next burst.
    if (connection.is_shaking() && ++handshakes > kHandshakeBurst) continue;
    bool gone = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
    if (!gone && (event.events & EPOLLIN) != 0) {
      gone = connection.read(now) == HttpConnection::Io::kClosed;
    }
    if (gone) {
      drop(tag);
    } else {
      settle(tag, now);
    }
  }
  return count == static_cast<int>(events.size()) || handshakes > kHandshakeBurst;
}

void HttpDoor::flush(Nanos now) {
  // What settles may answer at once and mark others; they have their turn in this loop too.
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    if (auto* found = connections_.find(dirty_[i])) {
      (*found)->dirty = false;
      settle(dirty_[i], now);
    }
  }
  dirty_.clear();
}

// Takes what requests are there and room is for, sends what is ready, and waits for the rest.
void HttpDoor::settle(std::uint64_t tag, Nanos now) {
  HttpConnection& connection = **connections_.find(tag);
  if (connection.lingering) return;
  if (connection.hopeless) return drop(tag);
  for (bool again = true; again;) {
    if (connection.has_room()) take_requests(tag, connection, now);
    count_held(connection);
    if (held_bytes_ > options_.held_bytes && !connection.last && connection.parser.held() > 0) {
      connection.parser.give_up();
      refuse(connection, http_error(503,
                                    "too much is being sent to this frontend at once; "
                                    "try again later"));
    }
    const bool was_full = !connection.has_room();
    // TLS may hold what the socket does not tell of any more.
    const bool has_more = !was_full && !stopping_ && connection.has_pending();
    if (has_more && connection.read(now) == HttpConnection::Io::kClosed) return drop(tag);
    switch (connection.write(now)) {
      case HttpConnection::Io::kClosed:
        return drop(tag);
      case HttpConnection::Io::kBlocked:
        again = false;
        break;
      case HttpConnection::Io::kDone:
        again = has_more || (was_full && connection.has_room());
    }
  }
  count_held(connection);
  wait_for_client(connection, now);
  if (connection.quiet() && (connection.last || stopping_)) {
    if (!connection.refused) return drop(tag);
    connection.linger();
    connection.last_moved = now;
  }
  watch(tag, connection);
}

// What counts as slow is what the client is waited for, not what waits here for its turn.
void HttpDoor::wait_for_client(HttpConnection& connection, Nanos now) {
  const bool reads = connection.has_room() && !stopping_;
  const bool begins = reads && connection.parser.in_head();
  if (!begins && !connection.is_shaking()) {
    connection.head_since = kNever;
  } else if (connection.head_since == kNever) {
    connection.head_since = now;
  }
  if (reads && connection.parser.in_body()) {
    connection.arriving.begin(now);
  } else {
    connection.arriving.end();
  }
}

void HttpDoor::refuse(HttpConnection& connection, HttpAnswer made) {
  const std::uint64_t slot = connection.open({});
  connection.last = connection.refused = true;
  connection.answer(slot, std::move(made), false);
}

void HttpDoor::count_held(HttpConnection& connection) {
  const std::size_t held = connection.held();
  held_bytes_ += held - std::exchange(connection.counted, held);
}

void HttpDoor::watch(std::uint64_t tag, HttpConnection& connection) {
  // Who has sent its last request is still listened to: its end cancels what is under way.
  const bool reads =
      connection.lingering || connection.last || (connection.has_room() && !stopping_);
  const unsigned wanted = (reads ? EPOLLIN : 0U) | (connection.sending() ? EPOLLOUT : 0U);
  if (wanted == connection.interest) return;
  epoll_event event{};
  event.events = connection.interest = wanted;
  event.data.u64 = tag;
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd(), &event);
}

void HttpDoor::mark(std::uint64_t tag, HttpConnection& connection) {
  if (std::exchange(connection.dirty, true)) return;
  dirty_.push_back(tag);
}

void HttpDoor::drop(std::uint64_t tag) {
  auto* found = connections_.find(tag);
  if (found == nullptr) return;
  const std::unique_ptr<HttpConnection> connection = std::move(*found);
  connections_.release(tag);
  held_bytes_ -= connection->counted;
  for (const HttpConnection::Slot& slot : connection->slots()) {
    const Call* call = slot.call == 0 ? nullptr : calls_.find(slot.call);
    if (call == nullptr) continue;
    const std::uint64_t oip = call->oip;
    calls_.release(slot.call);
    oip_.cancel(oip);
  }
}

// ---- time ----

void HttpDoor::tick(Nanos now) {
  if (!accepting_ && !stopping_ && now >= accept_at_) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kListener;
    accepting_ = ::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) == 0;
  }
  if (now < next_sweep_) return;
  next_sweep_ = now + kSweepEvery;
  sweep(now);
}

void HttpDoor::sweep(Nanos now) {
  for (const std::uint64_t tag :
       calls_.tags_where([now](const Call& call) { return now > call.python_until; })) {
    complete(tag, http_error(504, "the frontend's own part did not answer in time"));
  }
  const auto over = connections_.tags_where([&](const std::unique_ptr<HttpConnection>& held) {
    const HttpConnection& c = *held;
    if (c.lingering) return now > c.last_moved + kLinger;
    if (c.leaving.is_too_slow(now, options_.stall)) return true;
    if (!c.quiet()) return false;
    if (c.head_since != kNever && now > c.head_since + options_.head) return true;
    return c.arriving.is_too_slow(now, options_.stall) || now > c.last_moved + options_.idle;
  });
  for (const std::uint64_t tag : over) {
    HttpConnection& connection = **connections_.find(tag);
    const bool waits_for_request =
        !connection.lingering && !connection.parser.idle() && connection.quiet();
    if (!waits_for_request) {
      drop(tag);
      continue;
    }
    connection.parser.give_up();
    refuse(connection, http_error(408, "the request did not come in time"));
    mark(tag, connection);
  }
}

void HttpDoor::stop(Nanos) {
  stopping_ = true;
  if (accepting_) ::epoll_ctl(epoll_, EPOLL_CTL_DEL, listener_, nullptr);
  accepting_ = false;
  if (listener_ >= 0) ::close(std::exchange(listener_, -1));
  for (const std::uint64_t tag : connections_.tags_where([](const auto&) { return true; })) {
    mark(tag, **connections_.find(tag));
  }
}

std::size_t HttpDoor::outstanding() const {
  return connections_
      .tags_where([](const std::unique_ptr<HttpConnection>& held) { return !held->quiet(); })
      .size();
}

void HttpDoor::add_shm(const std::string& name, std::byte* address, std::size_t size) {
  oip_.regions().add(name, address, size);
}

void HttpDoor::add_device_memory(const std::string& name, const exec::DeviceTensor& whole) {
  oip_.regions().add(name, whole);
}

void HttpDoor::remove_shm(const std::string& name) {
  oip_.regions().remove(name);
}

}  // namespace glet::web
