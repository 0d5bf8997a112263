#pragma once

#include <vector>

#include "glet/profile/latency_table.h"
#include "glet/time.h"

namespace glet::batch {

// How long a batch will take here: the profile's table times what this device was seen to do. The
// factor is an exponentially weighted mean of measured / table (1/8 a batch) plus twice its mean
// absolute deviation, the estimator of TCP's retransmission timer (Jacobson, 1988) with a smaller
// multiple: a device that repeats itself is predicted exactly, one that jitters with room to spare,
// because a late answer costs a whole request and an early one nothing.
class Predictor {
 public:
  Predictor(profile::LatencyTable table, int max_batch);

  // 1 <= batch <= max_batch(): no check, the caller has checked.
  Nanos at(int batch) const { return predicted_[static_cast<std::size_t>(batch)]; }
  int max_batch() const { return static_cast<int>(predicted_.size()) - 1; }
  // Largest batch of at most `cap` that ends within `span`; 0 when not even one request does.
  int largest_within(Nanos span, int cap) const;

  // One measurement moves the mean by at most its own size (a stall of the machine is no trend).
  void observe(int batch, Nanos took);
  // Halves what was learned. A prediction so long that nothing is admitted would never be measured
  // again: whoever sees that happen calls this.
  void doubt();

  const profile::LatencyTable& table() const { return table_; }
  double mean() const { return mean_; }
  // What was learned stays with the same table. Another one is of another share: there it would
  // only be wrong, and a factor that is too large refuses requests that could be served.
  void replace(profile::LatencyTable table, int max_batch);

 private:
  void predict(int max_batch);

  profile::LatencyTable table_;
  double mean_ = 1.0;
  double deviation_ = 0.0;
  std::vector<Nanos> predicted_;  // index is the batch; entry 0 is unused
};

}  // namespace glet::batch
