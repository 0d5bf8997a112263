#include "glet/batch/deadline_queue.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

#include "glet/error.h"
#include "replay.h"

using namespace glet;
using batch::Admit;
using batch::DeadlineQueue;
using batch::Decision;
using batch::QueueLimits;
using batch::Request;
using profile::LatencyTable;
using replay::ms;

namespace {

// 10 ms alone, 20 ms for 4, 40 ms for 8.
LatencyTable table() {
  return LatencyTable({{1, ms(10)}, {4, ms(20)}, {8, ms(40)}});
}

DeadlineQueue queue_of_8(QueueLimits limits = {}) {
  limits.max_batch = 8;
  return DeadlineQueue(table(), limits);
}

std::vector<std::uint64_t> ids(const std::vector<Request>& requests) {
  std::vector<std::uint64_t> result;
  for (const Request& request : requests) result.push_back(request.id);
  return result;
}

using Ids = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("limits that make no sense are refused") {
  const auto make = [](QueueLimits limits) { return DeadlineQueue(table(), limits); };
  CHECK_THROWS_AS(make({.capacity = 0}), ArgumentError);
  CHECK_THROWS_AS(make({.max_batch = 0}), ArgumentError);
  CHECK_THROWS_AS(make({.max_batch = 9}), ArgumentError);
  CHECK_THROWS_AS(make({.margin = Nanos{-1}}), ArgumentError);
  CHECK_THROWS_AS(make({.linger = Nanos{-1}}), ArgumentError);
  DeadlineQueue queue = queue_of_8();
  CHECK_THROWS_AS(queue.update(table(), {.max_batch = 9}), ArgumentError);
  CHECK(queue.limits().max_batch == 8);
  CHECK_THROWS_AS(queue.latency(9), ProfileError);
  CHECK_THROWS_AS(queue.observe(1, Nanos{-1}), ArgumentError);
  std::vector<Request> out;
  CHECK_THROWS_AS(queue.take_batch(1, out), ArgumentError);
}

TEST_CASE("full at capacity, late when the deadline cannot be met") {
  DeadlineQueue queue = queue_of_8({.capacity = 2});
  CHECK(queue.push({1, ms(0), ms(9)}, ms(0), ms(0)) == Admit::kLate);
  CHECK(queue.push({2, ms(0), ms(10)}, ms(0), ms(0)) == Admit::kAccepted);
  CHECK(queue.push({3, ms(0), ms(20)}, ms(0), ms(11)) == Admit::kLate);
  CHECK(queue.push({4, ms(0), kNever}, ms(0), kNever) == Admit::kAccepted);
  CHECK(queue.push({5, ms(0), kNever}, ms(0), ms(0)) == Admit::kFull);
}

TEST_CASE("the margin is kept free before the deadline") {
  DeadlineQueue queue = queue_of_8({.margin = ms(2)});
  CHECK(queue.push({1, ms(0), ms(11)}, ms(0), ms(0)) == Admit::kLate);
  CHECK(queue.push({2, ms(0), ms(12)}, ms(0), ms(0)) == Admit::kAccepted);
  CHECK(queue.decide(ms(0)).batch_size == 1);
}

TEST_CASE("earliest deadline first, then in order of arrival") {
  DeadlineQueue queue = queue_of_8();
  queue.push({1, ms(0), ms(500)}, ms(0), ms(0));
  queue.push({2, ms(0), ms(300)}, ms(0), ms(0));
  queue.push({3, ms(0), ms(500)}, ms(0), ms(0));
  queue.push({4, ms(0), ms(300)}, ms(0), ms(0));
  CHECK(queue.earliest_deadline() == ms(300));
  CHECK(queue.deadline_of(2) == ms(500));
  CHECK(queue.deadline_of(4) == kNever);
  std::vector<Request> out;
  queue.take_batch(3, out);
  CHECK(ids(out) == Ids{2, 4, 1});
  queue.take_all(out);
  CHECK(ids(out) == Ids{2, 4, 1, 3});
  CHECK(queue.empty());
}

TEST_CASE("a free gpulet runs what waits, up to the planned batch") {
  DeadlineQueue queue = queue_of_8();
  CHECK(queue.decide(ms(0)).wake_at == kNever);
  for (std::uint64_t id = 0; id < 10; ++id) queue.push({id, ms(0), ms(900)}, ms(0), ms(0));
  const Decision decision = queue.decide(ms(0));
  CHECK(decision.batch_size == 8);
  CHECK(decision.slack == ms(860));
}

TEST_CASE("a batch shrinks for the earliest deadline when all are served that way") {
  DeadlineQueue queue = queue_of_8();
  queue.push({0, ms(0), ms(20)}, ms(0), ms(0));
  for (std::uint64_t id = 1; id < 8; ++id) queue.push({id, ms(0), ms(90)}, ms(0), ms(0));
  std::vector<Request> late;
  queue.take_late(ms(0), late);
  CHECK(late.empty());
  CHECK(queue.decide(ms(0)).batch_size == 4);
}

TEST_CASE("a tight head is given up when more behind it are served without it") {
  DeadlineQueue queue = queue_of_8();
  queue.push({0, ms(0), ms(10)}, ms(0), ms(0));
  for (std::uint64_t id = 1; id < 9; ++id) {
    REQUIRE(queue.push({id, ms(0), ms(42)}, ms(0), ms(0)) == Admit::kAccepted);
  }
  std::vector<Request> late;
  queue.take_late(ms(0), late);
  CHECK(ids(late) == Ids{0});
  CHECK(queue.decide(ms(0)).batch_size == 8);
}

TEST_CASE("a request in the middle is refused when another would pay for it") {
  DeadlineQueue queue = queue_of_8();
  for (std::uint64_t id = 0; id < 8; ++id) queue.push({id, ms(0), ms(42)}, ms(0), ms(0));
  CHECK(queue.push({8, ms(0), ms(15)}, ms(0), ms(0)) == Admit::kLate);
  CHECK(queue.push({9, ms(0), ms(90)}, ms(0), ms(0)) == Admit::kAccepted);
  CHECK(queue.push({10, ms(0), ms(80)}, ms(0), ms(0)) == Admit::kAccepted);
}

TEST_CASE("lingers for company, but not past the oldest's patience nor the deadline") {
  DeadlineQueue queue = queue_of_8({.linger = ms(5)});
  queue.push({0, ms(0), ms(100)}, ms(0), ms(0));
  CHECK(queue.decide(ms(1)).batch_size == 0);
  CHECK(queue.decide(ms(1)).wake_at == ms(5));
  CHECK(queue.decide(ms(5)).batch_size == 1);

  DeadlineQueue tight = queue_of_8({.linger = ms(5)});
  tight.push({0, ms(0), ms(16)}, ms(0), ms(0));
  CHECK(tight.decide(ms(0)).wake_at == ms(16) - tight.latency(2));
  CHECK(tight.decide(tight.decide(ms(0)).wake_at).batch_size == 1);

  DeadlineQueue whole = queue_of_8({.linger = ms(5)});
  for (std::uint64_t id = 0; id < 8; ++id) whole.push({id, ms(0), ms(100)}, ms(0), ms(0));
  CHECK(whole.decide(ms(0)).batch_size == 8);
}

TEST_CASE("without drop_late everything runs, in whole batches once the head is lost") {
  DeadlineQueue queue = queue_of_8({.drop_late = false});
  for (std::uint64_t id = 0; id < 12; ++id) {
    CHECK(queue.push({id, ms(0), ms(5)}, ms(0), ms(99)) == Admit::kAccepted);
  }
  std::vector<Request> late;
  queue.take_late(ms(50), late);
  CHECK(late.empty());
  CHECK(queue.decide(ms(50)).batch_size == 8);
  CHECK(queue.decide(ms(50)).slack < Nanos{0});
}

TEST_CASE("without drop_late a batch still shrinks when that is in time for more") {
  DeadlineQueue queue = queue_of_8({.drop_late = false});
  queue.push({0, ms(0), ms(20)}, ms(0), ms(0));
  for (std::uint64_t id = 1; id < 8; ++id) queue.push({id, ms(0), ms(90)}, ms(0), ms(0));
  CHECK(queue.decide(ms(0)).batch_size == 4);
}

TEST_CASE("a slower device is believed, a steady one exactly") {
  DeadlineQueue queue = queue_of_8();
  for (int i = 0; i < 100; ++i) queue.observe(4, ms(30));
  CHECK(queue.correction() == doctest::Approx(1.5).epsilon(0.01));
  CHECK(static_cast<double>(queue.latency(8).count()) == doctest::Approx(60e6).epsilon(0.02));
  CHECK(queue.push({1, ms(0), ms(14)}, ms(0), ms(0)) == Admit::kLate);
}

TEST_CASE("one stall of the machine refuses nobody with time to spare") {
  DeadlineQueue queue = queue_of_8();
  queue.observe(8, ms(40000));
  CHECK(queue.latency(1) < ms(15));
}

TEST_CASE("a correction that refuses everything is forgotten") {
  DeadlineQueue queue = queue_of_8();
  for (int i = 0; i < 200; ++i) queue.observe(1, ms(100));
  int refused = 0;
  while (queue.push({1, ms(0), ms(15)}, ms(0), ms(0)) == Admit::kLate && refused < 1000) ++refused;
  CHECK(refused > 0);
  CHECK(refused < 100);
}

TEST_CASE("a new plan keeps what waits") {
  DeadlineQueue queue = queue_of_8();
  for (std::uint64_t id = 0; id < 8; ++id) queue.push({id, ms(0), ms(300)}, ms(0), ms(0));
  queue.update(LatencyTable({{1, ms(5)}, {2, ms(6)}}), {.max_batch = 2});
  CHECK(queue.size() == 8);
  CHECK(queue.decide(ms(0)).batch_size == 2);
  CHECK(queue.latency(2) == ms(6));
  queue.observe(8, ms(400));
  CHECK(queue.correction() == 1.0);
}

TEST_CASE("random lives: nothing lost, nothing twice, nothing late run, wakes ahead, all repeats") {
  const auto live = [](std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    const auto below = [&](int n) { return static_cast<int>(engine() % static_cast<unsigned>(n)); };
    QueueLimits limits{
        .capacity = 1 + below(40), .max_batch = 1 + below(8), .drop_late = below(4) > 0};
    limits.margin = Nanos{below(3)};
    limits.linger = Nanos{below(2) * below(30)};
    LatencyTable latency({{1, Nanos{1 + below(10)}}, {8, Nanos{11 + below(40)}}});
    DeadlineQueue queue(latency, limits);
    std::set<std::uint64_t> waiting;
    std::vector<std::uint64_t> history;
    const auto leave = [&](const std::vector<Request>& requests) {
      for (const Request& request : requests) {
        CHECK(waiting.erase(request.id) == 1);
        history.push_back(request.id);
      }
    };
    Nanos now{0};
    Nanos busy_until{0};
    for (std::uint64_t id = 0; id < 600; ++id) {
      now += Nanos{below(6)};
      const Nanos slo{below(3) == 0 ? below(200) : 60};
      const Admit admit = queue.push({id, now, now + slo}, now, busy_until);
      CHECK((admit == Admit::kFull) ==
            (waiting.size() == static_cast<std::size_t>(limits.capacity)));
      if (!limits.drop_late) CHECK(admit != Admit::kLate);
      if (admit == Admit::kAccepted) waiting.insert(id);
      CHECK(queue.size() == waiting.size());
      if (busy_until > now) continue;

      std::vector<Request> out;
      queue.take_late(now, out);
      if (!limits.drop_late) CHECK(out.empty());
      leave(out);
      Decision decision = queue.decide(now);
      CHECK(decision.batch_size <= limits.max_batch);
      if (decision.batch_size == 0) {
        CHECK(decision.wake_at > now);
        CHECK((decision.wake_at == kNever) == queue.empty());
        if (queue.empty()) continue;
        CHECK(limits.linger > Nanos{0});
        now = decision.wake_at;
        decision = queue.decide(now);
        CHECK(decision.batch_size > 0);
      }
      out.clear();
      queue.take_batch(decision.batch_size, out);
      busy_until = now + queue.latency(decision.batch_size);
      for (const Request& request : out) {
        if (limits.drop_late) CHECK(busy_until + limits.margin <= request.deadline);
        if (!queue.empty()) CHECK(request.deadline <= queue.earliest_deadline());
      }
      if (limits.drop_late) CHECK(decision.slack >= Nanos{0});
      leave(out);
      queue.observe(decision.batch_size, latency.at(decision.batch_size) + Nanos{below(3)});
    }
    std::vector<Request> rest;
    queue.take_all(rest);
    leave(rest);
    CHECK(waiting.empty());
    return history;
  };
  for (std::uint64_t seed = 0; seed < 150; ++seed) CHECK(live(seed) == live(seed));
}

TEST_CASE("what is in time for all is given up by none") {
  std::mt19937_64 engine(11);
  for (int round = 0; round < 500; ++round) {
    DeadlineQueue queue = queue_of_8({.drop_late = true});
    const auto count = 1 + engine() % 8;
    for (std::uint64_t id = 0; id < count; ++id) {
      const Nanos deadline = ms(40 + static_cast<double>(engine() % 100));
      CHECK(queue.push({id, ms(0), deadline}, ms(0), ms(0)) == Admit::kAccepted);
    }
    std::vector<Request> late;
    queue.take_late(ms(0), late);
    CHECK(late.empty());
    CHECK(queue.decide(ms(0)).batch_size == static_cast<int>(count));
  }
}

TEST_CASE("goodput under three times the load stays near that of whole batches") {
  struct Shape {
    int max_batch;
    double one_ms, max_ms;
  };
  double worst = 1.0;
  for (const Shape& shape :
       {Shape{8, 1.9, 5.3}, {32, 5.0, 20.5}, {16, 5.0, 20.0}, {4, 9.0, 10.0}}) {
    for (const double slo : {2.0, 2.5, 3.0, 5.0, 10.0}) {
      const replay::Source source{replay::line(shape.max_batch, shape.one_ms, shape.max_ms),
                                  ms(slo * shape.max_ms), 3.0};
      const auto result = replay::run({source}, 0.0, 10.0, 1).front();
      INFO("max_batch ", shape.max_batch, " slo ", slo, " mean batch ", result.mean_batch);
      CHECK(result.useful_part >= 0.95);
      CHECK(result.overdue == 0);
      worst = std::min(worst, result.useful_part);
    }
  }
  MESSAGE("worst goodput / capacity: ", worst);
}

TEST_CASE("goodput stays when latencies jitter by a fifth, and hardly anything runs for nothing") {
  double worst = 1.0;
  for (const double slo : {2.0, 3.0, 5.0, 10.0}) {
    for (const double load : {1.6, 3.0}) {
      const replay::Source source{replay::line(8, 1.9, 5.3), ms(slo * 5.3), load};
      const auto result = replay::run({source}, 0.2, 10.0, 2).front();
      INFO("slo ", slo, " load ", load, " mean batch ", result.mean_batch);
      CHECK(result.useful_part >= 0.93);
      CHECK(result.overdue <= 0.01 * result.in_time);
      worst = std::min(worst, result.useful_part);
    }
  }
  MESSAGE("worst goodput / capacity with jitter: ", worst);
}

TEST_CASE("with load to spare everybody is served") {
  const replay::Source source{replay::line(8, 1.9, 5.3), ms(50), 0.7};
  for (const double jitter : {0.0, 0.2}) {
    const auto result = replay::run({source}, jitter, 10.0, 3).front();
    CHECK(result.in_time >= 0.999 * result.arrived - 1);
  }
}

namespace {

// The most that anyone could serve who knew all arrivals: every batch of every subset, with
// waiting.
class Offline {
 public:
  Offline(std::vector<Request> requests, const LatencyTable& table)
      : requests_(std::move(requests)), table_(table) {}

  int most(Nanos now, unsigned done) {
    const auto key = std::pair{now, done};
    if (const auto found = seen_.find(key); found != seen_.end()) return found->second;
    unsigned here = 0;
    Nanos next = kNever;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if ((done >> i & 1U) != 0) continue;
      if (requests_[i].arrival > now) next = std::min(next, requests_[i].arrival);
      if (requests_[i].arrival <= now && now + table_.at(1) <= requests_[i].deadline)
        here |= 1U << i;
    }
    int best = next == kNever ? 0 : most(next, done);
    for (unsigned set = here; set != 0; set = (set - 1) & here) {
      const int size = __builtin_popcount(set);
      if (size > table_.max_batch()) continue;
      const Nanos end = now + table_.at(size);
      bool in_time = true;
      for (std::size_t i = 0; i < requests_.size(); ++i) {
        in_time = in_time && ((set >> i & 1U) == 0 || end <= requests_[i].deadline);
      }
      if (in_time) best = std::max(best, size + most(end, done | set));
    }
    return seen_[key] = best;
  }

 private:
  std::vector<Request> requests_;
  const LatencyTable& table_;
  std::map<std::pair<Nanos, unsigned>, int> seen_;
};

int online(const std::vector<Request>& requests, const LatencyTable& table) {
  DeadlineQueue queue(table, {.max_batch = table.max_batch()});
  Nanos free{0};
  int served = 0;
  std::vector<Request> out;
  const auto work_until = [&](Nanos until) {
    while (!queue.empty() && free <= until) {
      queue.take_late(free, out);
      const Decision decision = queue.decide(free);
      if (decision.batch_size == 0) return;
      queue.take_batch(decision.batch_size, out);
      served += decision.batch_size;
      free += queue.latency(decision.batch_size);
    }
  };
  for (const Request& request : requests) {
    work_until(request.arrival - Nanos{1});
    free = std::max(free, request.arrival);
    queue.push(request, request.arrival, free);
  }
  work_until(kNever - ms(1e6));
  return served;
}

}  // namespace

TEST_CASE("not far from who knows the future, on instances small enough to try everything") {
  std::mt19937_64 engine(3);
  const LatencyTable table({{1, Nanos{6}}, {4, Nanos{12}}});
  double ratio = 0.0;
  int worse_by = 0;
  constexpr int kRounds = 200;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Request> requests;
    Nanos now{0};
    const Nanos slo{14 + static_cast<int>(engine() % 30)};
    for (std::uint64_t id = 0; id < 9; ++id) {
      now += Nanos{static_cast<int>(engine() % 7)};
      requests.push_back({id, now, now + slo});
    }
    const int most = Offline(requests, table).most(Nanos{0}, 0);
    const int served = online(requests, table);
    CHECK(served <= most);
    ratio += static_cast<double>(served) / most / kRounds;
    worse_by = std::max(worse_by, most - served);
  }
  MESSAGE("served / offline optimum: mean ", ratio, ", at worst ", worse_by, " of 9 fewer");
  CHECK(ratio >= 0.85);
}
