#pragma once

#include <cstdint>
#include <vector>

#include "glet/time.h"

namespace glet::sim {

// What became of the requests that arrived in one interval. Latencies in ms, NaN where nothing was
// answered; `objective_ms` is the percentile of the objective over all requests, those without
// an answer infinitely late.
struct LedgerRow {
  std::uint64_t offered = 0;
  std::uint64_t within = 0;  // answered within the objective
  std::uint64_t answered = 0;
  std::uint64_t refused = 0;
  double sum_ms = 0.0;
  double longest_ms = 0.0;
  double p50_ms = 0.0;
  double p90_ms = 0.0;
  double p95_ms = 0.0;
  double p99_ms = 0.0;
  double served_ms = 0.0;  // the percentile of the objective over answered ones
  double objective_ms = 0.0;
  double unit_s = 0.0;  // units held, times seconds
};

// Counts requests by the interval in which they arrived. Latencies of an interval are kept until
// all of its requests have ended, then only the row stays. Percentiles are numpy's: linear between
// ranks q (n - 1).
class Ledger {
 public:
  // `percentile` of the objective, 0..1. Throws ArgumentError for it or an interval out of range.
  Ledger(Nanos interval, double percentile);

  void arrive(Nanos at) { ++row_of(at).row.offered; }
  void refuse(Nanos arrival) { ++row_of(arrival).row.refused; }
  void complete(Nanos arrival, Nanos latency, bool within) {
    Open& open = row_of(arrival);
    ++open.row.answered;
    open.row.within += within ? 1 : 0;
    open.latencies_ms.push_back(static_cast<float>(static_cast<double>(latency.count()) * 1e-6));
  }
  // `units` are held from `from` until `to`.
  void hold(double units, Nanos from, Nanos to);

  // Turns intervals that ended by `now` and have nothing outstanding into rows; all of them with
  // kNever.
  void settle(Nanos now);
  // Rows so far; the last may be unsettled.
  std::vector<LedgerRow> rows() const;
  // Requests that arrived, by interval from `first` on, refused ones included.
  std::vector<double> offered(std::size_t first) const;

 private:
  struct Open {
    LedgerRow row;
    std::vector<float> latencies_ms;
    bool settled = false;
  };
  Open& row_of(Nanos at) {
    const auto index = static_cast<std::size_t>(at / interval_);
    if (index >= open_.size()) open_.resize(index + 1);
    return open_[index];
  }
  void settle_row(Open& open) const;

  Nanos interval_;
  double percentile_;
  std::vector<Open> open_;
  std::size_t first_unsettled_ = 0;
};

}  // namespace glet::sim
