#include "glet/sim/arrivals.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::sim {

Arrivals::Arrivals(std::vector<double> counts, Nanos interval, Spacing spacing, Random random,
                   Nanos tick)
    : counts_(std::move(counts)),
      interval_(interval),
      spacing_(spacing),
      random_(random),
      tick_(tick) {
  if (interval <= Nanos{0} || tick < Nanos{0}) {
    throw ArgumentError("[sim.Arrivals] an interval of " + std::to_string(interval.count()) +
                        " ns; valid: above 0");
  }
  for (const double count : counts_) {
    if (!(count >= 0.0 && count <= 1e9)) {
      throw ArgumentError("[sim.Arrivals] " + std::to_string(count) +
                          " requests in an interval; valid: 0..1e9");
    }
  }
  refill();
}

Arrivals::Arrivals(std::vector<Nanos> times) : times_(std::move(times)) {
  if (!std::is_sorted(times_.begin(), times_.end()) ||
      (!times_.empty() && times_.front() < Nanos{0})) {
    throw ArgumentError("[sim.Arrivals] times are not sorted or below 0; sort them");
  }
  take();
}

void Arrivals::refill() {
  times_.clear();
  at_ = 0;
  while (times_.empty() && (drawn_ < counts_.size() || !over_.empty())) {
    if (drawn_ == counts_.size()) {
      times_.swap(over_);
      break;
    }
    draw(drawn_);
    ++drawn_;
    std::vector<Nanos> all(over_.size() + fresh_.size());
    std::merge(over_.begin(), over_.end(), fresh_.begin(), fresh_.end(), all.begin());
    const Nanos end = interval_ * static_cast<Nanos::rep>(drawn_);
    const auto cut = std::lower_bound(all.begin(), all.end(), end);
    over_.assign(cut, all.end());
    all.erase(cut, all.end());
    times_.swap(all);
  }
  next_ = times_.empty() ? kNever : times_.front();
}

void Arrivals::draw(std::size_t interval) {
  fresh_.clear();
  const Nanos start = interval_ * static_cast<Nanos::rep>(interval);
  const double count = counts_[interval];
  const auto whole = static_cast<std::size_t>(count);
  const auto length = static_cast<double>(interval_.count());
  const auto at = [&](double ns) { return start + Nanos{static_cast<Nanos::rep>(ns)}; };
  if (spacing_ == Spacing::kPoisson) {
    if (count == 0.0) return;
    const double gap = length / count;
    for (double t = gap * random_.exponential(); t < length; t += gap * random_.exponential()) {
      fresh_.push_back(at(t));
    }
    return;
  }
  if (whole == 0) return;
  double gap = length / static_cast<double>(whole);
  if (spacing_ == Spacing::kEven && tick_ > Nanos{0}) {
    const auto tick = static_cast<double>(tick_.count());
    gap = std::floor(gap / tick) * tick;
  }
  double t = 0.0;
  for (std::size_t i = 0; i < whole; ++i) {
    if (spacing_ == Spacing::kGaps) t += gap * random_.exponential();
    fresh_.push_back(at(t));
    if (spacing_ == Spacing::kEven) t = gap * static_cast<double>(i + 1);
  }
}

}  // namespace glet::sim
