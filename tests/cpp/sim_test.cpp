#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "glet/error.h"
#include "glet/sim/fleet.h"
#include "glet/sim/gpulets.h"

using namespace glet;
using namespace glet::sim;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

JobSettings one_server(double service_ms) {
  JobSettings settings;
  settings.service = {Shape::kFixed, service_ms, 0.0, 0.0};
  settings.objective = milliseconds(1000);
  return settings;
}

Arrivals at(const std::vector<int>& ms) {
  std::vector<Nanos> times;
  for (const int time : ms) times.push_back(milliseconds(time));
  return Arrivals(times);
}

FleetSettings quota(int units) {
  FleetSettings settings;
  settings.quota = units;
  return settings;
}

std::uint64_t sum(const Ledger& ledger, std::uint64_t LedgerRow::* field) {
  std::uint64_t total = 0;
  for (const LedgerRow& row : ledger.rows()) total += row.*field;
  return total;
}

}  // namespace

TEST_CASE("log, exp and the normal quantile agree with the library's") {
  Random random(1, 2);
  for (int i = 0; i < 20000; ++i) {
    const double x = random.uniform();
    CHECK(natural_log(x) == doctest::Approx(std::log(x)).epsilon(1e-14));
    const double y = (x - 0.5) * 40.0;
    CHECK(natural_exp(y) == doctest::Approx(std::exp(y)).epsilon(1e-13));
    const double z = Random::inverse_normal(x);
    CHECK(0.5 * std::erfc(-z / std::sqrt(2.0)) == doctest::Approx(x).epsilon(1e-12));
  }
}

TEST_CASE("random numbers are these, on every machine") {
  Random random(42, 7);
  const std::uint64_t first = random.next();
  Random again(42, 7);
  CHECK(again.next() == first);
  Random other(42, 8);
  CHECK(other.next() != first);
  Random fixed(42, 1);
  CHECK(fixed.next() == 8595381518002021294ULL);
}

TEST_CASE("a lognormal has the mean that it says") {
  const Distribution service{Shape::kLognormal, 79.3016, 68.5808, 0.422471};
  CHECK(service.mean_ms() == doctest::Approx(154.28).epsilon(1e-3));
  Random random(3, 4);
  double total = 0.0;
  for (int i = 0; i < 200000; ++i) {
    total += static_cast<double>(service.sample(random).count()) * 1e-6;
  }
  CHECK(total / 200000 == doctest::Approx(service.mean_ms()).epsilon(5e-3));
}

TEST_CASE("gaps keep the count and may run over, even ones begin at the interval's start") {
  Arrivals gaps({100, 0, 50}, seconds(60), Spacing::kGaps, Random(1, 1));
  int count = 0;
  Nanos last{0};
  for (; gaps.next() != kNever; gaps.pop(), ++count) {
    CHECK(gaps.next() >= last);
    last = gaps.next();
  }
  CHECK(count == 150);

  Arrivals even({3, 1}, seconds(1), Spacing::kEven, Random(1, 1), milliseconds(1));
  std::vector<Nanos> times;
  for (; even.next() != kNever; even.pop()) times.push_back(even.next());
  CHECK(times == std::vector<Nanos>{milliseconds(0), milliseconds(333), milliseconds(666),
                                    milliseconds(1000)});
  CHECK_THROWS_AS(Arrivals({-1.0}, seconds(1), Spacing::kEven, Random(1, 1)), ArgumentError);
  CHECK_THROWS_AS(at({5, 3}), ArgumentError);
}

TEST_CASE("one server: each request waits for those before it") {
  Fleet fleet(quota(1));
  const int job = fleet.add(one_server(100), at({0, 10, 20}));
  fleet.advance(seconds(1));
  fleet.finish();
  const LedgerRow row = fleet.job(job).ledger().rows().front();
  CHECK(row.offered == 3);
  CHECK(row.sum_ms == doctest::Approx(100.0 + 190.0 + 280.0));
  CHECK(row.p50_ms == doctest::Approx(190.0));
}

TEST_CASE("a router is passed twice and its time is in the latency") {
  JobSettings settings = one_server(100);
  settings.router = {Shape::kFixed, 5.0, 0.0, 0.0};
  Fleet other(quota(1));
  other.add(settings, at({0}));
  other.advance(seconds(1));
  CHECK(other.job(0).ledger().rows().front().sum_ms == doctest::Approx(110.0));
}

TEST_CASE("a full queue refuses its tail, and refused requests are infinitely late") {
  JobSettings settings = one_server(100);
  settings.in_flight = 1;
  settings.queue_limit = 1;  // one that finds two waiting is refused
  Fleet fleet(quota(1));
  const int job = fleet.add(settings, at({0, 1, 2, 3, 4}));
  fleet.advance(seconds(2));
  fleet.finish();
  const LedgerRow row = fleet.job(job).ledger().rows().front();
  CHECK(row.answered == 3);
  CHECK(row.refused == 2);
  CHECK(std::isinf(row.objective_ms));
  CHECK(row.served_ms < 400.0);
}

TEST_CASE("a new replica starts cold, a kept place hot, and an idle one goes") {
  JobSettings settings = one_server(100);
  settings.start = {Shape::kFixed, 35000.0, 0.0, 0.0};
  settings.hot_start = seconds(3);
  Fleet fleet(quota(2));
  const int job = fleet.add(settings, at({}));
  fleet.set_target(job, 2);
  fleet.advance(seconds(34));
  CHECK(fleet.counts(job).serving == 1);
  CHECK(fleet.counts(job).starting == 1);
  fleet.advance(seconds(35));
  CHECK(fleet.counts(job).serving == 2);
  fleet.set_target(job, 1);
  CHECK(fleet.counts(job).serving == 1);
  CHECK(fleet.units() == 2);
  fleet.advance(seconds(45));
  fleet.set_target(job, 2);
  fleet.advance(seconds(48));
  CHECK(fleet.counts(job).serving == 2);
  fleet.set_target(job, 1);
  fleet.advance(seconds(48 + 36));
  CHECK(fleet.units() == 1);
}

TEST_CASE("a replica without a unit waits until another job gives one up") {
  JobSettings settings = one_server(100);
  settings.start = {Shape::kFixed, 1000.0, 0.0, 0.0};
  settings.replicas = 2;
  Fleet fleet(quota(3));
  const int big = fleet.add(settings, at({}));
  settings.replicas = 1;
  const int small = fleet.add(settings, at({}));
  fleet.set_target(small, 2);
  fleet.advance(seconds(20));
  CHECK(fleet.counts(small).serving == 1);
  fleet.set_target(big, 1);
  fleet.advance(seconds(20 + 30 + 5 + 5 + 2));
  CHECK(fleet.counts(small).serving == 2);
  CHECK(fleet.units() == 3);
  CHECK_THROWS_AS(fleet.set_target(7, 1), ArgumentError);
}

TEST_CASE("tokens are refilled, not saved up") {
  JobSettings settings = one_server(1);
  settings.dispatch = Dispatch::kBlind;
  settings.tokens = 2;
  settings.token_window = seconds(1);
  Fleet fleet(quota(1));
  const int job = fleet.add(settings, at({0, 100, 200, 1100, 1200, 1300}));
  fleet.advance(seconds(5));
  CHECK(sum(fleet.job(job).ledger(), &LedgerRow::answered) == 4);
  CHECK(sum(fleet.job(job).ledger(), &LedgerRow::refused) == 2);
}

TEST_CASE("the same seed gives the same, however time is cut") {
  const auto total = [](std::uint64_t seed, Nanos step) {
    FleetSettings settings = quota(2);
    settings.seed = seed;
    Fleet fleet(settings);
    JobSettings job;
    job.service = {Shape::kLognormal, 79.3, 68.6, 0.42};
    job.router = {Shape::kLognormal, 3.5, 1.0, 0.48};
    job.objective = milliseconds(500);
    job.replicas = 2;
    fleet.add(job, Arrivals(std::vector<double>(5, 700.0), seconds(60), Spacing::kGaps,
                            fleet.arrivals_random(0)));
    while (fleet.now() < seconds(300)) fleet.advance(fleet.now() + step);
    fleet.finish();
    double ms = 0.0;
    for (const LedgerRow& row : fleet.job(0).ledger().rows()) ms += row.sum_ms;
    return ms;
  };
  CHECK(total(1, seconds(10)) == total(1, seconds(300)));
  CHECK(total(1, seconds(10)) != total(2, seconds(10)));
}

namespace {

batch::ModelPlan plan_of(int batch, int latency_ms) {
  batch::QueueLimits limits;
  limits.max_batch = batch;
  return {profile::LatencyTable({{1, milliseconds(latency_ms)}, {8, milliseconds(latency_ms)}}),
          limits, 1.0};
}

profile::LatencyTable takes(int latency_ms) {
  return profile::LatencyTable({{1, milliseconds(latency_ms)}, {8, milliseconds(latency_ms)}});
}

}  // namespace

TEST_CASE("gpulets: batches form while one runs, and neighbours slow them down") {
  Gpulets world(seconds(60));
  const auto model = world.add_model(milliseconds(500), at({0, 1, 2, 3}), 0.99);
  world.load(0, model, plan_of(8, 10), takes(10), 2.0);
  const std::vector<route::Route> routes = {{0, 1.0}};
  world.set_routes(model, routes);
  world.advance(seconds(1));
  const LedgerRow row = world.ledger(model).rows().front();
  CHECK(row.answered == 4);
  CHECK(row.sum_ms == doctest::Approx(20.0 + 39.0 + 38.0 + 37.0));
  CHECK(world.take_window(0, model).batches == 2);
  CHECK(world.correction(0, model) > 1.0);
}

TEST_CASE("gpulets: what waits at a model that leaves goes to another gpulet") {
  Gpulets world(seconds(60));
  const auto model = world.add_model(seconds(5), at({0, 1, 2, 3}), 0.99);
  world.load(0, model, plan_of(1, 100), takes(100), 1.0);
  const std::vector<route::Route> first = {{0, 1.0}};
  world.set_routes(model, first);
  world.advance(milliseconds(50));
  CHECK(world.waiting(0, model) == 3);
  world.load(1, model, plan_of(8, 10), takes(10), 1.0);
  const std::vector<route::Route> second = {{1, 1.0}};
  world.set_routes(model, second);
  world.unload(0, model);
  world.advance(seconds(1));
  world.finish();
  CHECK(world.ledger(model).rows().front().answered == 4);
  CHECK(world.outstanding(model) == 0);
  CHECK(world.take_window(1, model).served == 3);
}

TEST_CASE("gpulets: an idle neighbour lends its share where that makes nothing late") {
  // 4 ms on both shares, then a batch of 10 ms of the neighbour's: late in 13 ms, not in 14.
  for (const auto& [slo_ms, borrowed] : {std::pair{13, 0u}, std::pair{14, 1u}}) {
    Gpulets world(seconds(60));
    const auto first = world.add_model(milliseconds(500), at({0}), 0.99);
    const auto second = world.add_model(milliseconds(500), at({2}), 0.99);
    batch::ModelPlan plan = plan_of(1, 10);
    plan.limits.slo = milliseconds(slo_ms);
    for (const auto model : {first, second}) {
      world.load(model, model, plan, takes(10), 1.0);
      const std::vector<route::Route> routes = {{model, 1.0}};
      world.set_routes(model, routes);
    }
    world.set_loans(first, {{second, {{first, takes(4)}}}});
    CHECK_THROWS_AS(world.set_loans(first, {{first, {}}}), ArgumentError);
    CHECK_THROWS_AS(world.set_loans(first, {{7, {}}}), ArgumentError);
    world.advance(seconds(1));
    world.finish();
    CHECK(world.ledger(first).rows().front().sum_ms == doctest::Approx(borrowed ? 4.0 : 10.0));
    CHECK(world.ledger(second).rows().front().sum_ms == doctest::Approx(borrowed ? 12.0 : 10.0));
    CHECK(world.take_window(first, first).borrowed == borrowed);
    CHECK(world.take_window(second, second).borrowed == 0);
    CHECK(world.correction(first, first) == 1.0);
  }
}

TEST_CASE("gpulets: the part that is not let in is refused as full") {
  Gpulets world(seconds(60));
  const auto model = world.add_model(milliseconds(500), at({0, 1, 2, 3}), 0.99);
  world.load(0, model, plan_of(8, 10), takes(10), 1.0);
  const std::vector<route::Route> routes = {{0, 1.0}};
  world.set_routes(model, routes);
  world.set_accept(model, 0.5);
  world.advance(seconds(1));
  const ModelWindow window = world.take_window(model);
  CHECK(window.offered == 4);
  CHECK(window.full == 2);
  CHECK(window.good == 2);
  CHECK(world.outstanding(model) == 0);
  CHECK(world.ledger(model).rows().front().refused == 2);
  CHECK_THROWS_AS(world.set_accept(model, 1.5), ArgumentError);
}

TEST_CASE("gpulets: nobody serves a model without routes, and late ones are refused") {
  Gpulets world(seconds(60));
  const auto lost = world.add_model(milliseconds(50), at({0}), 0.99);
  const auto late = world.add_model(milliseconds(50), at({0, 1}), 0.99);
  world.load(0, late, plan_of(1, 40), takes(40), 1.0);
  const std::vector<route::Route> routes = {{0, 1.0}};
  world.set_routes(late, routes);
  world.advance(seconds(1));
  CHECK(world.take_window(lost).unavailable == 1);
  const ModelWindow window = world.take_window(late);
  CHECK(window.ok == 1);
  CHECK(window.late == 1);
  CHECK_THROWS_AS(world.unload(0, lost), ArgumentError);
}
