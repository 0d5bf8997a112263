#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "glet/error.h"
#include "glet/net/mailbox.h"
#include "glet/net/memory.h"
#include "glet/short_slices.h"

namespace glet::net {

// The life of a thread that owns sockets: started once, told to stop through its mailbox, joined.
class LoopThread {
 public:
  // `name` is what the system shows, at most 15 characters.
  LoopThread(const char* name, Mailbox& mailbox) : name_(name), mailbox_(mailbox) {}

  // Runs `body`, which returns soon after stopping() is true. Throws ArgumentError when it was
  // started or closed before.
  void start(std::function<void()> body) {
    const std::lock_guard lock(mutex_);
    if (running_ || stop_) throw ArgumentError(std::string("[") + name_ + "] started once already");
    running_ = true;
    keep_freed_memory();
    const ShortSlices inherited;
    thread_ = std::thread(std::move(body));
    pthread_setname_np(thread_.native_handle(), name_);
  }

  // Returns when the thread has ended. Harmless when it never ran, or was closed before.
  void close() {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    if (!running_) return;
    running_ = false;
    mailbox_.post([] {});
    thread_.join();
  }

  bool stopping() const { return stop_.load(std::memory_order_relaxed); }

  // Calls `f(running)`; the thread neither starts nor ends meanwhile.
  template <typename F>
  auto held(F&& f) {
    const std::lock_guard lock(mutex_);
    return f(running_);
  }

 private:
  const char* name_;
  Mailbox& mailbox_;
  std::mutex mutex_;
  bool running_ = false;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace glet::net
