#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "glet/event_fd.h"
#include "glet/exec/submission.h"

namespace glet::exec {

// Where all gpulets of an engine put their answers, and the count of those still owed.
class CompletionQueue {
 public:
  // Announces `n` submissions, before they are admitted: each owes one completion.
  void expect(std::size_t n) { owed_.fetch_add(static_cast<std::int64_t>(n)); }

  // Appends a batch of completions and empties `done`, keeping its memory: one lock, and one
  // wake-up only when the consumer had nothing left.
  void push(std::vector<Completion>& done);

  // Moves at most `max` to the end of `out`; returns how many.
  std::size_t drain(std::vector<Completion>& out, std::size_t max);

  // Waits until nothing is owed. True when so before `until`.
  bool wait_settled(Nanos until);

  int fd() const { return event_.fd(); }

 private:
  std::mutex mutex_;
  std::condition_variable settled_;
  std::vector<Completion> ready_;
  std::size_t taken_ = 0;  // of ready_, from its front
  std::atomic<std::int64_t> owed_{0};
  EventFd event_;
};

}  // namespace glet::exec
