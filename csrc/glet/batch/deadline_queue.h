#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "glet/batch/lookahead.h"
#include "glet/batch/predictor.h"
#include "glet/batch/request.h"
#include "glet/profile/latency_table.h"
#include "glet/time.h"

namespace glet::batch {

struct QueueLimits {
  int capacity = 1024;    // requests that may wait
  int max_batch = 1;      // the planned batch: a cap, never exceeded
  bool drop_late = true;  // refuse and drop what cannot finish in time
  Nanos margin{0};        // kept free between the end of a batch and a deadline (reply path)
  Nanos linger{0};        // how long the oldest request may wait for company while the gpulet idles
  Nanos slo = kNever;     // what a request has from arrival to deadline; kNever: not known
};

// What to do now. Taken together with the queue it is a pure function of (queue, now).
struct Decision {
  int batch_size = 0;      // run this many now, earliest deadlines first; 0 means wait
  Nanos wake_at = kNever;  // with batch_size 0: when to ask again; never before now
  Nanos slack = kNever;    // with batch_size > 0: how long the batch's start could still be put off
};

// The requests of one model that wait for one gpulet, in deadline order. It decides; it does not
// act: there is no thread, lock or clock here, so the same code runs under a worker thread and
// under the simulator's virtual time. exec/worker.h adds the thread.
//
//   push --> [ d0 <= d1 <= d2 ... ] --take_late--> answered late
//                    \--take_batch--> runs
class DeadlineQueue {
 public:
  // Throws ArgumentError when a limit is out of range or max_batch exceeds latency.max_batch().
  DeadlineQueue(profile::LatencyTable latency, QueueLimits limits);

  // Accepts, or says why not: full at capacity; late when even the soonest possible finish behind
  // what is queued with earlier deadlines misses the deadline (only with drop_late), or when it
  // would be served in place of a later deadline and not beside it. `busy_until` is when the gpulet
  // is free again (<= now when idle). Times are >= 0; a deadline of kNever is never late.
  Admit push(const Request& request, Nanos now, Nanos busy_until);

  // How many to run now if the gpulet is free, or when to ask again. Never picks a request that
  // cannot finish in time when drop_late is on. Call take_late(now) first.
  Decision decide(Nanos now) const;

  // Removes the requests that have to be given up, earliest deadline first, and appends them to
  // `late`: those that cannot finish in time even alone, and under overload those whose tight
  // deadline would force batches so small that more requests behind them would be lost.
  void take_late(Nanos now, std::vector<Request>& late);

  // Removes the `n` earliest deadlines and appends them to `out`. Throws ArgumentError when
  // n > min(size(), limits().max_batch).
  void take_batch(int n, std::vector<Request>& out);

  // Removes the first request with this deadline whose id `is_it` accepts: whoever asked for it
  // does not want it any more, so it counts neither as served nor as lost. Nothing when none waits.
  std::optional<Request> cancel(Nanos deadline, const std::function<bool(std::uint64_t)>& is_it);

  // Removes everything (unload), appended to `out`.
  void take_all(std::vector<Request>& out);

  // Corrects the latency model by a finished batch: a slow-moving factor over the table, so that
  // decisions follow the device's true speed. A batch larger than the table knows, started before
  // update(), is ignored.
  void observe(int batch, Nanos took);

  // Predicted latency of a batch: table times correction.
  // Throws ProfileError outside 1..limits().max_batch.
  Nanos latency(int batch) const;
  // The same without the predictor's room for jitter.
  Nanos expected(int batch) const;
  // Measured / table, slow-moving.
  double correction() const { return predictor_.mean(); }

  // The time that the next request may be expected to have, margin taken off: the SLO, or less
  // where requests came with less lately. kNever when neither is known.
  Nanos budget() const;
  // Of the batches that run again and again within that time (two of them fit), the largest.
  int sustained_batch() const;

  std::size_t size() const { return waiting_.size(); }
  bool empty() const { return waiting_.empty(); }
  Nanos earliest_deadline() const { return empty() ? kNever : waiting_.front().deadline; }
  // Deadline of the request at this place, 0 the earliest; kNever behind the last.
  Nanos deadline_of(int place) const {
    const auto at = static_cast<std::size_t>(place);
    return at < waiting_.size() ? waiting_[at].deadline : kNever;
  }
  const QueueLimits& limits() const { return limits_; }
  // Replaces limits and table (a new plan); what waits stays and is judged by the new ones.
  void update(profile::LatencyTable latency, QueueLimits limits);

 private:
  Lookahead ahead(double time_worth = 0.0) const;
  std::deque<Request>::iterator insert(const Request& request);
  void note(bool lost);
  void note_budget(const Request& request);
  bool fits_behind_all(const Request& request, Nanos start);
  bool fits_between(const Request& request, Nanos start);
  void note_refusal(const Request& request, Nanos now);
  int best_batch(Nanos now) const;
  Nanos linger_until(int batch) const;

  Predictor predictor_;
  QueueLimits limits_;
  std::deque<Request> waiting_;  // by deadline, then arrival order
  double loss_ = 0.0;            // share of the last requests that were refused or given up
  int refusals_ = 0;             // in a row that only the learned correction explains
  Nanos shortest_ = kNever;      // time that requests had lately
};

}  // namespace glet::batch
