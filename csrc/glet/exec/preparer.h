#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace glet::exec {

// A thread for what takes long and that no gpulet may wait for; one after the other. It starts with
// the first.
class Preparer {
 public:
  Preparer() = default;
  Preparer(const Preparer&) = delete;
  Preparer& operator=(const Preparer&) = delete;
  // Waits for what runs; what has not begun is dropped.
  ~Preparer();

  // `job` may not throw.
  void post(std::function<void()> job);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace glet::exec
