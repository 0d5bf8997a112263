#pragma once

#include <cstdint>

#include "glet/time.h"

namespace glet::batch {

using ModelId = std::int32_t;

// What a queue knows of a request; the tensors stay with whoever admitted it.
struct Request {
  std::uint64_t id = 0;
  Nanos arrival{0};
  Nanos deadline{0};
};

// Being full or late is an outcome, not an error.
enum class Admit : std::uint8_t { kAccepted, kFull, kLate };

}  // namespace glet::batch
