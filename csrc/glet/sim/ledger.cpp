#include "glet/sim/ledger.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "glet/error.h"

namespace glet::sim {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Of n values of which `sorted` are the finite ones and the others infinite.
double percentile(const std::vector<float>& sorted, std::size_t n, double q) {
  if (n == 0) return kNone;
  const double rank = q * static_cast<double>(n - 1);
  const auto low = static_cast<std::size_t>(rank);
  const double part = rank - static_cast<double>(low);
  const std::size_t high = part > 0.0 ? low + 1 : low;
  if (high >= sorted.size()) return std::numeric_limits<double>::infinity();
  return sorted[low] + (static_cast<double>(sorted[high]) - sorted[low]) * part;
}

}  // namespace

Ledger::Ledger(Nanos interval, double percentile) : interval_(interval), percentile_(percentile) {
  if (interval <= Nanos{0} || !(percentile >= 0.0 && percentile <= 1.0)) {
    throw ArgumentError("[sim.Ledger] interval " + std::to_string(interval.count()) +
                        " ns, percentile " + std::to_string(percentile) +
                        "; valid: above 0, and 0..1");
  }
}

void Ledger::hold(double units, Nanos from, Nanos to) {
  while (from < to) {
    const Nanos end = std::min(to, (from / interval_ + 1) * interval_);
    row_of(from).row.unit_s += units * static_cast<double>((end - from).count()) * 1e-9;
    from = end;
  }
}

void Ledger::settle(Nanos now) {
  while (first_unsettled_ < open_.size()) {
    Open& open = open_[first_unsettled_];
    const Nanos end = interval_ * static_cast<Nanos::rep>(first_unsettled_ + 1);
    const bool pending = open.row.offered > open.row.answered + open.row.refused;
    if (now != kNever && (pending || end > now)) return;
    settle_row(open);
    ++first_unsettled_;
  }
}

void Ledger::settle_row(Open& open) const {
  std::vector<float>& sorted = open.latencies_ms;
  std::sort(sorted.begin(), sorted.end());
  LedgerRow& row = open.row;
  for (const float ms : sorted) row.sum_ms += static_cast<double>(ms);
  const std::size_t served = sorted.size();
  row.longest_ms = served == 0 ? kNone : static_cast<double>(sorted.back());
  row.p50_ms = percentile(sorted, served, 0.5);
  row.p90_ms = percentile(sorted, served, 0.9);
  row.p95_ms = percentile(sorted, served, 0.95);
  row.p99_ms = percentile(sorted, served, 0.99);
  row.served_ms = percentile(sorted, served, percentile_);
  row.objective_ms = percentile(sorted, row.offered, percentile_);
  std::vector<float>().swap(sorted);
  open.settled = true;
}

std::vector<LedgerRow> Ledger::rows() const {
  std::vector<LedgerRow> rows;
  rows.reserve(open_.size());
  for (const Open& open : open_) {
    if (open.settled) {
      rows.push_back(open.row);
      continue;
    }
    Open copy = open;
    settle_row(copy);
    rows.push_back(copy.row);
  }
  return rows;
}

std::vector<double> Ledger::offered(std::size_t first) const {
  std::vector<double> counts;
  for (std::size_t i = first; i < open_.size(); ++i) {
    counts.push_back(static_cast<double>(open_[i].row.offered));
  }
  return counts;
}

}  // namespace glet::sim
