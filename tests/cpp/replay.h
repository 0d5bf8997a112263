#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "glet/batch/gpulet_queue.h"
#include "glet/profile/latency_table.h"
#include "glet/time.h"

// Virtual time and one gpulet: what a worker thread does, without the thread.
namespace glet::replay {

constexpr Nanos ms(double value) {
  return Nanos{static_cast<Nanos::rep>(value * 1e6)};
}

// A line from the latency of one request to that of the largest batch.
inline profile::LatencyTable line(int max_batch, double one_ms, double max_ms) {
  if (max_batch == 1) return profile::LatencyTable({{1, ms(max_ms)}});
  return profile::LatencyTable({{1, ms(one_ms)}, {max_batch, ms(max_ms)}});
}

struct Source {
  profile::LatencyTable table;
  Nanos slo;
  double load;  // arrivals / (max_batch / latency(max_batch))
  double time_share = 1.0;
};

struct Result {
  double arrived = 0;
  double in_time = 0;      // requests that finished by their deadline
  double overdue = 0;      // requests that ran and finished after it
  double busy_part = 0;    // of the time, spent on this model
  double useful_part = 0;  // in_time, at the speed of whole batches, of the time
  double mean_batch = 0;
};

// Poisson arrivals of all sources for `seconds`, latencies jittering uniformly by +-jitter.
inline std::vector<Result> run(const std::vector<Source>& sources, double jitter, double seconds,
                               std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  const auto uniform = [&] { return static_cast<double>(engine() >> 11) * 0x1p-53; };
  batch::GpuletQueue queue;
  std::vector<double> rates;
  std::vector<Nanos> next;
  const auto gap = [&](std::size_t i) {
    return Nanos{static_cast<Nanos::rep>(-std::log1p(-uniform()) / rates[i] * 1e9)};
  };
  for (std::size_t i = 0; i < sources.size(); ++i) {
    batch::ModelPlan plan{sources[i].table, {}, sources[i].time_share};
    plan.limits.max_batch = sources[i].table.max_batch();
    queue.add(static_cast<batch::ModelId>(i), plan);
    const Nanos whole = sources[i].table.at(plan.limits.max_batch);
    rates.push_back(sources[i].load * plan.limits.max_batch * 1e9 /
                    static_cast<double>(whole.count()));
    next.push_back(rates[i] > 0 ? gap(i) : kNever);
  }

  std::vector<Result> results(sources.size());
  std::vector<double> batches(sources.size());
  std::vector<batch::Request> running;
  std::vector<batch::LateRequest> late;
  batch::GpuletDecision decision;
  Nanos start{0};
  Nanos free{0};
  Nanos expected{0};
  const Nanos end = ms(seconds * 1e3);
  for (std::uint64_t id = 0;;) {
    std::size_t first = 0;
    for (std::size_t i = 1; i < next.size(); ++i) first = next[i] < next[first] ? i : first;
    Nanos now = next[first];
    if (!running.empty() && free <= now) {
      now = free;
      Result& result = results[static_cast<std::size_t>(decision.model)];
      for (const auto& request : running) {
        ++(now <= request.deadline ? result.in_time : result.overdue);
      }
      result.busy_part += static_cast<double>((free - start).count()) / 1e9 / seconds;
      queue.observe(decision.model, decision.batch_size, free - start);
      running.clear();
    } else {
      if (now >= end) break;
      ++results[first].arrived;
      queue.push(static_cast<batch::ModelId>(first), {id++, now, now + sources[first].slo}, now,
                 running.empty() ? now : expected);
      next[first] += gap(first);
    }
    if (!running.empty()) continue;
    queue.take_late(now, late);
    decision = queue.decide(now);
    if (decision.batch_size == 0) continue;
    queue.take_batch(decision, running);
    const auto model = static_cast<std::size_t>(decision.model);
    results[model].mean_batch += decision.batch_size;
    ++batches[model];
    start = now;
    expected = now + queue.latency(decision.model, decision.batch_size);
    const double factor = 1.0 + jitter * (2.0 * uniform() - 1.0);
    free = now + ms(static_cast<double>(sources[model].table.at(decision.batch_size).count()) *
                    factor / 1e6);
  }
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const int most = sources[i].table.max_batch();
    const double whole_s = static_cast<double>(sources[i].table.at(most).count()) / 1e9;
    results[i].useful_part = results[i].in_time * whole_s / most / seconds;
    if (batches[i] > 0) results[i].mean_batch /= batches[i];
  }
  return results;
}

}  // namespace glet::replay
