#include "glet/exec/graph_cache.h"

#include <algorithm>
#include <utility>

namespace glet::exec {

std::shared_ptr<const Captured> GraphCache::find(const GraphKey& key) {
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(entries_.begin(), entries_.end(),
                               [&](const Entry& entry) { return entry.key == key; });
  if (at == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at);
  return at->captured;
}

std::shared_ptr<const Captured> GraphCache::add(const GraphKey& key, Captured captured) {
  auto shared = std::make_shared<const Captured>(std::move(captured));
  Entries gone;
  {
    const std::lock_guard lock(mutex_);
    entries_.push_front({key, shared});
    count();
    while (entries_.size() > 1 && (graphs_ > limits_.max_graphs || bytes_ > limits_.max_bytes)) {
      gone.splice(gone.end(), entries_, std::prev(entries_.end()));
      count();
    }
  }
  return shared;
}

void GraphCache::context_ends(std::uint64_t context_id) noexcept {
  Entries gone;  // destroyed after the lock is open again
  const std::lock_guard lock(mutex_);
  for (auto at = entries_.begin(); at != entries_.end();) {
    const auto next = std::next(at);
    if (at->key.context_id == context_id) gone.splice(gone.end(), entries_, at);
    at = next;
  }
  count();
}

void GraphCache::count() {
  graphs_ = entries_.size();
  std::size_t bytes = 0;
  for (const Entry& entry : entries_) bytes += entry.captured->bytes;
  bytes_ = bytes;
}

}  // namespace glet::exec
