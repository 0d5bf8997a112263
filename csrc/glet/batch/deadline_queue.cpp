#include "glet/batch/deadline_queue.h"

#include <algorithm>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::batch {
namespace {

constexpr int kLargestCapacity = 65536;
constexpr int kRefusalsBeforeDoubt = 8;
constexpr double kLossWeight = 1.0 / 50;
// Time counts at most half of what whole batches would make of it: found by replay to be best over
// loads of 0.8 to 3 times capacity. Nothing lost lately: time beyond the queue is worth nothing.
constexpr double kWorthPerLoss = 5.0;
constexpr double kMostWorth = 0.5;
// How fast a single short deadline is forgotten.
constexpr Nanos::rep kRequestsToForget = 64;

const QueueLimits& checked(const QueueLimits& limits, int measured) {
  if (limits.capacity < 1 || limits.capacity > kLargestCapacity) {
    throw ArgumentError("[DeadlineQueue] capacity " + std::to_string(limits.capacity) +
                        "; valid: 1.." + std::to_string(kLargestCapacity));
  }
  if (limits.max_batch < 1 || limits.max_batch > measured) {
    throw ArgumentError("[DeadlineQueue] max_batch " + std::to_string(limits.max_batch) +
                        "; valid: 1.." + std::to_string(measured) + ", the largest in the table");
  }
  if (limits.margin < Nanos{0} || limits.linger < Nanos{0}) {
    throw ArgumentError("[DeadlineQueue] margin " + std::to_string(limits.margin.count()) +
                        " ns, linger " + std::to_string(limits.linger.count()) +
                        " ns; both are >= 0");
  }
  if (limits.slo <= Nanos{0}) {
    throw ArgumentError("[DeadlineQueue] slo " + std::to_string(limits.slo.count()) +
                        " ns; valid: above 0");
  }
  return limits;
}

}  // namespace

DeadlineQueue::DeadlineQueue(profile::LatencyTable latency, QueueLimits limits)
    : predictor_(latency, checked(limits, latency.max_batch()).max_batch), limits_(limits) {}

Lookahead DeadlineQueue::ahead(double time_worth) const {
  const double whole_rate =
      limits_.max_batch / static_cast<double>(predictor_.at(limits_.max_batch).count());
  return {waiting_, predictor_, limits_.max_batch, limits_.margin, time_worth * whole_rate};
}

void DeadlineQueue::note(bool lost) {
  loss_ += kLossWeight * ((lost ? 1.0 : 0.0) - loss_);
}

// Falls to a shorter time at once and rises slowly.
void DeadlineQueue::note_budget(const Request& request) {
  if (request.deadline == kNever) return;
  const Nanos given = std::max(Nanos{0}, request.deadline - request.arrival);
  if (given <= shortest_) {
    shortest_ = given;
  } else {
    shortest_ += (given - shortest_) / kRequestsToForget;
  }
}

Nanos DeadlineQueue::budget() const {
  return earlier_by(std::min(limits_.slo, shortest_), limits_.margin);
}

int DeadlineQueue::sustained_batch() const {
  const Nanos time = budget();
  const Nanos half = time == kNever ? kNever : time / 2;
  return std::max(1, predictor_.largest_within(half, limits_.max_batch));
}

Admit DeadlineQueue::push(const Request& request, Nanos now, Nanos busy_until) {
  note_budget(request);
  if (waiting_.size() >= static_cast<std::size_t>(limits_.capacity)) return Admit::kFull;
  const bool last = waiting_.empty() || waiting_.back().deadline <= request.deadline;
  if (!limits_.drop_late) {
    insert(request);
    return Admit::kAccepted;
  }
  const Nanos start = std::max(now, busy_until);
  // Nearly always the last: one model has one SLO.
  const bool fits = last ? fits_behind_all(request, start) : fits_between(request, start);
  note(!fits);
  if (fits) return Admit::kAccepted;
  note_refusal(request, now);
  return Admit::kLate;
}

std::deque<Request>::iterator DeadlineQueue::insert(const Request& request) {
  const auto earlier = [](Nanos deadline, const Request& other) {
    return deadline < other.deadline;
  };
  return waiting_.insert(
      std::upper_bound(waiting_.begin(), waiting_.end(), request.deadline, earlier), request);
}

// Whole batches of what is ahead, then the batch it would be in. Those ahead that are too tight for
// the batch that now can be formed do not count: take_late decides about them, and knows more then.
bool DeadlineQueue::fits_behind_all(const Request& request, Nanos start) {
  const std::size_t rank = waiting_.size() - ahead().first_with_newcomer(start);
  const auto cap = static_cast<std::size_t>(limits_.max_batch);
  const Nanos before = predictor_.at(limits_.max_batch) * static_cast<Nanos::rep>(rank / cap);
  const Nanos own = predictor_.at(static_cast<int>(rank % cap) + 1);
  const Nanos due = earlier_by(request.deadline, limits_.margin);
  if (later_by(start, before + own) > due) return false;
  waiting_.push_back(request);
  return true;
}

// It has to be one more that is served, not one in place of another.
bool DeadlineQueue::fits_between(const Request& request, Nanos start) {
  const double without = ahead().gain(start);
  const auto at = insert(request);
  if (ahead().gain(start) > without) return true;
  waiting_.erase(at);
  return false;
}

// A correction that refuses what the table would serve on an idle gpulet cannot be checked by
// running anything, so it is not believed for long.
void DeadlineQueue::note_refusal(const Request& request, Nanos now) {
  if (!waiting_.empty()) return;
  const Nanos due = earlier_by(request.deadline, limits_.margin);
  const bool by_correction = later_by(now, predictor_.at(1)) > due;
  if (!by_correction || later_by(now, predictor_.table().at(1)) > due) return;
  if (++refusals_ < kRefusalsBeforeDoubt) return;
  refusals_ = 0;
  predictor_.doubt();
}

Decision DeadlineQueue::decide(Nanos now) const {
  if (waiting_.empty()) return {};
  const int batch = best_batch(now);
  // Only when take_late was not called at this time.
  if (batch == 0) return {0, later_by(now, Nanos{1}), kNever};
  const Nanos wait_until = linger_until(batch);
  if (wait_until > now) return {0, wait_until, kNever};
  const Nanos due = ahead().due(0);
  return {batch, kNever, due == kNever ? kNever : due - predictor_.at(batch) - now};
}

int DeadlineQueue::best_batch(Nanos now) const {
  const Lookahead look = ahead();
  const int whole = look.whole(0);
  const int fits = look.fitting(0, now);
  if (limits_.drop_late || fits == whole) return fits;
  if (fits == 0) return whole;
  return look.in_time(fits, now) > look.in_time(whole, now) ? fits : whole;
}

// Until when a batch that is not full may wait for company: no longer than linger after the oldest
// arrival, and only while one request more would still be in time. 0 when it may not.
Nanos DeadlineQueue::linger_until(int batch) const {
  if (limits_.linger == Nanos{0} || batch == limits_.max_batch ||
      waiting_.size() > static_cast<std::size_t>(batch)) {
    return Nanos{0};
  }
  const auto oldest =
      std::min_element(waiting_.begin(), waiting_.end(),
                       [](const Request& a, const Request& b) { return a.arrival < b.arrival; });
  return std::min(later_by(oldest->arrival, limits_.linger),
                  earlier_by(ahead().due(0), predictor_.at(batch + 1)));
}

void DeadlineQueue::take_late(Nanos now, std::vector<Request>& late) {
  if (!limits_.drop_late || waiting_.empty()) return;
  const double time_worth = std::min(kMostWorth, kWorthPerLoss * loss_);
  const std::size_t lost = ahead(time_worth).to_give_up(now);
  for (std::size_t index = 0; index < lost; ++index) note(true);
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(lost);
  late.insert(late.end(), waiting_.begin(), end);
  waiting_.erase(waiting_.begin(), end);
}

void DeadlineQueue::take_batch(int n, std::vector<Request>& out) {
  const auto most = std::min(waiting_.size(), static_cast<std::size_t>(limits_.max_batch));
  if (n < 0 || static_cast<std::size_t>(n) > most) {
    throw ArgumentError("[DeadlineQueue.take_batch] " + std::to_string(n) + "; valid: 0.." +
                        std::to_string(most));
  }
  const auto end = waiting_.begin() + n;
  out.insert(out.end(), waiting_.begin(), end);
  waiting_.erase(waiting_.begin(), end);
}

std::optional<Request> DeadlineQueue::cancel(Nanos deadline,
                                             const std::function<bool(std::uint64_t)>& is_it) {
  auto at =
      std::lower_bound(waiting_.begin(), waiting_.end(), deadline,
                       [](const Request& other, Nanos wanted) { return other.deadline < wanted; });
  for (; at != waiting_.end() && at->deadline == deadline; ++at) {
    if (!is_it(at->id)) continue;
    const Request found = *at;
    waiting_.erase(at);
    return found;
  }
  return std::nullopt;
}

void DeadlineQueue::take_all(std::vector<Request>& out) {
  out.insert(out.end(), waiting_.begin(), waiting_.end());
  waiting_.clear();
}

void DeadlineQueue::observe(int batch, Nanos took) {
  if (took < Nanos{0}) {
    throw ArgumentError("[DeadlineQueue.observe] took " + std::to_string(took.count()) +
                        " ns; valid: >= 0");
  }
  // Started under a plan that has been replaced since.
  if (batch > predictor_.table().max_batch()) return;
  predictor_.observe(batch, took);
  refusals_ = 0;
}

Nanos DeadlineQueue::latency(int batch) const {
  if (batch < 1 || batch > limits_.max_batch) {
    throw ProfileError("[DeadlineQueue.latency] batch " + std::to_string(batch) + "; valid: 1.." +
                       std::to_string(limits_.max_batch));
  }
  return predictor_.at(batch);
}

Nanos DeadlineQueue::expected(int batch) const {
  latency(batch);  // checks
  const double exact =
      static_cast<double>(predictor_.table().at(batch).count()) * predictor_.mean();
  return Nanos{static_cast<Nanos::rep>(exact)};
}

void DeadlineQueue::update(profile::LatencyTable latency, QueueLimits limits) {
  checked(limits, latency.max_batch());
  predictor_.replace(std::move(latency), limits.max_batch);
  limits_ = limits;
}

}  // namespace glet::batch
