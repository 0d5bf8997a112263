#include "glet/sim/replica_job.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::sim {
namespace {

constexpr Nanos kSecond{1'000'000'000};

// Streams of random numbers of one job.
enum Stream : std::uint64_t { kRouter = 1, kService, kAccept, kControl, kStreams = 8 };

void check(const JobSettings& s) {
  check_distribution(s.router, "router");
  check_distribution(s.service, "service");
  check_distribution(s.start, "start");
  const bool counts =
      s.in_flight >= 1 && s.queue_limit >= 0 && s.tokens >= 0 && s.units >= 1 && s.replicas >= 0;
  const bool times = s.objective > Nanos{0} && s.hot_start >= Nanos{0} &&
                     (s.tokens == 0 || s.token_window > Nanos{0});
  if (counts && times && !s.service.zero()) return;
  throw ArgumentError(
      "[sim.ReplicaJob] in_flight " + std::to_string(s.in_flight) + ", queue_limit " +
      std::to_string(s.queue_limit) + ", tokens " + std::to_string(s.tokens) + ", units " +
      std::to_string(s.units) + ", replicas " + std::to_string(s.replicas) +
      "; valid: in_flight and units >= 1, the others >= 0, service and objective above 0, and a "
      "window with tokens");
}

}  // namespace

ReplicaJob::ReplicaJob(const JobSettings& settings, Arrivals arrivals, Nanos interval,
                       Nanos lookback, std::uint64_t seed, std::uint64_t number)
    : settings_(settings),
      arrivals_(std::move(arrivals)),
      ledger_(interval, settings.percentile),
      router_random_(seed, number * kStreams + kRouter),
      service_random_(seed, number * kStreams + kService),
      accept_random_(seed, number * kStreams + kAccept),
      control_(seed, number * kStreams + kControl),
      has_router_(!settings.router.zero()),
      seconds_(static_cast<std::size_t>(std::max<Nanos::rep>(1, lookback / kSecond))) {
  check(settings);
  next_second(Nanos{0});
}

void ReplicaJob::run(Nanos until) {
  for (;;) {
    const Nanos arrival = arrivals_.next();
    const Nanos routed = router_.empty() ? kNever : router_.front().at;
    const Nanos served = running_.empty() ? kNever : running_.front().at;
    const Nanos now = std::min(arrival, std::min(routed, served));
    if (now >= until) return;
    if (now == served) {
      end_service();
    } else if (now == routed) {
      const Visit visit = router_.pop();
      if (visit.out) {
        answer(visit.arrival, now);
      } else {
        queue(visit.arrival, now);
      }
    } else {
      arrivals_.pop();
      arrive(now);
    }
  }
}

void ReplicaJob::finish() {
  arrivals_ = Arrivals(std::vector<Nanos>{});
  run(kNever);
}

void ReplicaJob::arrive(Nanos now) {
  ++outstanding_;
  ++arrived_;
  ledger_.arrive(now);
  ++second(now).arrived;
  if (accept_ < 1.0 && accept_random_.uniform() >= accept_) {
    refuse(now, now);
  } else if (has_router_) {
    visit_router(now, now, false);
  } else {
    queue(now, now);
  }
}

void ReplicaJob::visit_router(Nanos arrival, Nanos now, bool out) {
  router_free_ = std::max(router_free_, now) + settings_.router.sample(router_random_);
  router_.push({router_free_, arrival, out});
}

void ReplicaJob::queue(Nanos arrival, Nanos now) {
  if (settings_.dispatch == Dispatch::kBlind) {
    run_blind(arrival, now);
  } else if (waiting_.size() > static_cast<std::size_t>(settings_.queue_limit)) {
    refuse(arrival, now);
  } else {
    waiting_.push(arrival);
    dispatch(now);
  }
}

void ReplicaJob::dispatch(Nanos now) {
  while (room_ > 0 && !waiting_.empty()) {
    int replica = -1;
    do {
      replica = turn_[cursor_];
      cursor_ = cursor_ + 1 == turn_.size() ? 0 : cursor_ + 1;
    } while (replicas_[static_cast<std::size_t>(replica)].in_flight >= settings_.in_flight);
    start(replica, waiting_.pop(), now);
  }
}

void ReplicaJob::run_blind(Nanos arrival, Nanos now) {
  if (turn_.empty()) {
    refuse(arrival, now);
    return;
  }
  const int number = turn_[cursor_ % turn_.size()];
  cursor_ = (cursor_ + 1) % turn_.size();
  Replica& replica = replicas_[static_cast<std::size_t>(number)];
  if (settings_.tokens > 0) {
    const std::int64_t window = now / settings_.token_window;
    if (window != std::exchange(replica.window, window)) replica.tokens = settings_.tokens;
    if (replica.tokens == 0) {
      refuse(arrival, now);
      return;
    }
  }
  if (replica.in_flight - 1 > settings_.queue_limit) {
    refuse(arrival, now);
    return;
  }
  --replica.tokens;
  start(number, arrival, now);
}

void ReplicaJob::start(int number, Nanos arrival, Nanos now) {
  Replica& replica = replicas_[static_cast<std::size_t>(number)];
  const Nanos service = settings_.service.sample(service_random_);
  replica.free_at = std::max(replica.free_at, now) + service;
  ++replica.in_flight;
  --room_;
  running_.push_back({replica.free_at, sequence_++, arrival, service, number});
  std::push_heap(running_.begin(), running_.end(), std::greater<>());
}

void ReplicaJob::end_service() {
  std::pop_heap(running_.begin(), running_.end(), std::greater<>());
  const Running ended = running_.back();
  running_.pop_back();
  Replica& replica = replicas_[static_cast<std::size_t>(ended.replica)];
  --replica.in_flight;
  replica.ended = ended.at;
  second(ended.at).busy_s += static_cast<double>(ended.service.count()) * 1e-9;
  if (replica.open) {
    ++room_;
    if (settings_.dispatch == Dispatch::kShared) dispatch(ended.at);
  }
  if (has_router_) {
    visit_router(ended.arrival, ended.at, true);
  } else {
    answer(ended.arrival, ended.at);
  }
}

void ReplicaJob::refuse(Nanos arrival, Nanos now) {
  --outstanding_;
  ledger_.refuse(arrival);
  Second& current = second(now);
  ++current.refused;
  if (settings_.refused_in_mean) {
    current.sum_ms += static_cast<double>((now - arrival).count()) * 1e-6;
  }
}

void ReplicaJob::answer(Nanos arrival, Nanos now) {
  --outstanding_;
  const Nanos latency = now - arrival;
  const bool within = latency < settings_.objective;
  ledger_.complete(arrival, latency, within);
  Second& current = second(now);
  ++current.answered;
  current.late += within ? 0 : 1;
  current.sum_ms += static_cast<double>(latency.count()) * 1e-6;
}

int ReplicaJob::open(Nanos now) {
  std::size_t number = 0;
  while (number < replicas_.size() && replicas_[number].there) ++number;
  if (number == replicas_.size()) replicas_.emplace_back();
  Replica& replica = replicas_[number];
  replica = Replica{};
  replica.open = replica.there = true;
  replica.tokens = settings_.tokens;
  replica.window = settings_.tokens > 0 ? now / settings_.token_window : 0;
  turn_.push_back(static_cast<int>(number));
  room_ += settings_.in_flight;
  if (settings_.dispatch == Dispatch::kShared) {
    shuffle();
    dispatch(now);
  }
  return static_cast<int>(number);
}

void ReplicaJob::close(int number) {
  Replica& replica = replicas_.at(static_cast<std::size_t>(number));
  replica.open = false;
  room_ -= settings_.in_flight - replica.in_flight;
  turn_.erase(std::find(turn_.begin(), turn_.end(), number));
  if (settings_.dispatch == Dispatch::kShared) shuffle();
  if (cursor_ >= turn_.size()) cursor_ = 0;
}

Nanos ReplicaJob::idle_since(int number) const {
  const Replica& replica = replicas_.at(static_cast<std::size_t>(number));
  return replica.in_flight > 0 ? kNever : replica.ended;
}

void ReplicaJob::remove(int number) {
  replicas_.at(static_cast<std::size_t>(number)).there = false;
}

// Turns are shuffled whenever the replicas change, as routers that watch a set of them do.
void ReplicaJob::shuffle() {
  for (std::size_t i = turn_.size(); i > 1; --i) {
    std::swap(turn_[i - 1], turn_[control_.below(static_cast<std::uint32_t>(i))]);
  }
  cursor_ = 0;
}

void ReplicaJob::set_accept(double part) {
  if (!(part >= 0.0 && part <= 1.0)) {
    throw ArgumentError("[sim.ReplicaJob] accepting " + std::to_string(part) +
                        " of the requests; valid: 0..1");
  }
  accept_ = part;
}

void ReplicaJob::next_second(Nanos now) {
  const std::int64_t number = now / kSecond;
  second_ = &seconds_[static_cast<std::size_t>(number) % seconds_.size()];
  *second_ = Second{};
  second_->number = number;
  second_end_ = kSecond * (number + 1);
}

Lookback ReplicaJob::lookback(Nanos now) const {
  const auto length = static_cast<std::int64_t>(seconds_.size());
  const std::int64_t last = (now.count() - 1) / kSecond.count();
  Lookback sum;
  double sum_ms = 0.0;
  for (const Second& one : seconds_) {
    if (one.number < 0 || one.number > last || one.number <= last - length) continue;
    sum.arrived += one.arrived;
    sum.answered += one.answered;
    sum.late += one.late;
    sum.refused += one.refused;
    sum.busy_s += one.busy_s;
    sum_ms += one.sum_ms;
  }
  const std::uint64_t counted = sum.answered + (settings_.refused_in_mean ? sum.refused : 0);
  sum.mean_ms = counted == 0 ? std::numeric_limits<double>::quiet_NaN()
                             : sum_ms / static_cast<double>(counted);
  return sum;
}

}  // namespace glet::sim
