#include "glet/batch/gpulet_queue.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::batch {
namespace {

// How far one model may fall behind its share, in whole batches of the gpulet's longest model: what
// it missed beyond that, it did not want.
constexpr double kCreditBatches = 4.0;
constexpr double kSmallestShare = 0.001;

double checked_share(double time_share) {
  if (!(time_share >= 0.0 && time_share <= 1.0)) {
    throw ArgumentError("[GpuletQueue] time_share " + std::to_string(time_share) + "; valid: 0..1");
  }
  return std::max(time_share, kSmallestShare);
}

double as_double(Nanos span) {
  return static_cast<double>(span.count());
}

}  // namespace

GpuletQueue::Entry& GpuletQueue::entry(ModelId model, const char* where) {
  for (Entry& candidate : entries_) {
    if (candidate.model == model) return candidate;
  }
  throw ArgumentError(std::string("[GpuletQueue.") + where + "] model " + std::to_string(model) +
                      " is not here; add it first");
}

const GpuletQueue::Entry& GpuletQueue::entry(ModelId model, const char* where) const {
  return const_cast<GpuletQueue*>(this)->entry(model, where);
}

void GpuletQueue::add(ModelId model, ModelPlan plan) {
  if (has(model)) {
    throw ArgumentError("[GpuletQueue.add] model " + std::to_string(model) +
                        " is here already; update it instead");
  }
  double used = 0.0;
  for (const Entry& other : entries_) used = std::max(used, other.used_ns);
  const double share = checked_share(plan.time_share);
  entries_.push_back({model, DeadlineQueue(std::move(plan.latency), plan.limits), share, used});
}

void GpuletQueue::update(ModelId model, ModelPlan plan) {
  Entry& found = entry(model, "update");
  const double share = checked_share(plan.time_share);
  found.queue.update(std::move(plan.latency), plan.limits);
  found.time_share = share;
}

void GpuletQueue::remove(ModelId model, std::vector<Request>& out) {
  Entry& found = entry(model, "remove");
  found.queue.take_all(out);
  entries_.erase(entries_.begin() + (&found - entries_.data()));
}

bool GpuletQueue::has(ModelId model) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& candidate) { return candidate.model == model; });
}

Admit GpuletQueue::push(ModelId model, const Request& request, Nanos now, Nanos busy_until) {
  return entry(model, "push").queue.push(request, now, busy_until);
}

void GpuletQueue::take_late(Nanos now, std::vector<LateRequest>& late) {
  std::vector<Request> taken;
  for (Entry& candidate : entries_) {
    taken.clear();
    candidate.queue.take_late(now, taken);
    for (const Request& request : taken) late.push_back({candidate.model, request});
  }
}

GpuletDecision GpuletQueue::decide(Nanos now) const {
  Nanos wake_at = kNever;
  const std::vector<Next> all = next_batches(now, wake_at);
  const auto ready = [](const Next& next) { return next.batch > 0; };
  const auto earliest = std::find_if(all.begin(), all.end(), ready);
  if (earliest == all.end()) return {-1, 0, wake_at};

  const auto run = [&](const Next& next, int batch) {
    return GpuletDecision{entries_[next.index].model, batch, kNever};
  };
  for (const Next& next : all) {
    if (ready(next) && harmless(next, all, now)) return run(next, next.batch);
  }
  const int part = harmless_part(*earliest, all, now);
  if (part > 0) return run(*earliest, part);
  const Next& chosen = furthest_below_share(all);
  return run(chosen, chosen.batch);
}

// Earliest deadline first: of all orders of what waits, that one has the least greatest lateness
// (Jackson's rule, 1955), so harmless() finds an order without a late one whenever there is one.
// Those that linger have batch 0: not ready, but not to be made late either.
std::vector<GpuletQueue::Next> GpuletQueue::next_batches(Nanos now, Nanos& wake_at) const {
  std::vector<Next> all;
  all.reserve(entries_.size());
  for (std::size_t index = 0; index < entries_.size(); ++index) {
    const DeadlineQueue& queue = entries_[index].queue;
    if (queue.empty()) continue;
    const Decision decision = queue.decide(now);
    wake_at = std::min(wake_at, decision.wake_at);
    const int batch = decision.batch_size > 0
                          ? decision.batch_size
                          : static_cast<int>(std::min(
                                queue.size(), static_cast<std::size_t>(queue.limits().max_batch)));
    const Nanos length = queue.latency(batch);
    const Nanos due = earlier_by(queue.earliest_deadline(), queue.limits().margin);
    all.push_back({index, decision.batch_size, length, due, earlier_by(due, length)});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Next& a, const Next& b) { return a.due < b.due; });
  return all;
}

// Whether the others can all still run their batches in time, one after the other, when this one
// goes first. Those that are late already, or cannot be (drop_late off), have no say.
bool GpuletQueue::harmless(const Next& first, const std::vector<Next>& all, Nanos now) const {
  Nanos start = later_by(now, first.length);
  Nanos without = now;
  for (const Next& other : all) {
    if (other.index == first.index) continue;
    if (start > other.latest && without <= other.latest) return false;
    start = later_by(start, other.length);
    without = later_by(without, other.length);
  }
  return true;
}

// The largest part of a batch that lets all others run in time and leaves time for the rest of it
// after them; 0 when there is none, which is overload.
int GpuletQueue::harmless_part(const Next& first, const std::vector<Next>& all, Nanos now) const {
  const DeadlineQueue& queue = entries_[first.index].queue;
  Nanos others{0};
  for (const Next& other : all) {
    if (other.index != first.index) others = later_by(others, other.length);
  }
  for (int part = first.batch - 1; part > 0; --part) {
    const Nanos length = queue.latency(part);
    const Next smaller{first.index, part, length, first.due, earlier_by(first.due, length)};
    if (!harmless(smaller, all, now)) continue;
    const Nanos rest = later_by(later_by(now, smaller.length), others);
    const Nanos end = later_by(rest, queue.latency(first.batch - part));
    return end <= earlier_by(queue.deadline_of(part), queue.limits().margin) ? part : 0;
  }
  return 0;
}

const GpuletQueue::Next& GpuletQueue::furthest_below_share(const std::vector<Next>& all) const {
  const Next* chosen = nullptr;
  for (const Next& next : all) {
    if (next.batch == 0) continue;
    if (chosen == nullptr || entries_[next.index].used_ns < entries_[chosen->index].used_ns) {
      chosen = &next;
    }
  }
  return *chosen;
}

void GpuletQueue::take_batch(const GpuletDecision& decision, std::vector<Request>& out) {
  entry(decision.model, "take_batch").queue.take_batch(decision.batch_size, out);
}

std::optional<Request> GpuletQueue::cancel(ModelId model, Nanos deadline,
                                           const std::function<bool(std::uint64_t)>& is_it) {
  if (!has(model)) return std::nullopt;
  return entry(model, "cancel").queue.cancel(deadline, is_it);
}

void GpuletQueue::observe(ModelId model, int batch, Nanos took) {
  entry(model, "observe").queue.observe(batch, took);
  count(model, took);
}

void GpuletQueue::count(ModelId model, Nanos took) {
  Entry& ran = entry(model, "count");
  ran.used_ns += as_double(took) / ran.time_share;

  double longest = 0.0;
  double most_used = 0.0;
  for (const Entry& each : entries_) {
    const double whole = as_double(each.queue.latency(each.queue.limits().max_batch));
    longest = std::max(longest, whole);
    most_used = std::max(most_used, each.used_ns);
  }
  for (Entry& each : entries_) {
    const double credit = kCreditBatches * longest / each.time_share;
    each.used_ns = std::max(each.used_ns, most_used - credit) - most_used;
  }
}

Nanos GpuletQueue::lends_until(Nanos now) const {
  struct Demand {
    Nanos budget;
    Nanos length;
  };
  std::vector<Demand> demands;
  for (const Entry& each : entries_) {
    const Nanos budget = each.queue.budget();
    if (!each.queue.empty() || budget == kNever) return Nanos::min();
    demands.push_back({budget, each.queue.latency(each.queue.sustained_batch())});
  }
  std::sort(demands.begin(), demands.end(),
            [](const Demand& a, const Demand& b) { return a.budget < b.budget; });
  Nanos until = kNever;
  Nanos length{0};
  for (const Demand& demand : demands) {
    length = later_by(length, demand.length);
    until = std::min(until, earlier_by(later_by(now, demand.budget), length));
  }
  return until;
}

Nanos GpuletQueue::latency(ModelId model, int batch) const {
  return entry(model, "latency").queue.latency(batch);
}

Nanos GpuletQueue::expected(ModelId model, int batch) const {
  return entry(model, "expected").queue.expected(batch);
}

double GpuletQueue::correction(ModelId model) const {
  return entry(model, "correction").queue.correction();
}

std::size_t GpuletQueue::size() const {
  std::size_t total = 0;
  for (const Entry& each : entries_) total += each.queue.size();
  return total;
}

std::size_t GpuletQueue::size(ModelId model) const {
  return entry(model, "size").queue.size();
}

}  // namespace glet::batch
