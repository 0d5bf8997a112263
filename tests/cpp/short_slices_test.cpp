#include "glet/short_slices.h"

#include <doctest/doctest.h>

#include <thread>

using glet::Nanos;
using glet::ShortSlices;

namespace {

// Kernels before 6.12 take the request and say 0.
bool kernel_has_slices() {
  Nanos asked{0};
  std::thread([&] {
    ShortSlices::ask();
    asked = ShortSlices::now();
  }).join();
  return asked == ShortSlices::kSlice;
}

}  // namespace

TEST_CASE("a thread asks for itself alone") {
  const Nanos before = ShortSlices::now();
  kernel_has_slices();
  CHECK(ShortSlices::now() == before);
}

TEST_CASE("what is started meanwhile has short slices, the thread itself only until then") {
  if (!kernel_has_slices()) {
    MESSAGE("this kernel has no slices of a thread's own");
    return;
  }
  const Nanos before = ShortSlices::now();
  REQUIRE(before != ShortSlices::kSlice);
  Nanos inside{0};
  std::thread started;
  {
    const ShortSlices inherited;
    CHECK(ShortSlices::now() == ShortSlices::kSlice);
    started = std::thread([&] { inside = ShortSlices::now(); });
  }
  started.join();
  CHECK(inside == ShortSlices::kSlice);
  CHECK(ShortSlices::now() == before);
}
