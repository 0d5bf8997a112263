#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "glet/web/tls_library.h"

// TLS of a door: what OpenSSL is asked for, and how. Sockets stay ours: OpenSSL gets bytes and
// gives bytes, so that nothing blocks and one system call sends many records.
namespace glet::web {

// Of PEM, each a path. Without `client_ca` clients show no certificate.
struct TlsFiles {
  std::string cert;  // the chain, the server's own first
  std::string key;
  std::string client_ca;
};

// What is spoken inside, as ALPN names it.
enum class Alpn : std::uint8_t { kHttp1, kH2 };

// Certificate and rules that sessions begin with. Those that have begun keep it.
class TlsContext {
 public:
  // Throws ConfigError, one line, for files that cannot be read, are no certificate or key, do not
  // belong together, or are not valid now.
  TlsContext(const tls::Api& api, const TlsFiles& files);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  const tls::Api& api() const { return api_; }
  tls::Context* get() const { return context_; }
  // When the certificate ends, in seconds from the making of this.
  std::int64_t expires_in_s() const { return expires_in_s_; }

 private:
  void set_rules();
  void use_certificate(const TlsFiles& files);
  void check_dates(const std::string& path);
  void ask_clients(const std::string& path);

  const tls::Api& api_;
  tls::Context* context_;
  std::int64_t expires_in_s_ = 0;
};

// The server's side of one connection. All calls from one thread.
class TlsSession {
 public:
  TlsSession(const TlsContext& context, Alpn alpn);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // As recv(): plain bytes, 0 at the end of the stream, -1 with errno. Shakes hands first, and
  // sends what that takes. One recv() at most.
  ssize_t read(int fd, std::span<std::byte> into);
  // As sendmsg(): how many of the plain bytes were taken; what the socket did not take of them is
  // kept, and goes out with the next call. Without vectors it sends only that.
  ssize_t write(int fd, std::span<const iovec> vectors);
  // Says that nothing more comes, as far as the socket takes it.
  void say_goodbye(int fd);

  // read() has something without a word from the socket.
  bool has_pending() const { return pending_; }
  // The socket may have more than the last read() took.
  bool may_have_more() const { return more_; }
  bool is_sending() const { return !out_.empty(); }
  bool is_shaking() const { return !shaken_; }

 private:
  struct Calls;  // what OpenSSL calls; tls.cpp

  ssize_t decode(std::span<std::byte> into);
  bool receive(int fd);
  bool encode(const char* data, std::size_t size);
  bool send(int fd);
  bool send_kept(int fd);
  void answer_plain();

  const tls::Api& api_;
  Alpn alpn_;
  tls::Ssl* ssl_;
  std::string_view in_;  // what came and is not decoded; in left_, or in the thread's buffer
  std::string left_;
  std::string out_;  // encoded, and not with the system yet
  std::size_t out_done_ = 0;
  bool greeted_ = false;  // a first byte came
  bool shaken_ = false;
  bool pending_ = false;
  bool more_ = false;
  bool ended_ = false;
  bool failed_ = false;
};

}  // namespace glet::web
