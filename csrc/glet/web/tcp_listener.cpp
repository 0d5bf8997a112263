#include "glet/web/tcp_listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>

#include "glet/error.h"

namespace glet::web {
namespace {

constexpr int kBacklog = 512;
constexpr std::string_view kValid = "; valid is ADDRESS:PORT, 127.0.0.1:8001 for example";

struct Endpoint {
  std::string host;
  std::string port;
};

Endpoint parse(const std::string& address) {
  const auto colon = address.rfind(':');
  Endpoint endpoint;
  if (colon != std::string::npos) {
    endpoint.host = address.substr(0, colon);
    endpoint.port = address.substr(colon + 1);
  }
  if (endpoint.host.size() > 2 && endpoint.host.front() == '[' && endpoint.host.back() == ']') {
    endpoint.host = endpoint.host.substr(1, endpoint.host.size() - 2);
  }
  unsigned port = 0;
  const char* const end = endpoint.port.data() + endpoint.port.size();
  const auto read = std::from_chars(endpoint.port.data(), end, port);
  constexpr unsigned kLastPort = 65535;
  if (endpoint.host.empty() || read.ec != std::errc() || read.ptr != end || port > kLastPort) {
    throw ConfigError("cannot listen at '" + address + "'" + std::string(kValid));
  }
  return endpoint;
}

std::string name_of(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  auto* const generic = reinterpret_cast<sockaddr*>(&bound);
  if (::getsockname(fd, generic, &size) != 0 ||
      ::getnameinfo(generic, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  const std::string shown = bound.ss_family == AF_INET6 ? "[" + std::string(host) + "]" : host;
  return shown + ":" + port;
}

}  // namespace

int listen_at(const std::string& address, std::string& actual) {
  const Endpoint endpoint = parse(address);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int unknown =
      ::getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &hints, &found);
  if (unknown != 0) {
    throw ConfigError("cannot listen at '" + address + "': " + ::gai_strerror(unknown) +
                      std::string(kValid));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, ::freeaddrinfo);
  const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int yes = 1;
  if (fd >= 0 && ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
      ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) == 0 &&
      ::bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0) {
    actual = name_of(fd);
    return fd;
  }
  const std::string why = std::strerror(errno);
  if (fd >= 0) ::close(fd);
  throw ConfigError("cannot listen at '" + address + "': " + why +
                    "; valid is ADDRESS:PORT with an address of this machine and a free port");
}

void set_no_delay(int fd) {
  const int yes = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

}  // namespace glet::web
