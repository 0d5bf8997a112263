#pragma once

#include <cstdint>
#include <vector>

#include "glet/net/protocol.h"
#include "glet/time.h"

namespace glet::net {

// Where the time of answers went, added up, and in which batches they ran.
class TimeSums {
 public:
  // Of the requests that ran in batches of one size, each with the times of its batch.
  struct OfSize {
    std::uint64_t items = 0;
    Nanos batched{0};
    Nanos executed{0};
  };
  // Larger batches, which no model has, are not told apart.
  static constexpr int kLargest = 4096;

  void add(const ResultTimes& times, Nanos now) {
    queued_ += times.queued;
    batched_ += times.batched;
    executed_ += times.executed;
    last_ = now;
    if (times.batch < 1 || times.batch > kLargest) return;
    const auto size = static_cast<std::size_t>(times.batch);
    if (sizes_.size() <= size) sizes_.resize(size + 1);
    OfSize& of_size = sizes_[size];
    ++of_size.items;
    of_size.batched += times.batched;
    of_size.executed += times.executed;
  }

  Nanos queued() const { return queued_; }
  Nanos batched() const { return batched_; }
  Nanos executed() const { return executed_; }
  // When the last was added; kNever before any.
  Nanos last() const { return last_; }
  // Index is the size of the batch; what has no items never ran.
  const std::vector<OfSize>& sizes() const { return sizes_; }

 private:
  Nanos queued_{0};
  Nanos batched_{0};
  Nanos executed_{0};
  Nanos last_ = kNever;
  std::vector<OfSize> sizes_;
};

}  // namespace glet::net
