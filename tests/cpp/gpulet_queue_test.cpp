#include "glet/batch/gpulet_queue.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

#include "glet/error.h"
#include "replay.h"

using namespace glet;
using batch::Admit;
using batch::GpuletDecision;
using batch::GpuletQueue;
using batch::LateRequest;
using batch::ModelId;
using batch::ModelPlan;
using batch::Request;
using profile::LatencyTable;
using replay::ms;

namespace {

ModelPlan plan(int max_batch, double one_ms, double max_ms, double time_share = 0.5) {
  ModelPlan made{replay::line(max_batch, one_ms, max_ms), {}, time_share};
  made.limits.max_batch = max_batch;
  return made;
}

void push(GpuletQueue& queue, ModelId model, int count, double deadline_ms) {
  static std::uint64_t id = 0;
  for (int i = 0; i < count; ++i) {
    REQUIRE(queue.push(model, {id++, ms(0), ms(deadline_ms)}, ms(0), ms(0)) == Admit::kAccepted);
  }
}

}  // namespace

TEST_CASE("models come and go") {
  GpuletQueue queue;
  CHECK_THROWS_AS(queue.push(1, {}, ms(0), ms(0)), ArgumentError);
  queue.add(1, plan(4, 5, 10));
  CHECK(queue.has(1));
  CHECK_THROWS_AS(queue.add(1, plan(4, 5, 10)), ArgumentError);
  CHECK_THROWS_AS(queue.add(2, plan(4, 5, 10, 1.5)), ArgumentError);
  CHECK_THROWS_AS(queue.update(2, plan(4, 5, 10)), ArgumentError);
  push(queue, 1, 3, 100);
  queue.update(1, plan(2, 5, 6));
  CHECK(queue.latency(1, 2) == ms(6));
  CHECK(queue.size(1) == 3);
  CHECK(queue.size() == 3);
  std::vector<Request> out;
  queue.remove(1, out);
  CHECK(out.size() == 3);
  CHECK_FALSE(queue.has(1));
  CHECK_THROWS_AS(queue.remove(1, out), ArgumentError);
  CHECK(queue.decide(ms(0)).batch_size == 0);
  CHECK(queue.decide(ms(0)).wake_at == kNever);
}

TEST_CASE("earliest deadline first, not least slack first") {
  GpuletQueue queue;
  queue.add(1, plan(4, 5, 10));
  queue.add(2, plan(4, 50, 80));
  push(queue, 1, 1, 90);
  push(queue, 2, 1, 100);
  CHECK(queue.decide(ms(0)).model == 1);
}

TEST_CASE("an order that serves all is found where least slack first finds none") {
  GpuletQueue queue;
  queue.add(1, plan(1, 50, 50));
  queue.add(2, plan(1, 1, 1));
  queue.add(3, plan(1, 1, 1));
  queue.add(4, plan(1, 9, 9));
  push(queue, 1, 1, 100);  // latest start 50: by slack it goes second, and makes 2 and 3 late
  push(queue, 2, 1, 56);
  push(queue, 3, 1, 56);
  push(queue, 4, 1, 55);
  for (const int expected : {4, 2, 3, 1}) {
    const GpuletDecision decision = queue.decide(ms(0));
    CHECK(decision.model == expected);
    std::vector<Request> taken;
    queue.take_batch(decision, taken);
  }
}

TEST_CASE("the other order when it serves both") {
  GpuletQueue queue;
  queue.add(1, plan(4, 20, 40));
  queue.add(2, plan(4, 5, 10));
  push(queue, 1, 4, 51);
  push(queue, 2, 4, 45);
  const GpuletDecision decision = queue.decide(ms(0));
  CHECK(decision.model == 2);
  CHECK(decision.batch_size == 4);
}

TEST_CASE("a smaller batch when it serves both") {
  GpuletQueue queue;
  queue.add(1, plan(4, 10, 40));
  queue.add(2, plan(1, 10, 10));
  push(queue, 1, 1, 41);
  push(queue, 1, 3, 60);
  push(queue, 2, 1, 45);
  const GpuletDecision decision = queue.decide(ms(0));
  CHECK(decision.model == 1);
  CHECK(decision.batch_size == 3);
}

TEST_CASE("under overload the model furthest below its share goes first") {
  GpuletQueue queue;
  queue.add(1, plan(4, 10, 40, 0.5));
  queue.add(2, plan(4, 10, 40, 0.5));
  push(queue, 1, 4, 41);
  push(queue, 2, 4, 42);
  CHECK(queue.decide(ms(0)).model == 1);
  queue.observe(1, 4, ms(40));
  CHECK(queue.decide(ms(0)).model == 2);
  queue.observe(2, 4, ms(40));
  queue.observe(2, 4, ms(40));
  CHECK(queue.decide(ms(0)).model == 1);
}

TEST_CASE("a lingering model does not hold up the others, and wakes the gpulet") {
  GpuletQueue queue;
  ModelPlan lingering = plan(4, 5, 10);
  lingering.limits.linger = ms(3);
  queue.add(1, lingering);
  queue.add(2, plan(4, 5, 10));
  push(queue, 1, 1, 100);
  CHECK(queue.decide(ms(0)).wake_at == ms(3));
  push(queue, 2, 1, 200);
  CHECK(queue.decide(ms(0)).model == 2);
}

TEST_CASE("two overloaded models share the time as promised, and little of it is wasted") {
  double worst = 1.0;
  for (const double jitter : {0.0, 0.2}) {
    for (const double share : {0.3, 0.5, 0.7}) {
      for (const double slo : {2.2, 5.0, 20.0}) {
        const auto results = replay::run({{replay::line(8, 1.5, 5), ms(slo * 5), 3.0, share},
                                          {replay::line(16, 12, 40), ms(5 * 40), 3.0, 1 - share}},
                                         jitter, 10.0, 4);
        INFO("jitter ", jitter, " share ", share, " slo ", slo);
        const double useful = results[0].useful_part + results[1].useful_part;
        CHECK(useful >= 0.92);
        CHECK(results[0].busy_part == doctest::Approx(share).epsilon(0.1));
        CHECK(results[1].busy_part == doctest::Approx(1 - share).epsilon(0.1));
        worst = std::min(worst, useful);
      }
    }
  }
  MESSAGE("worst useful part of the time: ", worst);
}

TEST_CASE("a model alone may use everything, whatever it was promised") {
  const auto results = replay::run(
      {{replay::line(8, 1.5, 5), ms(15), 3.0, 0.1}, {replay::line(16, 12, 40), ms(200), 0.0, 0.9}},
      0.0, 10.0, 5);
  CHECK(results[0].useful_part >= 0.95);
}

TEST_CASE("idle time is no credit to speak of") {
  GpuletQueue queue;
  queue.add(1, plan(4, 10, 40, 0.5));
  queue.add(2, plan(4, 10, 40, 0.5));
  for (int i = 0; i < 1000; ++i) queue.observe(1, 4, ms(40));
  push(queue, 1, 4, 41);
  push(queue, 2, 4, 42);
  int second = 0;
  while (queue.decide(ms(0)).model == 2 && second < 100) {
    queue.observe(2, 4, ms(40));
    ++second;
  }
  CHECK(second >= 1);
  CHECK(second <= 5);
}

TEST_CASE("a model within its share is served beside an overloaded one") {
  const auto results = replay::run(
      {{replay::line(8, 1.5, 5), ms(20), 0.2, 0.5}, {replay::line(8, 1.5, 5), ms(20), 3.0, 0.5}},
      0.0, 10.0, 6);
  CHECK(results[0].in_time >= 0.98 * results[0].arrived);
  CHECK(results[0].useful_part + results[1].useful_part >= 0.9);
}

TEST_CASE("random lives: nothing lost, nothing twice, nothing late run, all repeats") {
  const auto live = [](std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    const auto below = [&](int n) { return static_cast<int>(engine() % static_cast<unsigned>(n)); };
    GpuletQueue queue;
    std::map<ModelId, ModelPlan> plans;
    std::map<ModelId, std::set<std::uint64_t>> waiting;
    std::vector<std::uint64_t> history;
    const auto leave = [&](ModelId model, const Request& request) {
      CHECK(waiting[model].erase(request.id) == 1);
      history.push_back(request.id);
    };
    const auto renew = [&](ModelId model) {
      ModelPlan made{LatencyTable({{1, Nanos{1 + below(10)}}, {8, Nanos{11 + below(30)}}}),
                     {},
                     0.1 * below(11)};
      made.limits.max_batch = 1 + below(8);
      made.limits.drop_late = below(4) > 0;
      made.limits.linger = Nanos{below(2) * below(20)};
      plans.insert_or_assign(model, made);
      return made;
    };
    for (ModelId model = 0; model < 3; ++model) queue.add(model, renew(model));
    Nanos now{0};
    Nanos busy_until{0};
    for (std::uint64_t id = 0; id < 500; ++id) {
      now += Nanos{below(5)};
      const auto model = static_cast<ModelId>(below(3));
      if (below(60) == 0) queue.update(model, renew(model));
      if (below(60) == 0) {
        std::vector<Request> out;
        queue.remove(model, out);
        for (const Request& request : out) leave(model, request);
        CHECK(waiting[model].empty());
        queue.add(model, renew(model));
      }
      if (queue.push(model, {id, now, now + Nanos{20 + below(100)}}, now, busy_until) ==
          Admit::kAccepted) {
        waiting[model].insert(id);
      }
      CHECK(queue.size(model) == waiting[model].size());
      if (busy_until > now) continue;
      std::vector<LateRequest> late;
      queue.take_late(now, late);
      for (const LateRequest& one : late) {
        CHECK(plans.at(one.model).limits.drop_late);
        leave(one.model, one.request);
      }
      const GpuletDecision decision = queue.decide(now);
      if (decision.batch_size == 0) {
        CHECK(decision.wake_at > now);
        CHECK((decision.wake_at == kNever) == (queue.size() == 0));
        continue;
      }
      const ModelPlan& runs = plans.at(decision.model);
      CHECK(decision.batch_size <= runs.limits.max_batch);
      std::vector<Request> out;
      queue.take_batch(decision, out);
      CHECK(out.size() == static_cast<std::size_t>(decision.batch_size));
      busy_until = now + queue.latency(decision.model, decision.batch_size);
      for (const Request& request : out) {
        if (runs.limits.drop_late) CHECK(busy_until <= request.deadline);
        leave(decision.model, request);
      }
      queue.observe(decision.model, decision.batch_size, busy_until - now);
    }
    for (ModelId model = 0; model < 3; ++model) {
      std::vector<Request> out;
      queue.remove(model, out);
      for (const Request& request : out) leave(model, request);
      CHECK(waiting[model].empty());
    }
    return history;
  };
  for (std::uint64_t seed = 0; seed < 100; ++seed) CHECK(live(seed) == live(seed));
}
