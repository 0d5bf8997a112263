#pragma once

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "glet/time.h"

namespace glet {

// Linux lets a thread ask for its CPU time in short slices (6.12 and later; earlier kernels take
// the request and do nothing). A thread that wakes with a shorter slice than the running one's
// goes first, in place of waiting for the end of a slice of milliseconds. It gets no more of the
// core than before, and no privilege is needed.
class ShortSlices {
 public:
  // The calling thread's, and those of threads it starts meanwhile, until the object ends.
  ShortSlices() : before_(read()) { ask(); }
  ~ShortSlices() { write(before_); }
  ShortSlices(const ShortSlices&) = delete;
  ShortSlices& operator=(const ShortSlices&) = delete;

  // The same for the rest of the thread's life.
  static void ask() {
    Attributes wanted = read();
    if (wanted.policy != SCHED_OTHER) return;
    wanted.runtime_ns = kSlice.count();
    write(wanted);
  }

  // What the calling thread has now; 0 where the kernel does not say.
  static Nanos now() { return Nanos(read().runtime_ns); }

  // The shortest that the kernel takes.
  static constexpr Nanos kSlice = std::chrono::microseconds(100);

 private:
  // The kernel's struct sched_attr in its first version; glibc has it from 2.41 on.
  struct Attributes {
    std::uint32_t size = sizeof(Attributes);
    std::uint32_t policy = 0;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime_ns = 0;
    std::uint64_t deadline_ns = 0;
    std::uint64_t period_ns = 0;
  };

  // Where the system call is refused (seccomp), the thread stays as it is.
  static Attributes read() {
    Attributes found;
    if (::syscall(SYS_sched_getattr, 0, &found, sizeof found, 0) != 0) found.policy = ~0U;
    return found;
  }
  static void write(Attributes wanted) {
    if (wanted.policy != SCHED_OTHER) return;
    wanted.size = sizeof wanted;
    static_cast<void>(::syscall(SYS_sched_setattr, 0, &wanted, 0));
  }

  Attributes before_;
};

}  // namespace glet
