#pragma once

#include <cstdint>

#include "glet/time.h"

namespace glet::bind {

// Times cross the boundary as integer nanoseconds; kNever is NEVER_NS.
inline Nanos from_ns(std::int64_t ns) {
  return Nanos{ns};
}
inline std::int64_t to_ns(Nanos time) {
  return time.count();
}

}  // namespace glet::bind
