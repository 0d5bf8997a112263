#pragma once

#include <chrono>

namespace glet {

// All times in the core are monotonic nanoseconds. Code below exec/ never reads a clock: callers
// pass `now`.
using Nanos = std::chrono::nanoseconds;

inline constexpr Nanos kNever = Nanos::max();

// Sums that stop at the ends of the range: a deadline may be kNever. For spans >= 0.
constexpr Nanos later_by(Nanos time, Nanos span) {
  return time > kNever - span ? kNever : time + span;
}
constexpr Nanos earlier_by(Nanos time, Nanos span) {
  if (time == kNever) return kNever;
  return time < Nanos::min() + span ? Nanos::min() : time - span;
}

}  // namespace glet
