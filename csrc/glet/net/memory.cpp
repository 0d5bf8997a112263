#include <cstdlib>

#include "glet/net/memory.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace glet::net {

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kLargestFromHeap = 32 << 20;  // the most that glibc accepts
  constexpr int kKeptAtTop = 128 << 20;
  constexpr int kTakenAtOnce = 4 << 20;
  ::mallopt(M_MMAP_THRESHOLD, kLargestFromHeap);
  ::mallopt(M_TRIM_THRESHOLD, kKeptAtTop);
  ::mallopt(M_TOP_PAD, kTakenAtOnce);
#endif
}

}  // namespace glet::net
