#include "glet/profile/latency_table.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "glet/error.h"

namespace glet::profile {
namespace {

// Bounds that keep every sum of latencies in the queues far from the end of 64 bits.
constexpr int kLargestBatch = 65536;
constexpr Nanos kLongestLatency = std::chrono::hours{1};

void check(const std::vector<LatencyTable::Point>& points) {
  if (points.empty()) throw ArgumentError("[LatencyTable] no points; give at least one");
  int previous = 0;
  for (const auto& point : points) {
    if (point.batch <= previous || point.batch > kLargestBatch) {
      throw ArgumentError("[LatencyTable] batch " + std::to_string(point.batch) + " after " +
                          std::to_string(previous) + "; batches increase strictly within 1.." +
                          std::to_string(kLargestBatch));
    }
    if (point.latency <= Nanos{0} || point.latency > kLongestLatency) {
      throw ArgumentError("[LatencyTable] latency of batch " + std::to_string(point.batch) +
                          " is " + std::to_string(point.latency.count()) +
                          " ns; latencies are > 0 and at most one hour");
    }
    previous = point.batch;
  }
}

Nanos between(const LatencyTable::Point& low, const LatencyTable::Point& high, int batch) {
  const double part = static_cast<double>(batch - low.batch) / (high.batch - low.batch);
  const double step = static_cast<double>((high.latency - low.latency).count());
  return low.latency + Nanos{static_cast<Nanos::rep>(part * step)};
}

}  // namespace

LatencyTable::LatencyTable(const std::vector<Point>& points) {
  check(points);
  by_batch_.assign(static_cast<std::size_t>(points.back().batch) + 1, Nanos{0});
  auto high = points.begin();
  Nanos longest{0};
  for (int batch = 1; batch <= max_batch(); ++batch) {
    if (batch > high->batch) ++high;
    const Nanos here = batch == high->batch || high == points.begin()
                           ? high->latency
                           : between(*(high - 1), *high, batch);
    longest = std::max(longest, here);
    by_batch_[static_cast<std::size_t>(batch)] = longest;
  }
}

Nanos LatencyTable::at(int batch) const {
  if (batch < 1 || batch > max_batch()) {
    throw ProfileError("[LatencyTable.at] batch " + std::to_string(batch) +
                       " was not measured; valid: 1.." + std::to_string(max_batch()));
  }
  return by_batch_[static_cast<std::size_t>(batch)];
}

}  // namespace glet::profile
