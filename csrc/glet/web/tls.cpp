#include "glet/web/tls.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "glet/error.h"

namespace glet::web {
namespace {

constexpr std::size_t kReceive = 128 << 10;  // of one recv()
constexpr std::size_t kRecord = 16 << 10;    // plain bytes of the longest record
constexpr std::size_t kEncode = 128 << 10;   // plain bytes for one send()
constexpr std::size_t kKept = 16 << 10;      // buffers of a connection beyond this go back

// One of each for all connections of a loop's thread: between two calls nothing is in them.
struct Buffers {
  std::unique_ptr<char[]> in = std::make_unique_for_overwrite<char[]>(kReceive);
  std::array<char, kRecord> record;
  std::string out;
};

Buffers& buffers() {
  thread_local Buffers made;
  return made;
}

void forget(std::string& text) {
  text.clear();
  if (text.capacity() > kKept) text.shrink_to_fit();
}

}  // namespace

// Where OpenSSL reads and writes: never a socket.
struct TlsSession::Calls {
  static TlsSession& of(const tls::Api& api, tls::Bio* bio) {
    return *static_cast<TlsSession*>(api.BIO_get_data(bio));
  }

  static const tls::Api*& api() {
    static const tls::Api* used = nullptr;
    return used;
  }

  static int read(tls::Bio* bio, char* into, int size) {
    TlsSession& me = of(*api(), bio);
    api()->BIO_clear_flags(bio, tls::kBioRetryFlags);
    if (me.in_.empty()) {
      api()->BIO_set_flags(bio, tls::kBioRetryRead);
      return -1;
    }
    const std::size_t part = std::min(static_cast<std::size_t>(size), me.in_.size());
    std::memcpy(into, me.in_.data(), part);
    me.in_.remove_prefix(part);
    return static_cast<int>(part);
  }

  static int write(tls::Bio* bio, const char* data, int size) {
    api()->BIO_clear_flags(bio, tls::kBioRetryFlags);
    try {
      buffers().out.append(data, static_cast<std::size_t>(size));
    } catch (const std::bad_alloc&) {
      return -1;
    }
    return size;
  }

  static long control(tls::Bio*, int what, long, void*) { return what == tls::kBioFlush ? 1 : 0; }

  static const tls::BioMethod* method(const tls::Api& library) {
    static const tls::BioMethod* const made = [&library] {
      api() = &library;
      tls::BioMethod* method =
          library.BIO_meth_new(library.BIO_get_new_index() | tls::kBioSourceSink, "glet");
      if (method == nullptr) throw DeviceError("[TlsSession] no memory");
      library.BIO_meth_set_read(method, read);
      library.BIO_meth_set_write(method, write);
      library.BIO_meth_set_ctrl(method, control);
      return method;
    }();
    return made;
  }
};

TlsSession::TlsSession(const TlsContext& context, Alpn alpn)
    : api_(context.api()), alpn_(alpn), ssl_(api_.SSL_new(context.get())) {
  tls::Bio* bio = ssl_ == nullptr ? nullptr : api_.BIO_new(Calls::method(api_));
  if (bio == nullptr) {
    api_.SSL_free(ssl_);
    throw DeviceError("[TlsSession] no memory");
  }
  api_.BIO_set_data(bio, this);
  api_.BIO_set_init(bio, 1);
  api_.SSL_set_bio(ssl_, bio, bio);
  api_.SSL_set_ex_data(ssl_, 0, &alpn_);
  api_.SSL_set_accept_state(ssl_);
}

TlsSession::~TlsSession() {
  api_.SSL_free(ssl_);
}

// ---- bytes in ----

ssize_t TlsSession::read(int fd, std::span<std::byte> into) {
  const bool was_pending = pending_;
  pending_ = more_ = false;
  if (failed_) {
    errno = EPROTO;
    return -1;
  }
  const std::string kept = std::move(left_);
  left_.clear();
  in_ = kept;
  ssize_t got = decode(into);
  // What waits is handed over before the socket is asked again: a client that sends without end
  // has its turn like all others.
  if (got < 0 && !failed_ && !was_pending) {
    if (!receive(fd)) {
      const int why = errno;
      if (is_sending()) send_kept(fd);
      errno = why;
      return why == 0 ? 0 : -1;
    }
    got = decode(into);
  }
  if (!in_.empty()) left_ = in_;
  in_ = {};
  send(fd);
  if (got < 0) errno = failed_ ? EPROTO : EAGAIN;
  return got;
}

// The next plain bytes; -1: there are none yet, or the session has failed.
ssize_t TlsSession::decode(std::span<std::byte> into) {
  std::size_t got = 0;
  while (got < into.size()) {
    api_.ERR_clear_error();
    const int most = static_cast<int>(std::min<std::size_t>(into.size() - got, INT_MAX));
    const int size = api_.SSL_read(ssl_, into.data() + got, most);
    if (size > 0) {
      got += static_cast<std::size_t>(size);
      continue;
    }
    const int why = api_.SSL_get_error(ssl_, size);
    ended_ = why == tls::kErrorZeroReturn;
    failed_ = !ended_ && why != tls::kErrorWantRead;
    break;
  }
  shaken_ = shaken_ || (!failed_ && api_.SSL_is_init_finished(ssl_) != 0);
  // The end, and a failure, are told by the next call.
  pending_ = got > 0 && (got == into.size() || ended_ || failed_);
  if (got > 0) return static_cast<ssize_t>(got);
  return ended_ ? 0 : -1;
}

// False with errno when nothing came, 0 at the end of the stream.
bool TlsSession::receive(int fd) {
  char* const space = buffers().in.get();
  ssize_t got = -1;
  do {
    got = ::recv(fd, space, kReceive, 0);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) {
    if (got == 0) errno = 0;
    return false;
  }
  more_ = static_cast<std::size_t>(got) == kReceive;
  in_ = {space, static_cast<std::size_t>(got)};
  // A client that speaks HTTP here: records begin with 22, methods with a letter.
  const bool is_first = !shaken_ && !greeted_;
  greeted_ = true;
  if (is_first && in_.front() >= 'A' && in_.front() <= 'Z') answer_plain();
  return true;
}

void TlsSession::answer_plain() {
  constexpr std::string_view kLine = "{\"error\":\"this port speaks TLS; say https\"}";
  buffers().out =
      "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
      "Connection: close\r\nContent-Length: " +
      std::to_string(kLine.size()) + "\r\n\r\n" + std::string(kLine);
  failed_ = true;
  in_ = {};
}

// ---- bytes out ----

ssize_t TlsSession::write(int fd, std::span<const iovec> vectors) {
  if (failed_) {
    errno = EPROTO;
    return -1;
  }
  if (!send_kept(fd)) return -1;
  if (vectors.empty()) return 0;
  if (!shaken_) {
    errno = EAGAIN;
    return -1;
  }
  std::array<char, kRecord>& record = buffers().record;
  std::size_t filled = 0;
  std::size_t taken = 0;
  bool good = true;
  for (const iovec& vector : vectors) {
    const char* data = static_cast<const char*>(vector.iov_base);
    std::size_t left = vector.iov_len;
    while (good && left > 0 && taken < kEncode) {
      // Short pieces share a record, long ones are encoded from where they lie.
      const std::size_t part = std::min(left, kRecord - filled);
      if (part == kRecord) {
        good = encode(data, part);
      } else {
        std::memcpy(record.data() + filled, data, part);
        filled += part;
        if (filled == kRecord) good = encode(record.data(), std::exchange(filled, 0));
      }
      data += part;
      left -= part;
      taken += part;
    }
  }
  if (good && filled > 0) good = encode(record.data(), filled);
  const bool sent = send(fd);
  if (good && (sent || errno == EAGAIN || errno == EWOULDBLOCK)) return static_cast<ssize_t>(taken);
  failed_ = true;
  if (!good) errno = EPROTO;
  return -1;
}

bool TlsSession::encode(const char* data, std::size_t size) {
  while (size > 0) {
    api_.ERR_clear_error();
    const int done = api_.SSL_write(ssl_, data, static_cast<int>(size));
    if (done <= 0) return false;
    data += done;
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

// What was encoded just now goes to the socket, or behind what waits for it.
bool TlsSession::send(int fd) {
  std::string& made = buffers().out;
  std::size_t done = 0;
  bool good = send_kept(fd);
  while (good && done < made.size()) {
    const ssize_t part = ::send(fd, made.data() + done, made.size() - done, MSG_NOSIGNAL);
    if (part < 0 && errno == EINTR) continue;
    good = part >= 0;
    if (good) done += static_cast<std::size_t>(part);
  }
  const int why = errno;
  out_.append(made, done);
  made.clear();
  errno = why;
  return good;
}

bool TlsSession::send_kept(int fd) {
  while (!out_.empty()) {
    const ssize_t part = ::send(fd, out_.data() + out_done_, out_.size() - out_done_, MSG_NOSIGNAL);
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return false;
    out_done_ += static_cast<std::size_t>(part);
    if (out_done_ < out_.size()) continue;
    out_done_ = 0;
    forget(out_);
  }
  return true;
}

void TlsSession::say_goodbye(int fd) {
  if (failed_ || !shaken_) return;
  api_.ERR_clear_error();
  api_.SSL_shutdown(ssl_);
  send(fd);
}

}  // namespace glet::web
