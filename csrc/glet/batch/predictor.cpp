#include "glet/batch/predictor.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace glet::batch {
namespace {

constexpr double kWeight = 1.0 / 8;
constexpr double kDeviations = 2.0;
constexpr double kSlowest = 16.0;
constexpr double kFastest = 0.25;

}  // namespace

Predictor::Predictor(profile::LatencyTable table, int max_batch) : table_(std::move(table)) {
  predict(max_batch);
}

int Predictor::largest_within(Nanos span, int cap) const {
  const auto last = predicted_.begin() + 1 + cap;
  return static_cast<int>(std::upper_bound(predicted_.begin() + 1, last, span) -
                          predicted_.begin()) -
         1;
}

void Predictor::observe(int batch, Nanos took) {
  const double seen =
      static_cast<double>(took.count()) / static_cast<double>(table_.at(batch).count());
  const double ratio =
      std::clamp(seen, std::max(kFastest, mean_ / 2), std::min(kSlowest, mean_ * 2));
  deviation_ += kWeight * (std::abs(ratio - mean_) - deviation_);
  mean_ = std::clamp(mean_ + kWeight * (ratio - mean_), kFastest, kSlowest);
  predict(max_batch());
}

void Predictor::doubt() {
  mean_ = 1.0 + (mean_ - 1.0) / 2;
  deviation_ /= 2;
  predict(max_batch());
}

void Predictor::replace(profile::LatencyTable table, int max_batch) {
  if (!(table == table_)) {
    mean_ = 1.0;
    deviation_ = 0.0;
  }
  table_ = std::move(table);
  predict(max_batch);
}

void Predictor::predict(int max_batch) {
  const double factor = std::min(kSlowest, mean_ + kDeviations * deviation_);
  predicted_.resize(static_cast<std::size_t>(max_batch) + 1);
  for (int batch = 1; batch <= max_batch; ++batch) {
    const double exact = static_cast<double>(table_.at(batch).count()) * factor;
    predicted_[static_cast<std::size_t>(batch)] = std::max(Nanos{1}, Nanos{std::llround(exact)});
  }
}

}  // namespace glet::batch
