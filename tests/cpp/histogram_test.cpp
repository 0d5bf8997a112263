#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "glet/batch/stats.h"

using glet::Nanos;
using glet::batch::Counters;
using glet::batch::Histogram;

TEST_CASE("an empty histogram answers zero") {
  const Histogram histogram;
  CHECK(histogram.count() == 0);
  CHECK(histogram.quantile(0.99) == Nanos{0});
  CHECK(histogram.mean_ns() == 0.0);
}

TEST_CASE("short durations are exact") {
  Histogram histogram;
  for (int i = 1; i <= 20; ++i) histogram.record(Nanos{i});
  CHECK(histogram.quantile(0.0) == Nanos{1});
  CHECK(histogram.quantile(0.5) == Nanos{10});
  CHECK(histogram.quantile(1.0) == Nanos{20});
  CHECK(histogram.mean_ns() == doctest::Approx(10.5));
  CHECK(histogram.count_within(Nanos{5}) == 5);
}

TEST_CASE("the ends of the range are held") {
  Histogram histogram;
  histogram.record(Nanos{-5});
  histogram.record(Nanos::max());
  CHECK(histogram.quantile(0.5) == Nanos{0});
  CHECK(histogram.quantile(1.0) == Nanos::max());
  CHECK(histogram.quantile(std::nan("")) == Nanos{0});
}

TEST_CASE("a quantile is at most a sixteenth above the true one, on every scale") {
  std::mt19937_64 engine(7);
  Histogram histogram;
  std::vector<std::int64_t> values;
  for (int i = 0; i < 20000; ++i) {
    values.push_back(static_cast<std::int64_t>(engine() >> (20 + engine() % 40)));
    histogram.record(Nanos{values.back()});
  }
  std::sort(values.begin(), values.end());
  for (const double q : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<std::size_t>(std::ceil(q * 20000.0)) - 1;
    const auto truth = static_cast<double>(values[rank]);
    const auto said = static_cast<double>(histogram.quantile(q).count());
    CHECK(said >= truth);
    CHECK(said <= truth * (1.0 + 1.0 / 16) + 1.0);
  }
}

TEST_CASE("two histograms added are one of all") {
  Histogram left;
  Histogram right;
  Histogram all;
  for (int i = 0; i < 1000; ++i) {
    (i % 3 == 0 ? left : right).record(Nanos{i * 977});
    all.record(Nanos{i * 977});
  }
  left.add(right);
  CHECK(left.count() == all.count());
  CHECK(left.longest() == all.longest());
  CHECK(left.sum_ns() == doctest::Approx(all.sum_ns()));
  for (const double q : {0.1, 0.5, 0.95}) CHECK(left.quantile(q) == all.quantile(q));
}

TEST_CASE("counters add up field by field") {
  Counters total{1, 2, 3, 4, 5, 6, 7, 8};
  total.add({10, 20, 30, 40, 50, 60, 70, 80});
  CHECK(total.accepted == 11);
  CHECK(total.ok == 22);
  CHECK(total.late == 33);
  CHECK(total.full == 44);
  CHECK(total.failed == 55);
  CHECK(total.cancelled == 66);
  CHECK(total.batches == 77);
  CHECK(total.items == 88);
}

TEST_CASE("the filled buckets are all that was recorded") {
  Histogram histogram;
  CHECK(histogram.filled().empty());
  for (int i = 0; i < 3; ++i) histogram.record(Nanos{5});
  histogram.record(Nanos{1'000'000});
  const auto filled = histogram.filled();
  REQUIRE(filled.size() == 2);
  CHECK(filled[0] == std::pair<std::int64_t, std::uint64_t>{5, 3});
  CHECK(filled[1].second == 1);
  CHECK(filled[1].first >= 1'000'000);
  CHECK(filled[1].first <= 1'000'000 + 1'000'000 / 16);
}
