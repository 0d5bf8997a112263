#include "glet/web/http_peer.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include "glet/error.h"
#include "glet/web/http_text.h"

namespace glet::web {
namespace {

constexpr std::string_view kScheme = "http://";
constexpr std::size_t kMostEvents = 256;
constexpr std::size_t kDescriptorsOfOthers = 64;
constexpr std::size_t kQuoted = 200;

ConfigError refusal(const std::string& address, const std::string& why) {
  return ConfigError("address '" + address + "': " + why + "; valid is http://HOST:PORT");
}

// How many connections there can be. The limit of descriptors is raised to what may be had.
std::size_t affordable(std::size_t connections) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return connections;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::size_t free =
      limit.rlim_cur > 2 * kDescriptorsOfOthers ? limit.rlim_cur - kDescriptorsOfOthers : 1;
  return std::clamp<std::size_t>(connections, 1, free);
}

const char* code_of(int status) {
  if (status >= 200 && status < 300) return "";
  if (status == 408 || status == 504) return "late";
  if (status == 429) return "full";
  if (status == 503) return "unavailable";
  return status >= 400 && status < 500 ? "invalid_input" : "failed";
}

// The begin of a body as one line.
std::string quoted_line(std::span<const std::byte> body) {
  std::string line(reinterpret_cast<const char*>(body.data()), std::min(body.size(), kQuoted));
  std::replace_if(line.begin(), line.end(), [](char c) { return c >= 0 && c < ' '; }, ' ');
  return line;
}

// The first output of an answer in binary: what is behind the JSON, which says how long it is.
void read_output(const HttpRequest& got, std::size_t bytes, net::Answer& answer) {
  const auto json = got.header("inference-header-content-length");
  std::size_t at = 0;
  if (!json || std::from_chars(json->data(), json->data() + json->size(), at).ec != std::errc()) {
    return;
  }
  if (at > got.body.size() || got.body.size() - at < bytes) return;
  exec::TensorSpec spec;
  spec.dtype = exec::DType::kFloat32;
  spec.shape = {static_cast<std::int64_t>(bytes / sizeof(float))};
  answer.outputs = std::make_shared<const std::vector<exec::TensorSpec>>(1, std::move(spec));
  answer.tensors.emplace_back(bytes);
  if (bytes > 0) std::memcpy(answer.tensors.back().data(), got.body.data() + at, bytes);
}

}  // namespace

struct HttpPeer::Connection {
  static constexpr std::int64_t kNone = -1;

  int fd = -1;
  std::int64_t id = kNone;  // of the request under way
  const std::string* bytes = nullptr;
  std::size_t answer_bytes = 0;
  std::size_t written = 0;
  HttpParser parser{HttpLimits{}, HttpParser::Reads::kAnswers};
};

HttpPeer::HttpPeer(const std::string& address, std::size_t connections)
    : address_(address), most_(affordable(connections)) {
  if (!address.starts_with(kScheme)) throw refusal(address, "it is not HTTP");
  std::string_view place = std::string_view(address).substr(kScheme.size());
  if (place.ends_with('/')) place.remove_suffix(1);
  const std::size_t colon = place.rfind(':');
  if (colon == std::string_view::npos || colon == 0) throw refusal(address, "it has no port");
  std::string host(place.substr(0, colon));
  const std::string port(place.substr(colon + 1));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  constexpr int kLargestPort = 65535;
  int number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number < 1 ||
      number > kLargestPort) {
    throw refusal(address, "the port is no number from 1 to 65535");
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); failed != 0) {
    throw refusal(address, ::gai_strerror(failed));
  }
  std::memcpy(&to_, found->ai_addr, found->ai_addrlen);
  to_size_ = found->ai_addrlen;
  ::freeaddrinfo(found);
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) throw DeviceError(std::string("[HttpPeer] epoll: ") + std::strerror(errno));
}

HttpPeer::~HttpPeer() {
  for (const auto& each : all_) {
    if (each->fd >= 0) ::close(each->fd);
  }
  ::close(epoll_);
}

std::vector<net::PollItem> HttpPeer::poll_items() const {
  return {{nullptr, epoll_, net::kPollIn, 0}};
}

Nanos HttpPeer::wake_at() const {
  return give_ups_.empty() ? kNever : give_ups_.front().at;
}

std::string HttpPeer::trouble() const {
  return "no connection to " + address_ + (trouble_.empty() ? "" : ": " + trouble_);
}

void HttpPeer::send(const net::LoadRequest& request, Nanos, std::vector<net::Answer>& ended) {
  Connection* on = nullptr;
  if (!idle_.empty()) {
    on = idle_.back();
    idle_.pop_back();
  } else {
    on = open();
  }
  if (on == nullptr) {
    net::Answer& answer = ended.emplace_back();
    answer.id = request.id;
    answer.code = "unavailable";
    answer.message = trouble_;
    return;
  }
  ++outstanding_;
  on->id = request.id;
  on->bytes = &request.sample.encoded_inputs;
  on->answer_bytes = request.model.read_answer ? request.model.answer_bytes : 0;
  on->written = 0;
  if (request.give_up != kNever) give_ups_.push_back({request.give_up, on, request.id});
  write(*on, ended);
}

// A connection on its way, or null, and `trouble_` says why.
HttpPeer::Connection* HttpPeer::open() {
  if (closed_.empty()) {
    if (all_.size() >= most_) {
      trouble_ = "all " + std::to_string(most_) + " connections wait for an answer";
      return nullptr;
    }
    closed_.push_back(all_.emplace_back(std::make_unique<Connection>()).get());
  }
  Connection& on = *closed_.back();
  const int fd = ::socket(to_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int yes = 1;
  if (fd >= 0) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  const auto* to = reinterpret_cast<const sockaddr*>(&to_);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &on;
  if (fd < 0 || (::connect(fd, to, to_size_) < 0 && errno != EINPROGRESS) ||
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) < 0) {
    trouble_ = std::strerror(errno);
    if (fd >= 0) ::close(fd);
    return nullptr;
  }
  closed_.pop_back();
  on.fd = fd;
  on.parser = HttpParser(HttpLimits{}, HttpParser::Reads::kAnswers);
  return &on;
}

void HttpPeer::write(Connection& on, std::vector<net::Answer>& ended) {
  while (on.id != Connection::kNone && on.written < on.bytes->size()) {
    const ssize_t count =
        ::send(on.fd, on.bytes->data() + on.written, on.bytes->size() - on.written, MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EAGAIN || errno == ENOTCONN || errno == EINTR) return;
      return fail(on, std::strerror(errno), ended);
    }
    on.written += static_cast<std::size_t>(count);
  }
}

void HttpPeer::pump(Nanos now, std::vector<net::Answer>& ended) {
  // The first one shows whether anybody is there.
  if (!connected_ && closed_.size() == all_.size()) open();
  std::array<epoll_event, kMostEvents> events;
  int count = 0;
  do {
    count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
      auto& on = *static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      handle(on, events[static_cast<std::size_t>(i)].events, ended);
    }
  } while (count == static_cast<int>(events.size()));
  give_up(now, ended);
}

void HttpPeer::handle(Connection& on, std::uint32_t events, std::vector<net::Answer>& ended) {
  if (on.fd < 0) return;
  if (events & (EPOLLERR | EPOLLHUP)) {
    // A connection that ends with its last answer still has that to read.
    if (events & EPOLLIN) read(on, ended);
    if (on.fd < 0) return;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(on.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return fail(on, error != 0 ? std::strerror(error) : "the connection was closed", ended);
  }
  if (!connected_ && (events & EPOLLOUT)) {
    connected_ = true;
    if (on.id == Connection::kNone) idle_.push_back(&on);
  }
  if (events & (EPOLLIN | EPOLLRDHUP)) read(on, ended);
  if (on.fd >= 0 && (events & EPOLLOUT)) write(on, ended);
}

void HttpPeer::read(Connection& on, std::vector<net::Answer>& ended) {
  while (true) {
    const std::span<char> space = on.parser.space();
    const ssize_t count = ::recv(on.fd, space.data(), space.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
      return fail(on, count < 0 ? std::strerror(errno) : "the connection was closed", ended);
    }
    on.parser.filled(static_cast<std::size_t>(count));
    if (!take(on, ended)) return;
  }
}

bool HttpPeer::take(Connection& on, std::vector<net::Answer>& ended) {
  while (true) {
    switch (on.parser.next()) {
      case HttpParser::Next::kMore:
      case HttpParser::Next::kContinue:
        return true;
      case HttpParser::Next::kBad:
        fail(on, "the answer is not HTTP/1.1: " + on.parser.error().message, ended);
        return false;
      case HttpParser::Next::kHead:  // only where heads are asked for
      case HttpParser::Next::kRequest:
        break;
    }
    if (on.parser.request().status < 200) {  // "wait for the real one"
      on.parser.pop();
      continue;
    }
    if (on.id == Connection::kNone) {  // nobody asked
      close(on);
      return false;
    }
    answered(on, ended);
    // A server that answered before it had the whole request will not take the next one here.
    const bool kept = on.parser.request().keep_alive && on.written == on.bytes->size();
    on.parser.pop();
    on.id = Connection::kNone;
    if (!kept) {
      close(on);
      return false;
    }
    idle_.push_back(&on);
  }
}

void HttpPeer::answered(Connection& on, std::vector<net::Answer>& ended) {
  const HttpRequest& got = on.parser.request();
  net::Answer& answer = ended.emplace_back();
  answer.id = on.id;
  answer.code = code_of(got.status);
  if (!answer.ok()) {
    answer.message = "HTTP " + std::to_string(got.status) + " " + quoted_line(got.body);
  } else if (on.answer_bytes > 0) {
    read_output(got, on.answer_bytes, answer);
  }
  --outstanding_;
}

void HttpPeer::fail(Connection& on, const std::string& why, std::vector<net::Answer>& ended) {
  if (!connected_) trouble_ = why;
  if (on.id != Connection::kNone) {
    net::Answer& answer = ended.emplace_back();
    answer.id = on.id;
    answer.code = "unavailable";
    answer.message = why;
    on.id = Connection::kNone;
    --outstanding_;
  }
  close(on);
}

void HttpPeer::give_up(Nanos now, std::vector<net::Answer>& ended) {
  while (!give_ups_.empty()) {
    const GiveUp next = give_ups_.front();
    const bool under_way = next.connection->id == next.id;
    if (under_way && next.at > now) return;
    give_ups_.pop_front();
    if (under_way) fail(*next.connection, "no answer in time", ended);
  }
}

// Used again only by a later send(): what this round's events still say of it finds no descriptor.
void HttpPeer::close(Connection& on) {
  ::close(on.fd);
  on.fd = -1;
  std::erase(idle_, &on);
  closed_.push_back(&on);
}

}  // namespace glet::web
