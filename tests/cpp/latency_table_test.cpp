#include "glet/profile/latency_table.h"

#include <doctest/doctest.h>

#include <random>

#include "glet/error.h"

using glet::Nanos;
using glet::profile::LatencyTable;

TEST_CASE("measured points are exact, between them lies a line") {
  const LatencyTable table({{1, Nanos{100}}, {4, Nanos{160}}, {8, Nanos{400}}});
  CHECK(table.max_batch() == 8);
  CHECK(table.at(1) == Nanos{100});
  CHECK(table.at(2) == Nanos{120});
  CHECK(table.at(4) == Nanos{160});
  CHECK(table.at(6) == Nanos{280});
  CHECK(table.at(8) == Nanos{400});
}

TEST_CASE("below the first measured batch its latency holds") {
  const LatencyTable table({{4, Nanos{50}}, {8, Nanos{70}}});
  CHECK(table.at(1) == Nanos{50});
  CHECK(table.at(5) == Nanos{55});
}

TEST_CASE("a larger batch is never said to be faster") {
  const LatencyTable table({{1, Nanos{100}}, {2, Nanos{90}}, {4, Nanos{120}}});
  CHECK(table.at(2) == Nanos{100});
  CHECK(table.at(3) == Nanos{105});
  CHECK(table.at(4) == Nanos{120});
}

TEST_CASE("what was not measured is refused") {
  const LatencyTable table({{2, Nanos{5}}});
  CHECK_THROWS_AS(table.at(0), glet::ProfileError);
  CHECK_THROWS_AS(table.at(3), glet::ProfileError);
}

TEST_CASE("malformed points are refused") {
  using Points = std::vector<LatencyTable::Point>;
  CHECK_THROWS_AS(LatencyTable(Points{}), glet::ArgumentError);
  CHECK_THROWS_AS(LatencyTable(Points{{0, Nanos{1}}}), glet::ArgumentError);
  CHECK_THROWS_AS(LatencyTable(Points{{1, Nanos{0}}}), glet::ArgumentError);
  CHECK_THROWS_AS(LatencyTable(Points{{1, std::chrono::hours{2}}}), glet::ArgumentError);
  CHECK_THROWS_AS(LatencyTable(Points{{2, Nanos{1}}, {2, Nanos{2}}}), glet::ArgumentError);
  CHECK_THROWS_AS(LatencyTable(Points{{2, Nanos{1}}, {1, Nanos{2}}}), glet::ArgumentError);
  CHECK_THROWS_AS(LatencyTable(Points{{1 << 20, Nanos{1}}}), glet::ArgumentError);
}

TEST_CASE("never decreasing, whatever was measured") {
  std::mt19937_64 engine(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<LatencyTable::Point> points;
    int batch = 0;
    for (int i = 0; i < 6; ++i) {
      batch += 1 + static_cast<int>(engine() % 9);
      points.push_back({batch, Nanos{1 + static_cast<int>(engine() % 1000)}});
    }
    const LatencyTable table(points);
    for (int b = 2; b <= table.max_batch(); ++b) CHECK(table.at(b) >= table.at(b - 1));
  }
}
