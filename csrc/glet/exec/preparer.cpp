#include "glet/exec/preparer.h"

#include <pthread.h>

#include <utility>

namespace glet::exec {

Preparer::~Preparer() {
  std::deque<std::function<void()>> dropped;  // without the lock
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    dropped.swap(jobs_);
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Preparer::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  }
  wake_.notify_one();
}

void Preparer::run() {
  ::pthread_setname_np(::pthread_self(), "glet-prepare");
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (jobs_.empty()) {
      wake_.wait(lock);
      continue;
    }
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;  // what it held may take long to go
    lock.lock();
  }
}

}  // namespace glet::exec
