#pragma once

#include <functional>
#include <future>
#include <mutex>
#include <utility>
#include <vector>

#include "glet/event_fd.h"

namespace glet::net {

// How other threads reach the one that owns the sockets: they post work, it runs it between
// bursts. While nobody owns the mailbox (before start, after close) posted work waits.
class Mailbox {
 public:
  int fd() const { return wake_.fd(); }

  void post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      posted_.push_back(std::move(work));
    }
    wake_.notify();
  }

  // Owner thread: runs what was posted, in order.
  void run() {
    wake_.clear();
    std::vector<std::function<void()>> batch;
    {
      const std::lock_guard lock(mutex_);
      batch.swap(posted_);
    }
    for (const auto& work : batch) work();
  }

 private:
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  EventFd wake_;
};

}  // namespace glet::net
