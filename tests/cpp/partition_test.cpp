#include "glet/exec/partition/partition.h"

#include <doctest/doctest.h>

#include <thread>

#include "glet/error.h"

using namespace glet;
using namespace glet::exec;

TEST_CASE("shares become disjoint whole cores, rounded down, in order") {
  const std::vector<int> cores{0, 1, 2, 3, 8, 9, 10};
  const auto assigned = assign_cores(cores, {50, 20, 30});
  REQUIRE(assigned.size() == 3);
  CHECK(assigned[0] == std::vector<int>{0, 1, 2});
  CHECK(assigned[1] == std::vector<int>{3});
  CHECK(assigned[2] == std::vector<int>{8, 9});
}

TEST_CASE("a share below one core is refused with the smallest that works") {
  CHECK_THROWS_WITH_AS(assign_cores({0, 1, 2}, {50, 33}),
                       "[assign_cores] share_pct 33 of 3 cores is less than one core; the smallest "
                       "share that works is 34",
                       ConfigError);
  CHECK(assign_cores({0, 1, 2}, {34})[0].size() == 1);
  CHECK_THROWS_AS(assign_cores({0, 1}, {0}), ConfigError);
  CHECK_THROWS_AS(assign_cores({}, {100}), ConfigError);
  CHECK_THROWS_AS(assign_cores({0, 1}, {60, 50}), ConfigError);
}

TEST_CASE("a thread enters its cores and nothing else") {
  const auto usable = usable_cores();
  REQUIRE_FALSE(usable.empty());
  PartitionReport report;
  std::thread([&] {
    report = make_partition({.share_pct = 50, .cores = {usable.back()}})->enter(false);
  }).join();
  CHECK(report.cores == std::vector<int>{usable.back()});
  CHECK(report.intra_op_threads == 1);
  CHECK(usable_cores() == usable);
}

TEST_CASE("a stand-in device leaves the thread where it is") {
  const auto report =
      make_partition({.kind = PartitionSpec::Kind::kProfiled, .cores = {}})->enter(false);
  CHECK(report.cores == usable_cores());
}

TEST_CASE("cores that are not there are refused") {
  for (const int core : {100'000, -1}) {
    CHECK_THROWS_AS(make_partition({.cores = {core}})->enter(false), DeviceError);
  }
  CHECK_THROWS_AS(make_partition({.cores = {}})->enter(false), DeviceError);
}
