// Requests that are taken back: every one ends once, and what it held is free.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <map>
#include <random>
#include <thread>

#include "exec_parts.h"
#include "glet/batch/gpulet_queue.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

const PartitionSpec kAnywhere{.kind = PartitionSpec::Kind::kProfiled, .cores = {}};

auto is(std::uint64_t id) {
  return [id](std::uint64_t other) { return other == id; };
}

Nanos ms(int count) {
  return std::chrono::milliseconds(count);
}

}  // namespace

TEST_CASE("a cancelled request leaves, and its place is free") {
  batch::DeadlineQueue queue(profile::LatencyTable({{1, ms(1)}, {4, ms(2)}}),
                             {.capacity = 2, .max_batch = 4});
  const Nanos due = ms(100);
  CHECK(queue.push({1, Nanos(0), due}, Nanos(0), Nanos(0)) == batch::Admit::kAccepted);
  CHECK(queue.push({2, Nanos(0), due}, Nanos(0), Nanos(0)) == batch::Admit::kAccepted);
  CHECK(queue.push({3, Nanos(0), due}, Nanos(0), Nanos(0)) == batch::Admit::kFull);
  CHECK_FALSE(queue.cancel(due, is(3)));
  CHECK_FALSE(queue.cancel(due + Nanos(1), is(2)));
  const auto taken = queue.cancel(due, is(2));
  REQUIRE(taken);
  CHECK(taken->id == 2);
  CHECK_FALSE(queue.cancel(due, is(2)));
  CHECK(queue.push({3, Nanos(0), due}, Nanos(0), Nanos(0)) == batch::Admit::kAccepted);
  std::vector<batch::Request> batch;
  queue.take_batch(2, batch);
  CHECK(batch[0].id == 1);
  CHECK(batch[1].id == 3);
}

TEST_CASE("any order of push, cancel, late and batch ends each request once, in deadline order") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&random](std::uint64_t n) { return static_cast<int>(random() % n); };
    batch::GpuletQueue queue;
    for (const batch::ModelId model : {0, 1}) {
      queue.add(model, {.latency = profile::LatencyTable({{1, ms(2)}, {8, ms(8)}}),
                        .limits = {.capacity = 16, .max_batch = 8},
                        .time_share = 0.5});
    }
    struct Waiting {
      batch::ModelId model;
      Nanos deadline;
    };
    std::map<std::uint64_t, Waiting> waiting;
    const auto ended = [&waiting](std::uint64_t id) { CHECK(waiting.erase(id) == 1); };
    Nanos now(0);
    std::uint64_t next = 0;
    for (int step = 0; step < 300; ++step) {
      now += std::chrono::microseconds(below(2000));
      const int action = below(8);
      if (action < 4) {
        const batch::ModelId model = below(2);
        // Few different deadlines, so that many are equal.
        const Nanos due = ms(static_cast<int>(now.count() / 10'000'000) * 10 + 10 + 20 * below(3));
        const batch::Request request{next++, now, due};
        if (queue.push(model, request, now, now) == batch::Admit::kAccepted) {
          waiting[request.id] = {model, due};
        }
      } else if (action < 6 && next > 0) {
        const std::uint64_t id = random() % next;
        const auto known = waiting.find(id);
        const Waiting wanted = known == waiting.end() ? Waiting{below(2), now} : known->second;
        const auto taken = queue.cancel(wanted.model, wanted.deadline, is(id));
        CHECK(taken.has_value() == (known != waiting.end()));
        if (taken) ended(taken->id);
      } else if (action == 6) {
        std::vector<batch::LateRequest> late;
        queue.take_late(now, late);
        for (const auto& one : late) ended(one.request.id);
      } else {
        const auto decision = queue.decide(now);
        if (decision.batch_size == 0) continue;
        std::vector<batch::Request> taken;
        queue.take_batch(decision, taken);
        CHECK(std::is_sorted(taken.begin(), taken.end(),
                             [](const auto& a, const auto& b) { return a.deadline < b.deadline; }));
        for (const auto& request : taken) ended(request.id);
      }
      CHECK(queue.size() == waiting.size());
    }
    std::vector<batch::Request> left;
    for (const batch::ModelId model : {0, 1}) queue.remove(model, left);
    for (const auto& request : left) ended(request.id);
    CHECK(waiting.empty());
    CHECK_FALSE(queue.cancel(0, now, is(0)));  // the model is gone: nothing of it waits
  }
}

TEST_CASE("what waits is taken back, what runs is not, and payloads go home") {
  std::latch entered{1};
  std::latch let_go{1};
  bool first = true;
  Engine engine;
  engine.add_gpulet(3, kAnywhere);
  engine.load(3, 7,
              std::make_unique<ScriptedRunner>(1,
                                               [&](int) {
                                                 if (!std::exchange(first, false)) return;
                                                 entered.count_down();
                                                 let_go.wait();
                                               }),
              plan(1, 2));
  const Nanos at = now();
  const auto send = [&](std::uint64_t tag) {
    submit_one(engine, {tag, 3, 7, at, at + kFar,
                        std::make_unique<Floats>(std::vector<float>{1, 2}, true)});
  };
  send(1);
  entered.wait();
  send(2);
  send(3);
  CHECK_FALSE(engine.cancel({1, 3, 7, at + kFar}));  // runs
  CHECK_FALSE(engine.cancel({9, 3, 7, at + kFar}));  // never was
  CHECK_FALSE(engine.cancel({2, 4, 7, at + kFar}));  // no such gpulet
  CHECK_FALSE(engine.cancel({2, 3, 8, at + kFar}));  // no such model
  CHECK(engine.cancel({2, 3, 7, at + kFar}));
  CHECK_FALSE(engine.cancel({2, 3, 7, at + kFar}));
  send(4);  // the queue holds two: it is there because 2 has left
  let_go.count_down();
  const auto done = collect(engine, 4);
  REQUIRE(done.size() == 4);
  for (const Completion& each : done) {
    CHECK(each.outcome == (each.tag == 2 ? Outcome::kCancelled : Outcome::kOk));
    CHECK(each.payload != nullptr);
  }
  const auto stats = engine.stats();
  CHECK(stats[0].cancelled == 1);
  CHECK(stats[0].ok == 3);
  CHECK(stats[0].full == 0);
}

TEST_CASE("unloading a model does not wait for what was cancelled") {
  Engine engine;
  engine.add_gpulet(3, kAnywhere);
  auto lingering = plan(2);
  lingering.limits.linger = kFar;  // one alone waits for another
  engine.load(3, 7, std::make_unique<NullRunner>(floats(2), 2), lingering);
  Submission alone = request(1, 3, 7, 0, 2 * kFar);
  const Nanos due = alone.deadline;
  submit_one(engine, std::move(alone));
  std::thread unloading([&engine] { engine.unload(3, 7, now() + kFar); });
  CHECK(engine.cancel({1, 3, 7, due}));
  unloading.join();
  const auto done = collect(engine, 1);
  REQUIRE(done.size() == 1);
  CHECK(done[0].outcome == Outcome::kCancelled);
}

TEST_CASE("threads that submit and cancel while batches run get each completion once") {
  constexpr std::uint64_t kEach = 4000;
  constexpr std::uint64_t kThreads = 2;
  Engine engine;
  for (const GpuletId gpulet : {0, 1}) {
    engine.add_gpulet(gpulet, kAnywhere);
    engine.load(gpulet, 7, std::make_unique<NullRunner>(floats(2), 8), plan(8, 64));
  }
  std::atomic<std::uint64_t> taken_back{0};
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(thread);
      std::vector<Cancellation> sent;
      for (std::uint64_t i = 0; i < kEach; ++i) {
        const std::uint64_t tag = thread * kEach + i;
        Submission one = request(tag, static_cast<GpuletId>(random() % 2), 7);
        sent.push_back({tag, one.gpulet, 7, one.deadline});
        submit_one(engine, std::move(one));
        if (random() % 2 == 0) taken_back += engine.cancel(sent[random() % sent.size()]) ? 1 : 0;
        if (random() % 2 == 0) taken_back += engine.cancel(sent.back()) ? 1 : 0;
      }
    });
  }
  const auto done = collect(engine, kThreads * kEach);
  for (std::thread& thread : threads) thread.join();
  REQUIRE(done.size() == kThreads * kEach);
  std::vector<int> answers(kThreads * kEach);
  std::map<Outcome, std::uint64_t> outcomes;
  for (const Completion& each : done) {
    ++answers[each.tag];
    ++outcomes[each.outcome];
  }
  CHECK(std::all_of(answers.begin(), answers.end(), [](int count) { return count == 1; }));
  CHECK(outcomes[Outcome::kCancelled] == taken_back);
  CHECK(outcomes[Outcome::kCancelled] + outcomes[Outcome::kOk] + outcomes[Outcome::kFull] ==
        done.size());
  std::uint64_t cancelled = 0;
  std::uint64_t ok = 0;
  for (const ModelStats& stats : engine.stats()) {
    cancelled += stats.cancelled;
    ok += stats.ok;
    CHECK(stats.waiting == 0);
  }
  CHECK(cancelled == taken_back);
  CHECK(ok == outcomes[Outcome::kOk]);
}
