#pragma once

#include <vector>

#include "glet/time.h"

namespace glet::profile {

// Latency of one (model, share) by batch size. Exact at the measured points, linear between them,
// and never decreasing: a larger batch is never said to be faster than a smaller one.
class LatencyTable {
 public:
  struct Point {
    int batch;
    Nanos latency;
  };

  // Throws ArgumentError unless there is at least one point, batches are >= 1 and strictly
  // increasing and latencies are > 0. Below the first measured batch its latency holds.
  explicit LatencyTable(const std::vector<Point>& points);

  // Largest batch that was measured.
  int max_batch() const { return static_cast<int>(by_batch_.size()) - 1; }

  // Latency of a batch, 1 <= batch <= max_batch(). Throws ProfileError outside that range.
  Nanos at(int batch) const;

  bool operator==(const LatencyTable&) const = default;

 private:
  std::vector<Nanos> by_batch_;  // index is the batch; entry 0 is unused
};

}  // namespace glet::profile
