#include "glet/exec/loan.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <mutex>
#include <random>
#include <thread>

#include "exec_parts.h"
#include "glet/error.h"
#include "glet/exec/engine.h"
#include "glet/exec/profiled_runner.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr ModelId kModel = 5;

PartitionSpec share(int pct) {
  return {.kind = PartitionSpec::Kind::kProfiled, .share_pct = pct, .cores = {}};
}

batch::ModelPlan within(Nanos slo, Nanos latency, int max_batch = 1) {
  batch::ModelPlan made = plan(max_batch, 4096, latency);
  made.limits.slo = slo;
  return made;
}

profile::LatencyTable takes(Nanos latency, int max_batch = 1) {
  return plan(max_batch, 1, latency).latency;
}

// Echoes, and tells how long its device was said to take.
class TellingRunner : public ScriptedRunner {
 public:
  TellingRunner(int max_batch, std::function<void(const profile::LatencyTable*)> script)
      : ScriptedRunner(max_batch, [this](int) { script_(borrowed_); }),
        script_(std::move(script)) {}
  void emulate(const profile::LatencyTable* latency) override { borrowed_ = latency; }

 private:
  std::function<void(const profile::LatencyTable*)> script_;
  const profile::LatencyTable* borrowed_ = nullptr;
};

std::unique_ptr<Runner> nothing() {
  return std::make_unique<ScriptedRunner>(1, [](int) {});
}

std::uint64_t borrowed(const Engine& engine, GpuletId gpulet) {
  std::uint64_t count = 0;
  for (const ModelStats& stats : engine.stats()) {
    if (stats.gpulet == gpulet) count += stats.borrowed;
  }
  return count;
}

// Two gpulets of one model each; a batch of 1 takes 10 ms by the plan, and 1 ms on both shares: so
// much less that a loan is worth it, whatever the queue learns of runners that take no time.
struct Pair {
  Pair(std::unique_ptr<Runner> first, std::unique_ptr<Runner> second, Nanos slo = seconds(60)) {
    engine.add_gpulet(1, share(40));
    engine.add_gpulet(2, share(60));
    engine.load(1, kModel, std::move(first), within(slo, milliseconds(10)));
    engine.load(2, kModel, std::move(second), within(slo, milliseconds(10)));
    lend();
  }
  void lend() { engine.set_loans(1, {{2, {{kModel, takes(milliseconds(1))}}}}); }
  void run(GpuletId gpulet) {
    submit_one(engine, request(tag++, gpulet, kModel));
    CHECK(collect(engine, 1).at(0).outcome == Outcome::kOk);
  }

  // Whether a loan is taken by and by: one that just ended a batch, or was told something, holds
  // its lock for a moment. After that it sleeps, and lends at once.
  bool borrows(GpuletId gpulet = 1) {
    return eventually([&, before = borrowed(engine, gpulet)] {
      run(gpulet);
      return borrowed(engine, gpulet) > before;
    });
  }
  bool never_borrows() {
    const auto before = borrowed(engine, 1);
    for (int i = 0; i < 20; ++i) run(1);
    return borrowed(engine, 1) == before;
  }

  Engine engine;
  std::uint64_t tag = 1;
};

}  // namespace

TEST_CASE("a batch runs on both shares, and the lender starts nothing before it ends") {
  std::mutex mutex;
  std::vector<std::string> events;
  const auto note = [&](const char* event) {
    const std::lock_guard lock(mutex);
    events.emplace_back(event);
  };
  std::atomic<bool> held = false;
  std::latch entered(1);
  std::latch let_go(1);
  Pair pair(std::make_unique<TellingRunner>(1,
                                            [&](const profile::LatencyTable* wide) {
                                              if (!held) return;
                                              note(wide != nullptr ? "wide" : "alone");
                                              entered.count_down();
                                              let_go.wait();
                                              note("ends");
                                            }),
            std::make_unique<ScriptedRunner>(1, [&](int) { note("lender"); }));
  CHECK(pair.borrows());
  const auto before = borrowed(pair.engine, 1);
  held = true;
  submit_one(pair.engine, request(1, 1, kModel));
  entered.wait();
  submit_one(pair.engine, request(2, 2, kModel));
  std::this_thread::sleep_for(milliseconds(50));  // time for what should not happen
  let_go.count_down();
  CHECK(collect(pair.engine, 2).size() == 2);
  CHECK(events == std::vector<std::string>{"wide", "ends", "lender"});
  CHECK(borrowed(pair.engine, 1) == before + 1);
  CHECK(borrowed(pair.engine, 2) == 0);
}

TEST_CASE("nobody lends while it runs a batch") {
  std::latch entered(1);
  std::latch let_go(1);
  Pair pair(nothing(), std::make_unique<ScriptedRunner>(1, [&](int) {
              entered.count_down();
              let_go.wait();
            }));
  pair.engine.add_gpulet(3, share(1));
  pair.engine.load(3, kModel, nothing(), within(seconds(60), milliseconds(10)));
  pair.engine.set_loans(3, {{1, {{kModel, takes(milliseconds(1))}}}});
  submit_one(pair.engine, request(100, 2, kModel));
  entered.wait();
  CHECK(pair.never_borrows());
  CHECK(pair.borrows(3));
  let_go.count_down();
  collect(pair.engine, 1);
  CHECK(pair.borrows());
}

TEST_CASE("what may come to the lender meanwhile has to end in time") {
  // 1 ms on both shares, then 10 ms of its own.
  Pair tight(nothing(), nothing(), Nanos(10'500'000));
  CHECK(tight.never_borrows());
  Pair loose(nothing(), nothing(), milliseconds(12));
  CHECK(loose.borrows());
}

TEST_CASE("without an SLO nothing is lent before requests have come") {
  Pair pair(nothing(), nothing(), kNever);
  CHECK(pair.never_borrows());
  pair.run(2);
  CHECK(pair.borrows());
}

TEST_CASE("a batch that is hardly faster on both shares stays on its own") {
  Pair pair(nothing(), nothing());
  pair.engine.set_loans(1, {{2, {{kModel, takes(Nanos(9'500'000))}}}});
  CHECK(pair.never_borrows());
}

TEST_CASE("what is not known is tried and learned") {
  Pair pair(nothing(), nothing());
  pair.engine.set_loans(1, {{2}});
  for (int i = 0; i < 8; ++i) CHECK(pair.borrows());
  // By now it is known: next to nothing on both shares, and the queue still believes in the plan.
  CHECK(pair.borrows());
}

TEST_CASE("a batch on both shares is not learned as the latency of the own one") {
  Engine engine;
  const auto slow = std::make_shared<Emulation>();
  for (GpuletId gpulet : {1, 2}) {
    engine.add_gpulet(gpulet, share(50));
    auto own = within(seconds(60), milliseconds(5));
    auto runner = std::make_unique<ProfiledRunner>(floats(2), 1, own.latency, slow);
    engine.load(gpulet, kModel, std::move(runner), std::move(own));
  }
  engine.set_loans(1, {{2, {{kModel, takes(milliseconds(1))}}}});
  auto run = [&engine, tag = std::uint64_t{1}]() mutable {
    submit_one(engine, request(tag++, 1, kModel));
    collect(engine, 1);
    return borrowed(engine, 1);
  };
  CHECK(eventually([&] { return run() > 0; }));
  const auto before = borrowed(engine, 1);
  const double correction = engine.stats().at(0).correction;
  slow->set_factor(1.5);
  for (int i = 0; i < 20; ++i) run();
  CHECK(borrowed(engine, 1) == before + 20);
  CHECK(engine.stats().at(0).correction == correction);
  engine.set_loans(1, {});
  for (int i = 0; i < 20; ++i) run();
  CHECK(borrowed(engine, 1) == before + 20);
  CHECK(engine.stats().at(0).correction > 1.3);
}

TEST_CASE("a resize of either ends the leave, and one lender that goes takes only its own") {
  Pair pair(nothing(), nothing());
  CHECK(pair.borrows());
  pair.engine.resize(2, share(30));
  CHECK(pair.never_borrows());
  pair.lend();
  CHECK(pair.borrows());
  pair.engine.resize(1, share(30));
  CHECK(pair.never_borrows());
  pair.engine.add_gpulet(3, share(10));  // without models: nothing can come to it
  pair.engine.set_loans(
      1, {{2, {{kModel, takes(milliseconds(1))}}}, {3, {{kModel, takes(milliseconds(1))}}}});
  pair.engine.remove_gpulet(2, Nanos(0));
  CHECK(pair.borrows());
  pair.engine.remove_gpulet(3, Nanos(0));
  CHECK(pair.never_borrows());
}

TEST_CASE("a lender that is removed or resized waits for the batch on its share") {
  std::latch entered(1);
  std::latch let_go(1);
  std::atomic<bool> held = false;
  std::atomic<bool> ended = false;
  Pair pair(std::make_unique<ScriptedRunner>(1,
                                             [&](int) {
                                               if (!held) return;
                                               entered.count_down();
                                               let_go.wait();
                                               ended = true;
                                             }),
            nothing());
  CHECK(pair.borrows());
  const auto before = borrowed(pair.engine, 1);
  held = true;
  submit_one(pair.engine, request(1, 1, kModel));
  entered.wait();
  std::thread resizing([&] {
    pair.engine.resize(2, share(20));
    CHECK(ended);
    pair.engine.remove_gpulet(2, Nanos(0));
  });
  std::this_thread::sleep_for(milliseconds(20));  // time for what should not happen
  let_go.count_down();
  resizing.join();
  CHECK(collect(pair.engine, 1).at(0).outcome == Outcome::kOk);
  CHECK(borrowed(pair.engine, 1) == before + 1);
}

TEST_CASE("loans that cannot be are refused, and those before stay") {
  Pair pair(nothing(), nothing());
  pair.engine.add_gpulet(3, {.kind = PartitionSpec::Kind::kCpu, .cores = usable_cores()});
  CHECK_THROWS_WITH_AS(pair.engine.set_loans(1, {{1}}),
                       "[Engine.set_loans] gpulet 1 cannot lend to itself", ArgumentError);
  CHECK_THROWS_AS(pair.engine.set_loans(1, {{9}}), ArgumentError);
  CHECK_THROWS_AS(pair.engine.set_loans(9, {}), ArgumentError);
  CHECK_THROWS_AS(pair.engine.set_loans(1, {{3}}), ArgumentError);
  CHECK(pair.borrows());
}

TEST_CASE("on a CPU a batch has the cores of both, and its own again after it") {
  const auto usable = usable_cores();
  if (usable.size() < 2) return;
  const auto cores = [](std::vector<int> own) {
    return PartitionSpec{.kind = PartitionSpec::Kind::kCpu, .cores = std::move(own)};
  };
  std::atomic<int> seen = 0;
  const auto look = [&](int) {
    cpu_set_t set;
    CPU_ZERO(&set);
    ::sched_getaffinity(0, sizeof set, &set);
    seen = CPU_COUNT(&set);
  };
  Engine engine;
  engine.add_gpulet(1, cores({usable[0]}));
  engine.add_gpulet(2, cores({usable[1]}));
  engine.load(1, kModel, std::make_unique<ScriptedRunner>(1, look),
              within(seconds(60), milliseconds(10)));
  const auto run = [&] {
    submit_one(engine, request(1, 1, kModel));
    CHECK(collect(engine, 1).at(0).outcome == Outcome::kOk);
    return seen.load();
  };
  CHECK(run() == 1);
  engine.set_loans(1, {{2}});
  CHECK(eventually([&] { return run() == 2; }));
  CHECK(engine.partition(1).cores == std::vector{usable[0]});
  engine.set_loans(1, {});
  CHECK(run() == 1);
}

TEST_CASE("everything is answered while gpulets lend in a ring, are resized, loaded and removed") {
  constexpr int kGpulets = 3;
  constexpr std::uint64_t kRequests = 3000;
  Engine engine;
  const auto load = [&](GpuletId gpulet, ModelId model) {
    engine.load(gpulet, model, std::make_unique<ScriptedRunner>(4, [](int) {}),
                within(seconds(60), milliseconds(1), 4));
  };
  const auto lend = [&](GpuletId gpulet) {
    const auto known = takes(Nanos(50'000), 4);
    engine.set_loans(gpulet, {{(gpulet + 1) % kGpulets, {{kModel, known}}},
                              {(gpulet + 2) % kGpulets, {{kModel, known}}}});
  };
  for (GpuletId gpulet = 0; gpulet < kGpulets; ++gpulet) {
    engine.add_gpulet(gpulet, share(30));
    load(gpulet, kModel);
  }
  for (GpuletId gpulet = 0; gpulet < kGpulets; ++gpulet) lend(gpulet);
  std::atomic<bool> over = false;
  std::thread changing([&] {
    std::mt19937 dice(1);
    while (!over) {
      const auto gpulet = static_cast<GpuletId>(dice() % kGpulets);
      engine.resize(gpulet, share(10 + static_cast<int>(dice() % 2)));
      load(gpulet, 6);
      lend(gpulet);
      engine.unload(gpulet, 6, Nanos(0));
      lend((gpulet + 1) % kGpulets);
    }
  });
  std::size_t answered = 0;
  for (std::uint64_t tag = 0; tag < kRequests; ++tag) {
    submit_one(engine, request(tag, static_cast<GpuletId>(tag % kGpulets), kModel));
    if (tag % 8 == 7) answered += collect(engine, 8).size();
  }
  over = true;
  changing.join();
  CHECK(answered == kRequests);
  std::uint64_t ok = 0;
  for (const ModelStats& stats : engine.stats()) ok += stats.ok;
  CHECK(ok == kRequests);
  lend(0);
  CHECK(eventually([&] {
    submit_one(engine, request(kRequests, 0, kModel));
    collect(engine, 1);
    return borrowed(engine, 0) > 0;
  }));
}
