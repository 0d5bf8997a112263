// Open-loop HTTP load: POSTs one body with Poisson arrivals, each at its
// intended time however slow the answers are.
//
//   open_http PORT PATH BODY_FILE RATE_RPS SECONDS SEED TIMEOUT_S
//
// Connections to 127.0.0.1 are kept alive and carry one request at a time; one
// more is opened when none is idle. A request without an answer after TIMEOUT_S
// is given up with its connection. One line per request on standard output, in
// order of the intended times: "intended_s status latency_ms behind_ms", latency
// from the intended time; status 0 is no answer; behind is how much later than
// intended this program itself got to it.
//
// std::exponential_distribution over a seeded mt19937_64: the same arrivals for
// every server that is compared.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kNone = ~std::size_t{0};
constexpr int kMostEvents = 256;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "open_http: %s\n", what.c_str());
  std::exit(2);
}

double now_s() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return static_cast<double>(at.tv_sec) + 1e-9 * static_cast<double>(at.tv_nsec);
}

struct Sent {
  double intended_s = 0.0;
  double latency_ms = 0.0;
  double behind_ms = 0.0;
  int status = 0;
};

// The value of a header of `head`, or nothing; names in any case.
std::optional<std::string_view> header(std::string_view head, std::string_view name) {
  std::size_t at = head.find("\r\n");
  while (at != std::string_view::npos) {
    const std::string_view rest = head.substr(at + 2);
    const std::string_view line = rest.substr(0, rest.find("\r\n"));
    const std::size_t colon = line.find(':');
    if (colon == name.size() && strncasecmp(line.data(), name.data(), name.size()) == 0) {
      const std::size_t begin = line.find_first_not_of(' ', colon + 1);
      return begin == std::string_view::npos ? "" : line.substr(begin);
    }
    at = head.find("\r\n", at + 2);
  }
  return std::nullopt;
}

struct Answer {
  int status = 0;
  bool close = false;
};

// The end of a chunked body, looked for from its first chunk to its last.
bool chunks_ended(std::string_view body) {
  while (true) {
    const std::size_t line = body.find("\r\n");
    if (line == std::string_view::npos) return false;
    const auto size = std::strtoull(std::string(body.substr(0, line)).c_str(), nullptr, 16);
    if (body.size() < line + 2 + size + 2) return false;
    if (size == 0) return true;
    body.remove_prefix(line + 2 + size + 2);
  }
}

// A whole answer in `bytes`, or nothing while more has to come.
std::optional<Answer> whole(std::string_view bytes) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view head = bytes.substr(0, end);
  const std::string_view body = bytes.substr(end + 4);
  if (head.size() < 12 || head.substr(0, 7) != "HTTP/1.") fail("the answer is not HTTP/1");
  Answer answer{std::atoi(std::string(head.substr(9, 3)).c_str()), false};
  if (const auto kept = header(head, "connection")) {
    answer.close = strncasecmp(kept->data(), "close", std::min<std::size_t>(5, kept->size())) == 0;
  }
  if (const auto length = header(head, "content-length")) {
    const auto size = std::strtoull(std::string(*length).c_str(), nullptr, 10);
    return body.size() >= size ? std::optional(answer) : std::nullopt;
  }
  if (header(head, "transfer-encoding")) {
    return chunks_ended(body) ? std::optional(answer) : std::nullopt;
  }
  fail("the answer has neither Content-Length nor chunks");
}

struct Connection {
  int fd = -1;
  std::size_t request = kNone;  // the one under way
  std::size_t written = 0;
  std::string read;
};

class Load {
 public:
  Load(int port, std::string request, std::vector<Sent> sent, double timeout_s)
      : request_(std::move(request)), sent_(std::move(sent)), timeout_s_(timeout_s) {
    address_.sin_family = AF_INET;
    address_.sin_port = htons(static_cast<std::uint16_t>(port));
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (epoll_ < 0 || timer_ < 0) fail(std::strerror(errno));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event);
  }

  const std::vector<Sent>& run() {
    start_s_ = now_s();
    while (ended_ < sent_.size()) {
      send_due();
      give_up_late();
      arm();
      epoll_event events[kMostEvents];
      const int count = epoll_wait(epoll_, events, kMostEvents, -1);
      if (count < 0 && errno != EINTR) fail(std::strerror(errno));
      for (int i = 0; i < count; ++i) handle(events[i]);
      closed_.clear();
    }
    return sent_;
  }

 private:
  double elapsed_s() const { return now_s() - start_s_; }

  void send_due() {
    const double at_s = elapsed_s();
    while (next_ < sent_.size() && sent_[next_].intended_s <= at_s) begin(next_++);
  }

  // Requests are given up in the order in which they were due.
  void give_up_late() {
    const double at_s = elapsed_s();
    while (oldest_ < next_ && sent_[oldest_].intended_s + timeout_s_ <= at_s) {
      if (Connection* const held = holder_[oldest_]) drop(held);
      ++oldest_;
    }
  }

  void arm() {
    double wake_s = sent_.back().intended_s + timeout_s_;
    if (next_ < sent_.size()) wake_s = std::min(wake_s, sent_[next_].intended_s);
    if (oldest_ < next_) wake_s = std::min(wake_s, sent_[oldest_].intended_s + timeout_s_);
    const double at_s = std::max(start_s_ + wake_s, 1e-9);
    itimerspec spec{};
    spec.it_value.tv_sec = static_cast<time_t>(std::floor(at_s));
    spec.it_value.tv_nsec = static_cast<long>((at_s - std::floor(at_s)) * 1e9);
    timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
  }

  void begin(std::size_t request) {
    holder_.push_back(nullptr);
    sent_[request].behind_ms = (elapsed_s() - sent_[request].intended_s) * 1e3;
    Connection* connection = nullptr;
    if (!idle_.empty()) {
      connection = idle_.back();
      idle_.pop_back();
    } else {
      connection = open();
    }
    connection->request = request;
    connection->written = 0;
    connection->read.clear();
    holder_[request] = connection;
    write(connection);
  }

  Connection* open() {
    all_.push_back(std::make_unique<Connection>());
    Connection* const made = all_.back().get();
    made->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made->fd < 0) fail(std::strerror(errno));
    const int on = 1;
    setsockopt(made->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto* to = reinterpret_cast<const sockaddr*>(&address_);
    if (connect(made->fd, to, sizeof address_) < 0 && errno != EINPROGRESS) {
      fail(std::strerror(errno));
    }
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = made;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, made->fd, &event);
    return made;
  }

  void write(Connection* on) {
    while (on->request != kNone && on->written < request_.size()) {
      const ssize_t count =
          send(on->fd, request_.data() + on->written, request_.size() - on->written, MSG_NOSIGNAL);
      if (count < 0) {
        if (errno == EAGAIN || errno == ENOTCONN || errno == EINPROGRESS) return;
        return drop(on);
      }
      on->written += static_cast<std::size_t>(count);
    }
  }

  void handle(const epoll_event& event) {
    auto* const on = static_cast<Connection*>(event.data.ptr);
    if (on == nullptr) {
      std::uint64_t times = 0;
      while (::read(timer_, &times, sizeof times) > 0) {
      }
      return;
    }
    if (on->fd < 0) return;
    if (event.events & EPOLLIN) read(on);
    if (on->fd >= 0 && (event.events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))) return drop(on);
    if (on->fd >= 0 && (event.events & EPOLLOUT)) write(on);
  }

  void read(Connection* on) {
    char bytes[16384];
    while (true) {
      const ssize_t count = recv(on->fd, bytes, sizeof bytes, 0);
      if (count < 0 && errno == EAGAIN) break;
      if (count <= 0) {
        answered(on);
        if (on->fd >= 0) drop(on);
        return;
      }
      on->read.append(bytes, static_cast<std::size_t>(count));
    }
    answered(on);
  }

  void answered(Connection* on) {
    if (on->request == kNone) return;
    const auto answer = whole(on->read);
    if (!answer) return;
    Sent& sent = sent_[on->request];
    sent.status = answer->status;
    sent.latency_ms = (elapsed_s() - sent.intended_s) * 1e3;
    holder_[on->request] = nullptr;
    on->request = kNone;
    ++ended_;
    if (answer->close) return drop(on);
    idle_.push_back(on);
  }

  // A request on it stays without an answer. Events of this round may name it
  // still, so its memory goes after them.
  void drop(Connection* on) {
    if (on->request != kNone) {
      holder_[on->request] = nullptr;
      sent_[on->request].latency_ms = (elapsed_s() - sent_[on->request].intended_s) * 1e3;
      ++ended_;
    }
    close(on->fd);
    on->fd = -1;
    std::erase(idle_, on);
    const auto at =
        std::find_if(all_.begin(), all_.end(), [on](const auto& each) { return each.get() == on; });
    closed_.push_back(std::move(*at));
    std::swap(*at, all_.back());
    all_.pop_back();
  }

  std::string request_;
  std::vector<Sent> sent_;
  double timeout_s_;
  sockaddr_in address_{};
  int epoll_ = -1;
  int timer_ = -1;
  double start_s_ = 0.0;
  std::size_t next_ = 0;
  std::size_t oldest_ = 0;
  std::size_t ended_ = 0;
  std::vector<Connection*> holder_;
  std::vector<Connection*> idle_;
  std::vector<std::unique_ptr<Connection>> all_;
  std::vector<std::unique_ptr<Connection>> closed_;
};

double above_0(const char* text, const char* what) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (*end != '\0' || end == text || !std::isfinite(value) || value <= 0.0) {
    fail(std::string(what) + " " + text + "; give a number above 0");
  }
  return value;
}

std::string request_of(int port, const char* path, const char* body_file) {
  std::ifstream file(body_file, std::ios::binary);
  if (!file) fail(std::string(body_file) + ": cannot be read");
  const std::string body{std::istreambuf_iterator<char>(file), {}};
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
         "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

std::vector<Sent> poisson(double rate_rps, double seconds, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> gap_s(rate_rps);
  std::vector<Sent> sent;
  for (double at_s = gap_s(random); at_s < seconds; at_s += gap_s(random)) {
    sent.push_back({at_s, 0.0, 0.0, 0});
  }
  return sent;
}

// Overload holds as many connections as arrive within the timeout.
void allow_connections() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) fail("give PORT PATH BODY_FILE RATE_RPS SECONDS SEED TIMEOUT_S");
  const double port = above_0(argv[1], "port");
  if (port > 65535.0 || port != std::floor(port))
    fail("port " + std::string(argv[1]) + "; give 1 to 65535");
  allow_connections();
  auto sent = poisson(above_0(argv[4], "rate"), above_0(argv[5], "seconds"),
                      std::strtoull(argv[6], nullptr, 10));
  if (sent.empty()) fail("no request arrives in that time; give a higher rate or more seconds");
  Load load(static_cast<int>(port), request_of(static_cast<int>(port), argv[2], argv[3]),
            std::move(sent), above_0(argv[7], "timeout"));
  for (const Sent& each : load.run()) {
    std::printf("%.6f %d %.4f %.4f\n", each.intended_s, each.status, each.latency_ms,
                each.behind_ms);
  }
}
