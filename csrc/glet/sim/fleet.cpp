#include "glet/sim/fleet.h"

#include <algorithm>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::sim {

namespace {

constexpr std::uint64_t kArrivals = 1'000'003;  // no job's other streams come there

}  // namespace

Fleet::Fleet(const FleetSettings& settings) : settings_(settings), monitor_at_(settings.monitor) {
  const Nanos zero{0};
  if (settings.quota < 1 || settings.interval <= zero || settings.lookback <= zero ||
      settings.retry <= zero || settings.idle_timeout < zero || settings.monitor <= zero) {
    throw ArgumentError("[sim.Fleet] quota " + std::to_string(settings.quota) +
                        "; valid: a quota >= 1, and times above 0");
  }
}

Random Fleet::arrivals_random(int job) const {
  return {settings_.seed, kArrivals + static_cast<std::uint64_t>(job)};
}

int Fleet::add(const JobSettings& settings, Arrivals arrivals) {
  const int units_after = units() + settings.units * settings.replicas;
  if (now_ > Nanos{0} || units_after > settings_.quota) {
    throw ArgumentError("[sim.Fleet.add] " + std::to_string(units_after) + " units at " +
                        std::to_string(now_.count()) + " ns; valid: at most " +
                        std::to_string(settings_.quota) + ", before time passes");
  }
  Entry entry;
  entry.job = std::make_unique<ReplicaJob>(settings, std::move(arrivals), settings_.interval,
                                           settings_.lookback, settings_.seed, jobs_.size());
  entry.target = settings.replicas;
  for (int i = 0; i < settings.replicas; ++i) {
    entry.workers.push_back({State::kServing, kNever, entry.job->open(now_)});
  }
  jobs_.push_back(std::move(entry));
  return static_cast<int>(jobs_.size()) - 1;
}

Fleet::Entry& Fleet::entry(int job) {
  return const_cast<Entry&>(std::as_const(*this).entry(job));
}

const Fleet::Entry& Fleet::entry(int job) const {
  if (job < 0 || job >= jobs()) {
    throw ArgumentError("[sim.Fleet] job " + std::to_string(job) + "; valid: 0.." +
                        std::to_string(jobs() - 1));
  }
  return jobs_[static_cast<std::size_t>(job)];
}

const ReplicaJob& Fleet::job(int job) const {
  return *entry(job).job;
}

int Fleet::held(const Entry& entry) {
  const auto holds = [](const Worker& worker) { return worker.state != State::kWaiting; };
  const auto count = std::count_if(entry.workers.begin(), entry.workers.end(), holds);
  return static_cast<int>(count) * entry.job->settings().units;
}

int Fleet::units() const {
  int sum = 0;
  for (const Entry& one : jobs_) sum += held(one);
  return sum;
}

int Fleet::wanted(const Entry& entry) {
  return static_cast<int>(
      std::count_if(entry.workers.begin(), entry.workers.end(), [](const Worker& worker) {
        return worker.state != State::kDraining && worker.state != State::kIdle;
      }));
}

Counts Fleet::counts(int job) const {
  const Entry& found = entry(job);
  Counts counts;
  for (const Worker& worker : found.workers) {
    counts.serving += worker.state == State::kServing ? 1 : 0;
    counts.starting += worker.state == State::kStarting || worker.state == State::kWaiting ? 1 : 0;
  }
  counts.target = found.target;
  counts.units = held(found);
  return counts;
}

void Fleet::set_target(int job, int replicas) {
  Entry& found = entry(job);
  if (replicas < 0) {
    throw ArgumentError("[sim.Fleet.set_target] " + std::to_string(replicas) +
                        " replicas; valid: >= 0");
  }
  account(found, now_);
  rest(found);
  found.target = replicas;
  grow(found);
  shrink(found);
}

void Fleet::set_accept(int job, double part) {
  entry(job).job->set_accept(part);
}

void Fleet::rest(Entry& entry) {
  for (Worker& worker : entry.workers) {
    if (worker.state != State::kDraining) continue;
    const Nanos ended = entry.job->idle_since(worker.replica);
    if (ended == kNever) continue;
    worker.state = State::kIdle;
    worker.at = std::max(ended, worker.at);
  }
}

void Fleet::grow(Entry& entry) {
  for (int missing = entry.target - wanted(entry); missing > 0; --missing) {
    const auto kept = std::find_if(entry.workers.begin(), entry.workers.end(),
                                   [](const Worker& one) { return one.state == State::kIdle; });
    if (kept != entry.workers.end()) {
      if (kept->replica >= 0) entry.job->remove(kept->replica);
      *kept = {State::kStarting, now_ + entry.job->settings().hot_start, -1};
      continue;
    }
    entry.workers.push_back({State::kWaiting, now_, -1});
    place(entry, entry.workers.back(), now_);
  }
}

void Fleet::place(Entry& entry, Worker& worker, Nanos now) {
  if (units() + entry.job->settings().units > settings_.quota) {
    worker.at = now + settings_.retry;
    return;
  }
  worker = {State::kStarting, now + entry.job->start_time(), -1};
}

void Fleet::shrink(Entry& entry) {
  for (const State state : {State::kWaiting, State::kStarting, State::kServing}) {
    for (std::size_t i = entry.workers.size(); i > 0 && wanted(entry) > entry.target; --i) {
      Worker& worker = entry.workers[i - 1];
      if (worker.state != state) continue;
      if (state == State::kWaiting) {
        entry.workers.erase(entry.workers.begin() + static_cast<std::ptrdiff_t>(i - 1));
      } else if (state == State::kStarting) {
        worker = {State::kIdle, now_, -1};
      } else {
        entry.job->close(worker.replica);
        worker.state = State::kDraining;
        worker.at = now_;
      }
    }
  }
}

void Fleet::account(Entry& entry, Nanos now) {
  const int count = wanted(entry) * entry.job->settings().units;
  entry.job->ledger().hold(count, entry.held_since, now);
  entry.held_since = now;
}

Nanos Fleet::next_change() const {
  Nanos next = monitor_at_;
  for (const Entry& one : jobs_) {
    for (const Worker& worker : one.workers) {
      if (worker.state == State::kWaiting || worker.state == State::kStarting) {
        next = std::min(next, worker.at);
      }
    }
  }
  return next;
}

void Fleet::advance(Nanos until) {
  while (now_ < until) {
    const Nanos next = std::min(until, next_change());
    for (Entry& one : jobs_) one.job->run(next);
    now_ = next;
    change(next);
  }
  for (Entry& one : jobs_) {
    account(one, now_);
    one.job->ledger().settle(now_);
  }
}

void Fleet::change(Nanos now) {
  const bool monitor = now == monitor_at_;
  if (monitor) monitor_at_ += settings_.monitor;
  for (Entry& one : jobs_) {
    rest(one);
    for (Worker& worker : one.workers) {
      if (worker.state == State::kStarting && worker.at <= now) {
        worker = {State::kServing, kNever, one.job->open(now)};
      }
    }
    if (!monitor) continue;
    std::erase_if(one.workers, [&](const Worker& worker) {
      const bool over = worker.state == State::kIdle && worker.at + settings_.idle_timeout <= now;
      if (over && worker.replica >= 0) one.job->remove(worker.replica);
      return over;
    });
  }
  for (Entry& one : jobs_) {
    for (Worker& worker : one.workers) {
      if (worker.state == State::kWaiting && worker.at <= now) place(one, worker, now);
    }
  }
}

void Fleet::finish() {
  for (Entry& one : jobs_) {
    one.job->finish();
    account(one, now_);
    one.job->ledger().settle(kNever);
  }
}

}  // namespace glet::sim
