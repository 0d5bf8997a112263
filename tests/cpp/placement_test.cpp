#include "glet/exec/partition/placement.h"

#include <doctest/doctest.h>

#include <string>

#include "glet/error.h"

using namespace glet;
using namespace glet::exec;

namespace {

constexpr UnitGrid kHopper{.units = 15, .unit_sms = 8, .remainder_sms = 12};

}  // namespace

TEST_CASE("a placement says what it is of its device") {
  CHECK(kHopper.total_sms() == 132);
  const Given half = given(kHopper, {4, 7});
  CHECK(half.units == 7);
  CHECK(half.sms == 56);
  CHECK(half.pct == doctest::Approx(100.0 * 56 / 132));
  const Given all = given(kHopper, whole(kHopper));
  CHECK(all.units == 15);
  CHECK(all.sms == 132);
  CHECK(all.pct == 100.0);
}

TEST_CASE("only the whole device has the rest") {
  CHECK(whole(kHopper) == Placement{0, 15, true});
  CHECK(whole({16, 8, 0}) == Placement{0, 16, false});
  CHECK_THROWS_WITH_AS(check_on_grid(kHopper, {0, 14, true}),
                       "[Placement] units 0..13 and the rest: only the whole device, units 0..14 "
                       "and the rest, has the rest",
                       ArgumentError);
  CHECK_THROWS_AS(check_on_grid({16, 8, 0}, {0, 16, true}), ArgumentError);
}

TEST_CASE("placements that are not on the grid are refused") {
  for (const auto& bad : {Placement{-1, 3}, Placement{13, 3}, Placement{15, 3}, Placement{3, 0}}) {
    CHECK_THROWS_AS(check_on_grid(kHopper, bad), ArgumentError);
    CHECK_THROWS_AS(given(kHopper, bad), ArgumentError);
  }
  check_on_grid(kHopper, {12, 3});
}
