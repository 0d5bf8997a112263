#include "glet/batch/loan.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace glet::batch {
namespace {

// A tenth is more than a prediction is wrong by, and than the change of shares takes.
constexpr double kWorth = 0.9;
constexpr int kTrials = 8;
constexpr int kPassedBeforeTrial = 1000;
// Of a first trial: a wider share is not slower, and no neighbour makes a gpulet ten times faster.
constexpr double kMostScale = 1.0;
constexpr double kLeastScale = 0.1;

profile::LatencyTable scaled(const profile::LatencyTable& table, double factor) {
  std::vector<profile::LatencyTable::Point> points;
  for (int batch = 1; batch <= table.max_batch(); ++batch) {
    const double exact = static_cast<double>(table.at(batch).count()) * factor;
    points.push_back({batch, std::max(Nanos{1}, Nanos{std::llround(exact)})});
  }
  return profile::LatencyTable(points);
}

}  // namespace

WideLatency::WideLatency(profile::LatencyTable table, int max_batch, bool known)
    : predictor_(table, std::min(max_batch, table.max_batch())),
      measured_(known),
      trials_(known ? 0 : kTrials) {}

Nanos WideLatency::at(int batch) const {
  return batch >= 1 && batch <= predictor_.max_batch() ? predictor_.at(batch) : kNever;
}

bool WideLatency::pays(int batch, Nanos own) {
  if (batch < 1 || batch > predictor_.max_batch()) return false;
  if (trials_ > 0) return true;
  // The mean, not at(): trials that differ would look slow by their deviation alone.
  const double expected =
      static_cast<double>(predictor_.table().at(batch).count()) * predictor_.mean();
  if (expected <= kWorth * static_cast<double>(own.count())) return true;
  if (++passed_ < kPassedBeforeTrial) return false;
  passed_ = 0;
  trials_ = 1;
  return true;
}

void WideLatency::observe(int batch, Nanos took) {
  if (batch < 1 || batch > predictor_.max_batch()) return;
  if (trials_ > 0) --trials_;
  if (std::exchange(measured_, true)) return predictor_.observe(batch, took);
  const double ratio =
      static_cast<double>(took.count()) / static_cast<double>(predictor_.table().at(batch).count());
  predictor_.replace(scaled(predictor_.table(), std::clamp(ratio, kLeastScale, kMostScale)),
                     predictor_.max_batch());
}

std::optional<Nanos> loan_until(Nanos now, Nanos own, Nanos wide, const GpuletQueue& lender) {
  const Nanos length = std::min(own, wide);
  if (length == kNever) return std::nullopt;
  const Nanos until = later_by(now, length);
  if (lender.lends_until(now) < until) return std::nullopt;
  return until;
}

}  // namespace glet::batch
