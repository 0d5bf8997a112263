#pragma once

#include <chrono>

namespace glet {

// All times in the core are monotonic nanoseconds. Code below exec/ never reads a clock: callers
// pass `now`.
using Nanos = std::chrono::nanoseconds;

inline constexpr Nanos kNever = Nanos::max();

}  // namespace glet
