#include "glet/exec/partition/placement.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "glet/error.h"

using namespace glet;
using namespace glet::exec;

namespace {

constexpr UnitGrid kHopper{.units = 15, .unit_sms = 8, .remainder_sms = 12};

std::vector<ShareRequest> fresh(const std::vector<int>& shares_pct) {
  std::vector<ShareRequest> requests;
  for (const int share : shares_pct) requests.push_back({share, std::nullopt});
  return requests;
}

// What has to hold of every assignment.
void check_assignment(const UnitGrid& grid, const std::vector<ShareRequest>& requests,
                      const Assignment& assignment) {
  REQUIRE(assignment.placements.size() == requests.size());
  std::vector<int> owners(static_cast<std::size_t>(grid.units), 0);
  bool all = true;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto& placement = assignment.placements[i];
    all = all && placement.has_value();
    if (!placement) continue;
    check_on_grid(grid, *placement);
    CHECK(placement->count == grid.units_of(requests[i].share_pct));
    if (requests[i].now && requests[i].now->count == placement->count) {
      CHECK(placement == requests[i].now);
    }
    for (int unit = placement->first; unit < placement->end(); ++unit) {
      CHECK(++owners[static_cast<std::size_t>(unit)] == 1);
    }
  }
  CHECK(all == assignment.fragmentation.empty());
}

}  // namespace

TEST_CASE("a share becomes whole units, rounded down, and says what it is") {
  CHECK(kHopper.total_sms() == 132);
  CHECK(kHopper.units_of(50) == 7);
  CHECK(kHopper.units_of(7) == 1);
  CHECK(kHopper.units_of(99) == 14);
  CHECK(kHopper.units_of(100) == 15);
  const Given half = given(kHopper, {4, 7});
  CHECK(half.units == 7);
  CHECK(half.sms == 56);
  CHECK(half.pct == doctest::Approx(100.0 * 56 / 132));
  const Given all = given(kHopper, whole(kHopper));
  CHECK(all.units == 15);
  CHECK(all.sms == 132);
  CHECK(all.pct == 100.0);
}

TEST_CASE("a share below one unit is refused with the smallest that works") {
  CHECK_THROWS_WITH_AS(kHopper.units_of(6),
                       "[UnitGrid] share_pct 6 of 15 units is less than one unit of 8 SMs; the "
                       "smallest share that works is 7",
                       ConfigError);
  for (int units = 1; units <= 200; ++units) {
    const UnitGrid grid{units, 8, 0};
    const int smallest = grid.smallest_share_pct();
    CHECK(grid.units_of(smallest) >= 1);
    if (smallest > 1) CHECK_THROWS_AS(grid.units_of(smallest - 1), ConfigError);
  }
  for (const int share : {-1, 0, 101}) CHECK_THROWS_AS(kHopper.units_of(share), ConfigError);
  CHECK_THROWS_AS(UnitGrid{}.units_of(100), ConfigError);
}

TEST_CASE("new gpulets lie side by side in order") {
  const auto assignment = assign_placements(kHopper, fresh({40, 20, 40}));
  CHECK(assignment.fragmentation.empty());
  CHECK(assignment.placements[0] == Placement{0, 6});
  CHECK(assignment.placements[1] == Placement{6, 3});
  CHECK(assignment.placements[2] == Placement{9, 6});
  CHECK(assign_placements(kHopper, {}).placements.empty());
}

TEST_CASE("only the whole device has the rest") {
  CHECK(assign_placements(kHopper, fresh({100})).placements[0] == Placement{0, 15, true});
  CHECK(whole({16, 8, 0}) == Placement{0, 16, false});
  CHECK_THROWS_WITH_AS(check_on_grid(kHopper, {0, 14, true}),
                       "[Placement] units 0..13 and the rest: only the whole device, units 0..14 "
                       "and the rest, has the rest",
                       ArgumentError);
  CHECK_THROWS_AS(check_on_grid({16, 8, 0}, {0, 16, true}), ArgumentError);
}

TEST_CASE("what is placed stays when others come, go and change") {
  // The first left, the last grew.
  const auto assignment = assign_placements(
      kHopper, {{20, Placement{6, 3}}, {50, Placement{9, 6}}, {30, std::nullopt}});
  CHECK(assignment.placements[0] == Placement{6, 3});
  CHECK_FALSE(assignment.placements[1]);
  CHECK(assignment.placements[2] == Placement{0, 4});
  CHECK(assignment.fragmentation ==
        "no 7 units side by side for share_pct 50, number 2; free are 6 from 0, 6 from 9: place "
        "all anew");
  CHECK(assign_placements(kHopper, fresh({20, 50, 30})).fragmentation.empty());
}

TEST_CASE("a whole device that shrinks is placed anew, without the rest") {
  const auto assignment = assign_placements(kHopper, {{60, whole(kHopper)}, {40, std::nullopt}});
  CHECK(assignment.placements[0] == Placement{0, 9});
  CHECK(assignment.placements[1] == Placement{9, 6});
}

TEST_CASE("shares and placements that cannot be are refused") {
  CHECK_THROWS_WITH_AS(assign_placements(kHopper, fresh({60, 50})),
                       "[assign_placements] shares sum to 110 percent; at most 100", ConfigError);
  CHECK_THROWS_AS(assign_placements(kHopper, fresh({94, 6})), ConfigError);
  CHECK_THROWS_WITH_AS(assign_placements(kHopper, {{40, Placement{0, 6}}, {20, Placement{5, 3}}}),
                       "[assign_placements] units 5..7 overlap the placement of another gpulet",
                       ArgumentError);
  for (const auto& bad : {Placement{-1, 3}, Placement{13, 3}, Placement{15, 3}}) {
    CHECK_THROWS_AS(assign_placements(kHopper, {{20, bad}}), ArgumentError);
  }
  CHECK_THROWS_AS(check_on_grid(kHopper, {3, 0}), ArgumentError);
}

TEST_CASE("through random changes nobody overlaps, nobody moves, and all anew always fits") {
  std::mt19937 random(20240124);
  const auto up_to = [&](int limit) {
    return std::uniform_int_distribution<int>(1, limit)(random);
  };
  int fragmented = 0;
  for (int round = 0; round < 300; ++round) {
    const UnitGrid grid{up_to(32), 2, up_to(12)};
    std::vector<ShareRequest> requests;
    for (int step = 0; step < 12; ++step) {
      if (!requests.empty() && up_to(3) == 1) requests.erase(requests.begin());
      int left = 100;
      for (const auto& request : requests) left -= request.share_pct;
      const int smallest = grid.smallest_share_pct();
      if (left >= smallest) {
        requests.push_back({smallest + up_to(left - smallest + 1) - 1, std::nullopt});
      }
      const auto assignment = assign_placements(grid, requests);
      check_assignment(grid, requests, assignment);
      std::vector<int> shares;
      for (const auto& request : requests) shares.push_back(request.share_pct);
      const auto anew = assign_placements(grid, fresh(shares));
      check_assignment(grid, fresh(shares), anew);
      CHECK(anew.fragmentation.empty());
      fragmented += assignment.fragmentation.empty() ? 0 : 1;
      const auto& kept = assignment.fragmentation.empty() ? assignment : anew;
      for (std::size_t i = 0; i < requests.size(); ++i) requests[i].now = kept.placements[i];
    }
  }
  CHECK(fragmented > 0);
}
