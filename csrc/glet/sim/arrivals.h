#pragma once

#include <cstdint>
#include <vector>

#include "glet/sim/random.h"
#include "glet/time.h"

namespace glet::sim {

// How the requests of an interval lie in it.
enum class Spacing {
  kGaps,     // the count, with exponential gaps from the interval's start: the last may run over it
  kPoisson,  // as many as come at that rate
  kEven,     // the count, one gap apart, the first at the interval's start
};

// When requests come: from counts per interval, or given. Counts are whole, but for kPoisson.
class Arrivals {
 public:
  // `tick` rounds the gaps of kEven down to its multiples (published simulators count in ms); 0 for
  // none. Throws ArgumentError for an interval <= 0 or a count that is negative or not finite.
  Arrivals(std::vector<double> counts, Nanos interval, Spacing spacing, Random random,
           Nanos tick = Nanos{0});
  // Throws ArgumentError unless they are sorted and >= 0.
  explicit Arrivals(std::vector<Nanos> times);

  // The next arrival; kNever when there is none.
  Nanos next() const { return next_; }
  void pop() {
    ++at_;
    take();
  }

 private:
  void take() {
    if (at_ < times_.size()) {
      next_ = times_[at_];
    } else {
      refill();
    }
  }
  void refill();
  void draw(std::size_t interval);

  std::vector<double> counts_;
  Nanos interval_{0};
  Spacing spacing_ = Spacing::kEven;
  Random random_{0, 0};
  Nanos tick_{0};
  std::size_t drawn_ = 0;     // intervals
  std::vector<Nanos> times_;  // of this interval, sorted
  std::vector<Nanos> over_;   // that ran over into later ones, sorted
  std::vector<Nanos> fresh_;
  std::size_t at_ = 0;
  Nanos next_ = kNever;
};

}  // namespace glet::sim
