#pragma once

#include <cstddef>

#include "glet/time.h"

namespace glet::web {

// Whether bytes that have to move do. A pause of `stall` is too long; so is moving a byte now and
// then for ever, which holds a connection and its memory as well as a pause does.
class Pace {
 public:
  static constexpr std::size_t kSlowestBytesPerS = 8 << 10;

  // Bytes are waited for from now on; nothing when they are already.
  void begin(Nanos now) {
    if (since_ != kNever) return;
    since_ = last_ = now;
    bytes_ = 0;
  }
  void moved(std::size_t bytes, Nanos now) {
    last_ = now;
    bytes_ += bytes;
  }
  void end() { since_ = kNever; }

  bool is_too_slow(Nanos now, Nanos stall) const {
    if (since_ == kNever) return false;
    const Nanos for_bytes = std::chrono::seconds(bytes_ / kSlowestBytesPerS);
    return now - last_ > stall || now - since_ > later_by(stall, for_bytes);
  }

 private:
  Nanos since_ = kNever;
  Nanos last_ = kNever;
  std::size_t bytes_ = 0;
};

}  // namespace glet::web
