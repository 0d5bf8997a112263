#include <algorithm>

#include "glet/net/frontend_core.h"

// What is kept of requests that have ended: counters and traces.
namespace glet::net {

void FrontendCore::count(FrontendModelStats& counts, exec::Outcome outcome) {
  switch (outcome) {
    case exec::Outcome::kLate:
      ++counts.late;
      break;
    case exec::Outcome::kFull:
      ++counts.full;
      break;
    case exec::Outcome::kUnavailable:
      ++counts.unavailable;
      break;
    case exec::Outcome::kInvalid:
      ++counts.invalid;
      break;
    case exec::Outcome::kCancelled:
      ++counts.cancelled;
      break;
    default:
      ++counts.failed;
      break;
  }
}

void FrontendCore::count_refused_since(Nanos arrival, FrontendModelStats& counts) const {
  counts.refused_ns += static_cast<double>(std::max(Nanos{0}, now_ - arrival).count());
}

void FrontendCore::end_trace(const Trace& trace, const Model& model, exec::Outcome outcome,
                             Nanos arrival, const ResultTimes& times,
                             const std::vector<StageTrace>& stages) {
  if (trace == nullptr) return;
  TraceRecord record{trace, model.counters.counts.model, outcome, arrival, now_, times, stages};
  // What still ran when the app ended ends with it.
  for (StageTrace& stage : record.stages) stage.ended = std::min(stage.ended, now_);
  traces_.end(std::move(record));
}

}  // namespace glet::net
