#pragma once

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "glet/error.h"
#include "glet/time.h"

namespace glet {

// Wakes a poller at a point of the monotonic clock, to the microsecond: poll's own timeout counts
// whole milliseconds.
class TimerFd {
 public:
  TimerFd() : fd_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
    if (fd_ < 0) throw DeviceError(std::string("[TimerFd] timerfd: ") + std::strerror(errno));
  }
  TimerFd(const TimerFd&) = delete;
  TimerFd& operator=(const TimerFd&) = delete;
  ~TimerFd() { ::close(fd_); }

  int fd() const { return fd_; }

  // Readable from `when` on, and not before; kNever switches it off. Replaces what was set.
  void set(Nanos when) {
    constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
    itimerspec spec{};
    if (when != kNever) {
      // All zero would switch the timer off.
      const std::int64_t at = when.count() > 0 ? when.count() : 1;
      spec.it_value = {at / kNanosPerSecond, at % kNanosPerSecond};
    }
    if (::timerfd_settime(fd_, TFD_TIMER_ABSTIME, &spec, nullptr) != 0) {
      throw DeviceError(std::string("[TimerFd.set] ") + std::strerror(errno));
    }
  }

 private:
  int fd_;
};

}  // namespace glet
