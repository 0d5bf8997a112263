#include "glet/exec/completion_queue.h"

#include <algorithm>
#include <iterator>

namespace glet::exec {

void CompletionQueue::push(std::vector<Completion>& done) {
  if (done.empty()) return;
  const auto count = static_cast<std::int64_t>(done.size());
  const std::lock_guard lock(mutex_);
  const bool was_empty = ready_.empty();
  ready_.insert(ready_.end(), std::make_move_iterator(done.begin()),
                std::make_move_iterator(done.end()));
  done.clear();
  // Under the lock, so that the descriptor always agrees with the queue.
  if (was_empty) event_.notify();
  if (owed_.fetch_sub(count) == count) settled_.notify_all();
}

std::size_t CompletionQueue::drain(std::vector<Completion>& out, std::size_t max) {
  const std::lock_guard lock(mutex_);
  const std::size_t count = std::min(max, ready_.size() - taken_);
  if (count == 0) return 0;
  if (taken_ == 0 && count == ready_.size() && out.empty()) {
    out.swap(ready_);
  } else {
    const auto first = ready_.begin() + static_cast<std::ptrdiff_t>(taken_);
    const auto last = first + static_cast<std::ptrdiff_t>(count);
    out.insert(out.end(), std::make_move_iterator(first), std::make_move_iterator(last));
    taken_ += count;
    if (taken_ < ready_.size()) return count;
    ready_.clear();
    taken_ = 0;
  }
  event_.clear();
  return count;
}

bool CompletionQueue::wait_settled(Nanos until) {
  std::unique_lock lock(mutex_);
  return settled_.wait_until(lock, std::chrono::steady_clock::time_point(until),
                             [this] { return owed_.load() == 0; });
}

}  // namespace glet::exec
