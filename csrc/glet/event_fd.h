#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "glet/error.h"

namespace glet {

// How the core wakes a poller, ours or Python's: a descriptor that is readable while something
// waits.
class EventFd {
 public:
  EventFd() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (fd_ < 0) throw DeviceError(std::string("[EventFd] eventfd: ") + std::strerror(errno));
  }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  ~EventFd() { ::close(fd_); }

  int fd() const { return fd_; }

  // Makes the descriptor readable. Safe from any thread.
  void notify() {
    const std::uint64_t one = 1;
    // EAGAIN means the counter is at its maximum: it is readable already.
    [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
  }

  // Makes the descriptor unreadable again. Call before looking at what it announces.
  void clear() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(fd_, &count, sizeof count);
  }

 private:
  int fd_;
};

}  // namespace glet
