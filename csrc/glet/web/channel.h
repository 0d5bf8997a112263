#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "glet/web/tls.h"

namespace glet::web {

// The socket of a connection, as it is or inside TLS. Without TLS each call is the system's, and
// one branch.
class Channel {
 public:
  // Takes `fd`, which does not block; `tls` may be nullptr.
  explicit Channel(int fd, std::unique_ptr<TlsSession> tls = nullptr)
      : fd_(fd), tls_(std::move(tls)) {}
  ~Channel() {
    if (tls_) tls_->say_goodbye(fd_);
    ::close(fd_);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  int fd() const { return fd_; }

  // As recv().
  ssize_t read(std::span<std::byte> into) {
    if (tls_) return tls_->read(fd_, into);
    const ssize_t got = ::recv(fd_, into.data(), into.size(), 0);
    more_ = got == static_cast<ssize_t>(into.size());
    return got;
  }
  // As sendmsg(); see TlsSession::write().
  ssize_t write(std::span<iovec> vectors) {
    if (tls_) return tls_->write(fd_, vectors);
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = vectors.size();
    return ::sendmsg(fd_, &message, MSG_NOSIGNAL);
  }
  // The peer gets the end of the stream.
  void shut() {
    if (tls_) tls_->say_goodbye(fd_);
    ::shutdown(fd_, SHUT_WR);
  }

  // read() has something without a word from the socket.
  bool has_pending() const { return tls_ && tls_->has_pending(); }
  // The socket may have more than the last read() took.
  bool may_have_more() const { return tls_ ? tls_->may_have_more() : more_; }
  // Bytes that write() took are not with the system yet: write() without any goes on with them.
  bool is_sending() const { return tls_ && tls_->is_sending(); }
  // Nothing is read or written before the peer has shaken hands.
  bool is_shaking() const { return tls_ && tls_->is_shaking(); }

 private:
  int fd_;
  bool more_ = false;
  std::unique_ptr<TlsSession> tls_;
};

}  // namespace glet::web
