#include "glet/exec/engine.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <stdexcept>
#include <thread>

#include "exec_parts.h"
#include "glet/error.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

const PartitionSpec kAnywhere{.kind = PartitionSpec::Kind::kProfiled, .cores = {}};

std::unique_ptr<Runner> echo(int max_batch) {
  return std::make_unique<NullRunner>(floats(2), max_batch);
}

// Of the calling thread.
std::vector<int> thread_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

}  // namespace

TEST_CASE("each request gets its own slot back, with timings") {
  Engine engine;
  engine.add_gpulet(1, kAnywhere);
  engine.load(1, 5, echo(8), plan(8));
  std::vector<Submission> burst;
  for (std::uint64_t tag = 0; tag < 100; ++tag) {
    burst.push_back(request(tag, 1, 5, static_cast<float>(tag)));
  }
  engine.submit(burst);
  CHECK(burst.empty());
  const auto done = collect(engine, 100);
  REQUIRE(done.size() == 100);
  for (const auto& each : done) {
    REQUIRE(each.outcome == Outcome::kOk);
    CHECK(first_float(each) == static_cast<float>(each.tag));
    CHECK(each.batch >= 1);
    CHECK(each.batch <= 8);
    CHECK(each.queued >= Nanos(0));
    CHECK(each.executed >= Nanos(0));
    CHECK(each.outputs->signature().outputs[0].name == "y");
  }
  const auto stats = engine.stats();
  REQUIRE(stats.size() == 1);
  CHECK(stats[0].ok == 100);
  CHECK(stats[0].items == 100);
  CHECK(stats[0].waiting == 0);
}

TEST_CASE("outputs outlive the model") {
  std::vector<Completion> done;
  {
    Engine engine;
    engine.add_gpulet(1, kAnywhere);
    engine.load(1, 5, echo(1), plan(1));
    submit_one(engine, request(9, 1, 5, 42));
    done = collect(engine, 1);
  }
  REQUIRE(done.size() == 1);
  CHECK(first_float(done[0]) == 42);
}

TEST_CASE("nowhere to go is unavailable; what does not fit is invalid and named") {
  Engine engine;
  engine.add_gpulet(1, kAnywhere);
  engine.load(1, 5, echo(1), plan(1));
  std::vector<Submission> burst;
  burst.push_back(request(0, 2, 5));
  burst.push_back(request(1, 1, 6));
  burst.push_back(request(2, 1, 5));
  burst.back().payload = std::make_unique<Floats>(std::vector<float>{1, 2, 3});
  burst.push_back(request(3, 1, 5));
  burst.back().payload = nullptr;
  engine.submit(burst);
  auto done = collect(engine, 4);
  REQUIRE(done.size() == 4);
  std::sort(done.begin(), done.end(), [](auto& a, auto& b) { return a.tag < b.tag; });
  CHECK(done[0].outcome == Outcome::kUnavailable);
  CHECK(done[1].outcome == Outcome::kUnavailable);
  CHECK(done[2].outcome == Outcome::kInvalid);
  CHECK(*done[2].error == "input 'x' has 12 bytes; expected 8");
  CHECK(done[3].outcome == Outcome::kInvalid);
  CHECK(*done[3].error == "got 0 inputs; the model takes 1");
}

TEST_CASE("a model that throws fails its batch, and the gpulet goes on") {
  Engine engine;
  engine.add_gpulet(1, kAnywhere);
  int calls = 0;
  engine.load(1, 5,
              std::make_unique<ScriptedRunner>(4,
                                               [&](int) {
                                                 if (++calls == 1) {
                                                   throw std::runtime_error("no luck");
                                                 }
                                                 if (calls == 2) throw 3;
                                               }),
              plan(4));
  for (const char* expected : {"no luck", "the runner threw what is no std::exception"}) {
    submit_one(engine, request(1, 1, 5));
    const auto done = collect(engine, 1);
    REQUIRE(done.size() == 1);
    CHECK(done[0].outcome == Outcome::kFailed);
    CHECK(*done[0].error == expected);
    CHECK(done[0].outputs == nullptr);
  }
  submit_one(engine, request(1, 1, 5));
  CHECK(collect(engine, 1).at(0).outcome == Outcome::kOk);
  CHECK(engine.stats().at(0).failed == 2);
}

TEST_CASE("wrong calls are refused by name") {
  Engine engine;
  CHECK_THROWS_AS(engine.add_gpulet(1, {.cores = {}}), DeviceError);
  engine.add_gpulet(1, kAnywhere);
  CHECK_THROWS_AS(engine.add_gpulet(1, kAnywhere), ArgumentError);
  CHECK_THROWS_AS(engine.load(2, 5, echo(1), plan(1)), ArgumentError);
  CHECK_THROWS_AS(engine.load(1, 5, echo(1), plan(2)), ArgumentError);
  engine.load(1, 5, echo(1), plan(1));
  CHECK_THROWS_AS(engine.load(1, 5, echo(1), plan(1)), ArgumentError);
  CHECK_THROWS_AS(engine.update(1, 5, plan(2)), ArgumentError);
  CHECK_THROWS_AS(engine.update(1, 6, plan(1)), ArgumentError);
  CHECK_THROWS_AS(engine.unload(1, 6, Nanos(0)), ArgumentError);
  CHECK_THROWS_AS(engine.measure(1, 5, 2, 1), ArgumentError);
  CHECK_THROWS_AS(engine.measure(1, 5, 1, 0), ArgumentError);
  CHECK_THROWS_AS(engine.measure(1, 6, 1, 1), ArgumentError);
  CHECK_THROWS_AS(engine.remove_gpulet(2, Nanos(0)), ArgumentError);
}

TEST_CASE("measuring runs on the worker's thread and answers with every duration") {
  Engine engine;
  engine.add_gpulet(1, kAnywhere);
  std::vector<int> sizes;
  engine.load(1, 5, std::make_unique<ScriptedRunner>(8, [&](int n) { sizes.push_back(n); }),
              plan(2));
  CHECK(engine.measure(1, 5, 8, 5).size() == 5);
  CHECK(sizes == std::vector<int>(5, 8));
  engine.load(1, 6, std::make_unique<ScriptedRunner>(1, [](int) { throw ModelError("broken"); }),
              plan(1));
  CHECK_THROWS_AS(engine.measure(1, 6, 1, 3), ModelError);
  CHECK(engine.stats().at(0).ok == 0);
}

TEST_CASE("a new plan applies to what waits and loses nothing") {
  Engine engine;
  engine.add_gpulet(1, kAnywhere);
  std::vector<int> sizes;
  std::atomic<bool> updated = false;
  engine.load(1, 5,
              std::make_unique<ScriptedRunner>(8,
                                               [&](int n) {
                                                 sizes.push_back(n);
                                                 updated.wait(false);
                                               }),
              plan(8));
  submit_one(engine, request(0, 1, 5));
  std::vector<Submission> burst;
  while (engine.stats()[0].waiting > 0) std::this_thread::yield();
  for (std::uint64_t tag = 1; tag <= 8; ++tag) burst.push_back(request(tag, 1, 5));
  engine.submit(burst);
  engine.update(1, 5, plan(4));
  updated = true;
  updated.notify_all();
  CHECK(collect(engine, 9).size() == 9);
  CHECK(std::all_of(sizes.begin(), sizes.end(), [](int n) { return n <= 4; }));
}

TEST_CASE("a gpulet is resized between two batches, and what waits is served") {
  const auto cores = usable_cores();
  Engine engine;
  CHECK(engine.add_gpulet(1, {.cores = {cores.front()}}).cores == std::vector{cores.front()});
  engine.add_gpulet(2, {.cores = {cores.front()}});
  std::vector<std::vector<int>> seen;  // the cores of each batch's start and end
  std::atomic<int> started = 0;
  std::atomic<bool> go_on = false;
  engine.load(1, 5,
              std::make_unique<ScriptedRunner>(4,
                                               [&](int) {
                                                 seen.push_back(thread_cores());
                                                 ++started;
                                                 started.notify_all();
                                                 go_on.wait(false);
                                                 seen.push_back(thread_cores());
                                               }),
              plan(4));
  engine.load(2, 5, echo(4), plan(4));
  submit_one(engine, request(0, 1, 5));
  started.wait(0);
  std::vector<Submission> burst;
  for (std::uint64_t tag = 1; tag <= 8; ++tag) burst.push_back(request(tag, 1, 5));
  engine.submit(burst);
  PartitionReport report;
  std::thread resizing([&] { report = engine.resize(1, {.cores = {cores.back()}}); });
  // The neighbour serves while this one waits for its batch.
  submit_one(engine, request(100, 2, 5));
  CHECK(collect(engine, 1).at(0).tag == 100);
  go_on = true;
  go_on.notify_all();
  resizing.join();
  CHECK(collect(engine, 9).size() == 9);
  CHECK(report.cores == std::vector{cores.back()});
  CHECK(engine.partition(1).cores == std::vector{cores.back()});
  CHECK(engine.partition(2).cores == std::vector{cores.front()});
  for (std::size_t i = 0; i < seen.size(); i += 2) CHECK(seen[i] == seen[i + 1]);
  CHECK(engine.stats().at(0).ok == 9);
}

TEST_CASE("a share that cannot be had leaves the gpulet as it was") {
  const int core = usable_cores().front();
  Engine engine;
  engine.add_gpulet(1, {.cores = {core}});
  engine.load(1, 5, echo(4), plan(4));
  CHECK_THROWS_WITH_AS(engine.resize(1, {.cores = {}}),
                       "[Partition] a cpu gpulet needs at least one core; got none", DeviceError);
  CHECK_THROWS_AS(engine.resize(1, {.cores = {core, 100'000}}), DeviceError);
  CHECK_THROWS_WITH_AS(
      engine.resize(1, kAnywhere),
      "[Engine.resize] gpulet 1 is of kind cpu and cannot become profiled; remove it and add "
      "another",
      ArgumentError);
  CHECK_THROWS_AS(engine.resize(2, {.cores = {core}}), ArgumentError);
  CHECK(engine.partition(1).cores == std::vector{core});
  submit_one(engine, request(1, 1, 5));
  CHECK(collect(engine, 1).at(0).outcome == Outcome::kOk);
  engine.add_gpulet(3, kAnywhere);
  CHECK(engine.resize(3, {.kind = PartitionSpec::Kind::kProfiled, .share_pct = 7, .cores = {}})
            .cores == usable_cores());
}

TEST_CASE("nothing is lost while gpulets are resized and measured under load") {
  const auto cores = usable_cores();
  Engine engine;
  engine.add_gpulet(1, {.cores = {cores.front()}});
  engine.load(1, 5, echo(8), plan(8));
  std::atomic<bool> stop = false;
  std::vector<std::thread> askers;
  for (int asker = 0; asker < 2; ++asker) {
    askers.emplace_back([&, asker] {
      for (std::size_t i = 0; !stop || i < 20; ++i) {
        const int core = cores[(i + static_cast<std::size_t>(asker)) % cores.size()];
        engine.resize(1, {.cores = {core}});
        engine.measure(1, 5, 8, 2);
        engine.partition(1);
      }
    });
  }
  constexpr std::uint64_t kRequests = 2000;
  for (std::uint64_t tag = 0; tag < kRequests; ++tag) submit_one(engine, request(tag, 1, 5));
  std::set<std::uint64_t> answered;
  for (const auto& done : collect(engine, kRequests)) {
    CHECK((done.outcome == Outcome::kOk || done.outcome == Outcome::kFull));
    answered.insert(done.tag);
  }
  stop = true;
  for (auto& asker : askers) asker.join();
  CHECK(answered.size() == kRequests);
}

TEST_CASE("draining refuses what comes later and finishes what came before") {
  Engine engine;
  engine.add_gpulet(1, kAnywhere);
  engine.load(1, 5, echo(4), plan(4));
  std::vector<Submission> burst;
  for (std::uint64_t tag = 0; tag < 50; ++tag) burst.push_back(request(tag, 1, 5));
  engine.submit(burst);
  CHECK(engine.drain_all(now() + std::chrono::seconds(30)));
  submit_one(engine, request(99, 1, 5));
  const auto done = collect(engine, 51);
  REQUIRE(done.size() == 51);
  CHECK(done.back().tag == 99);
  CHECK(done.back().outcome == Outcome::kUnavailable);
  CHECK(std::all_of(done.begin(), done.end() - 1,
                    [](const auto& each) { return each.outcome == Outcome::kOk; }));
}

TEST_CASE("every submission is answered once while models and gpulets come and go") {
  constexpr int kSubmitters = 3;
  constexpr int kBursts = 60;
  constexpr int kBurst = 16;
  Engine engine;
  for (GpuletId gpulet : {1, 2}) {
    engine.add_gpulet(gpulet, kAnywhere);
    for (ModelId model : {5, 6}) engine.load(gpulet, model, echo(8), plan(8, 64));
  }
  std::vector<std::thread> threads;
  for (int submitter = 0; submitter < kSubmitters; ++submitter) {
    threads.emplace_back([&engine, submitter] {
      std::uint64_t tag = static_cast<std::uint64_t>(submitter) * kBursts * kBurst;
      for (int i = 0; i < kBursts; ++i) {
        std::vector<Submission> burst;
        for (int j = 0; j < kBurst; ++j, ++tag) {
          // Some are due at once: late by the time they are looked at.
          const Nanos due_in = j % 7 == 0 ? Nanos(500) : kFar;
          burst.push_back(
              request(tag, 1 + j % 2, 5 + (j / 2) % 2, static_cast<float>(tag), due_in));
        }
        engine.submit(burst);
      }
    });
  }
  threads.emplace_back([&engine] {
    for (int i = 0; i < 20; ++i) {
      engine.unload(1, 5, i % 2 == 0 ? Nanos(0) : now() + std::chrono::seconds(1));
      engine.load(1, 5, echo(8), plan(8, 64));
      engine.measure(1, 5, 2, 2);
      engine.update(1, 6, plan(1 + i % 8, 64));
      engine.remove_gpulet(2, i % 2 == 0 ? Nanos(0) : now() + std::chrono::seconds(1));
      engine.add_gpulet(2, kAnywhere);
      for (ModelId model : {5, 6}) engine.load(2, model, echo(8), plan(8, 64));
    }
  });
  constexpr std::size_t kTotal = static_cast<std::size_t>(kSubmitters) * kBursts * kBurst;
  const auto done = collect(engine, kTotal);
  for (auto& thread : threads) thread.join();
  CHECK(engine.drain_all(now() + std::chrono::seconds(30)));
  std::vector<Completion> more;
  CHECK(engine.drain(more) == 0);
  std::vector<int> answers(kTotal, 0);
  for (const auto& each : done) {
    ++answers.at(each.tag);
    if (each.outcome == Outcome::kOk) CHECK(first_float(each) == static_cast<float>(each.tag));
    CHECK(each.outcome != Outcome::kFailed);
    CHECK(each.outcome != Outcome::kInvalid);
  }
  CHECK(std::count(answers.begin(), answers.end(), 1) == static_cast<std::ptrdiff_t>(kTotal));
}

TEST_CASE("two gpulets on halves of the machine own different cores") {
  const auto usable = usable_cores();
  if (usable.size() < 2) return;
  const auto halves = assign_cores(usable, {50, 50});
  Engine engine;
  const auto first = engine.add_gpulet(1, {.share_pct = 50, .cores = halves[0]});
  const auto second = engine.add_gpulet(2, {.share_pct = 50, .cores = halves[1]});
  CHECK(first.cores == halves[0]);
  CHECK(second.cores == halves[1]);
  for (const int core : first.cores) {
    CHECK(std::count(second.cores.begin(), second.cores.end(), core) == 0);
  }
}
