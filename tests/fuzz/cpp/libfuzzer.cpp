// One target, GLET_FUZZ_TARGET, for libFuzzer.
#include <cstddef>
#include <cstdint>

#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  glet::fuzz::GLET_FUZZ_TARGET({data, size});
  return 0;
}
