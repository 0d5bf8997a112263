// Load in process: every request is recorded once, whatever becomes of it.
#include "glet/net/engine_load.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "exec_parts.h"
#include "glet/error.h"

using namespace glet;
using namespace glet::exec::testing;
using exec::Engine;
using exec::Outcome;
using net::EngineLoad;
using net::EngineLoadModel;
using net::EngineRoute;
using net::LoadRecord;

namespace {

constexpr Nanos kPatience = std::chrono::seconds(60);

std::shared_ptr<Engine> null_engine(std::initializer_list<int> gpulets, int max_batch = 8) {
  auto engine = std::make_shared<Engine>();
  for (const int gpulet : gpulets) {
    engine->add_gpulet(gpulet, {.kind = exec::PartitionSpec::Kind::kProfiled, .cores = {}});
    engine->load(gpulet, 7, std::make_unique<exec::NullRunner>(floats(2), max_batch),
                 plan(max_batch, 65'536));
  }
  return engine;
}

net::StagedInputs two_floats() {
  return {std::vector<std::byte>(2 * sizeof(float))};
}

EngineLoadModel model(int requests, std::int64_t gap_ns, std::vector<EngineRoute> routes) {
  EngineLoadModel made;
  made.samples = {two_floats()};
  for (int i = 0; i < requests; ++i) made.arrivals_ns.push_back(i * gap_ns);
  made.routes = std::move(routes);
  return made;
}

std::int64_t count(const std::vector<LoadRecord>& records, int number, Outcome outcome) {
  return std::count_if(records.begin(), records.end(), [&](const LoadRecord& record) {
    return record.model == number && record.outcome == static_cast<std::int32_t>(outcome);
  });
}

}  // namespace

TEST_CASE("two models over two engines: everything is answered, in the order of the schedule") {
  const auto one = null_engine({0, 1});
  const auto other = null_engine({0});
  EngineLoad load(kPatience);
  const int first = load.add_model(model(3000, 20'000, {{one, 0, 7, 1.0}, {other, 0, 7, 2.0}}));
  const int second = load.add_model(model(1000, 60'000, {{one, 1, 7, 1.0}}));
  load.start();
  REQUIRE(load.wait(kPatience));
  const auto& records = load.records();
  REQUIRE(records.size() == 4000);
  CHECK(count(records, first, Outcome::kOk) == 3000);
  CHECK(count(records, second, Outcome::kOk) == 1000);
  CHECK(std::is_sorted(records.begin(), records.end(),
                       [](const auto& a, const auto& b) { return a.intended_ns < b.intended_ns; }));
  for (const LoadRecord& record : records) {
    CHECK(record.sent_ns >= record.intended_ns);
    CHECK(record.answered_ns >= record.sent_ns);
    CHECK(record.batch >= 1);
  }
  // By weight, one to two. Each gpulet's own count says where its requests went.
  const auto stats = one->stats();
  const auto at =
      std::find_if(stats.begin(), stats.end(), [](const auto& s) { return s.gpulet == 0; });
  CHECK(at->ok + other->stats().front().ok == 3000);
  CHECK(at->ok > 0);
  CHECK(other->stats().front().ok > 0);
  CHECK(load.progress()[0].ok == 3000);
  CHECK(load.first_batch(first, one.get(), 0) != kNever);
  CHECK(load.first_batch(second, one.get(), 0) == kNever);
}

TEST_CASE("late, invalid and unrouted requests are outcomes in the records") {
  const auto engine = null_engine({0});
  EngineLoad load(kPatience);
  EngineLoadModel late = model(50, 1000, {{engine, 0, 7, 1.0}});
  late.deadline = Nanos(0);
  EngineLoadModel invalid = model(50, 1000, {{engine, 0, 7, 1.0}});
  invalid.samples = {{std::vector<std::byte>(3)}};
  load.add_model(std::move(late));
  load.add_model(std::move(invalid));
  load.add_model(model(50, 1000, {}));
  load.add_model(model(50, 1000, {{engine, 0, 9, 1.0}}));
  load.start();
  REQUIRE(load.wait(kPatience));
  CHECK(count(load.records(), 0, Outcome::kLate) == 50);
  CHECK(count(load.records(), 1, Outcome::kInvalid) == 50);
  CHECK(count(load.records(), 2, Outcome::kUnavailable) == 50);
  CHECK(count(load.records(), 3, Outcome::kUnavailable) == 50);
  CHECK(load.progress()[1].first_error.find("expected 8") != std::string::npos);
  CHECK(load.progress()[2].first_error == "unavailable: no route");
}

TEST_CASE("routes change while it runs, and the gpulet that was left out can go: nothing is lost") {
  const auto engine = null_engine({0, 1});
  EngineLoad load(kPatience);
  const int number = load.add_model(model(1'000'000, 20'000, {{engine, 0, 7, 1.0}}));
  load.start();
  const auto answered = [&](exec::GpuletId gpulet) {
    return load.first_batch(number, engine.get(), gpulet) != kNever;
  };
  while (!answered(0)) std::this_thread::yield();
  load.set_routes(number, {{engine, 1, 7, 1.0}});
  engine->remove_gpulet(0, exec::now() + kPatience);
  while (!answered(1)) std::this_thread::yield();
  load.stop();
  REQUIRE(load.wait(kPatience));
  const auto sent = static_cast<std::int64_t>(load.records().size());
  CHECK(sent < 1'000'000);
  CHECK(count(load.records(), number, Outcome::kOk) == sent);
}

TEST_CASE("closing ends a run at once and lets go of the engine") {
  auto engine = null_engine({0});
  EngineLoad load(kPatience);
  load.add_model(model(1'000'000, 1'000'000, {{engine, 0, 7, 1.0}}));
  load.start();
  load.close();
  load.close();
  CHECK(engine.use_count() == 1);
  CHECK(load.wait(kPatience));
  CHECK(load.records().size() < 1'000'000);
}

TEST_CASE("what cannot be is refused") {
  const auto engine = null_engine({0});
  EngineLoad load(kPatience);
  EngineLoadModel unsorted = model(2, -5, {});
  CHECK_THROWS_AS(load.add_model(std::move(unsorted)), ArgumentError);
  EngineLoadModel empty = model(2, 5, {});
  empty.samples.clear();
  CHECK_THROWS_AS(load.add_model(std::move(empty)), ArgumentError);
  EngineLoadModel order = model(2, 5, {});
  order.sample_order = {0, 1};
  CHECK_THROWS_AS(load.add_model(std::move(order)), ArgumentError);
  CHECK_THROWS_AS(load.add_model(model(2, 5, {{engine, 0, 7, 0.0}})), ArgumentError);
  CHECK_THROWS_AS(load.add_model(model(2, 5, {{nullptr, 0, 7, 1.0}})), ArgumentError);
  CHECK_THROWS_AS(load.wait(Nanos(0)), ArgumentError);
  CHECK_THROWS_AS(load.records(), ArgumentError);
  CHECK_THROWS_AS(load.set_routes(0, {}), ArgumentError);
  const int number = load.add_model(model(2, 5, {{engine, 0, 7, 1.0}}));
  load.start();
  CHECK_THROWS_AS(load.start(), ArgumentError);
  CHECK_THROWS_AS(load.add_model(model(2, 5, {})), ArgumentError);
  CHECK_THROWS_AS(load.set_routes(number, {{null_engine({0}), 0, 7, 1.0}}), ArgumentError);
  CHECK(load.wait(kPatience));
}
