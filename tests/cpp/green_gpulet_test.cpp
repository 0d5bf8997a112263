#include <doctest/doctest.h>

#include <string>
#include <thread>

#include "exec_parts.h"
#include "fake_driver.h"
#include "glet/error.h"
#include "glet/exec/engine.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

PartitionSpec green(const Placement& placement, int device = 0) {
  return {.kind = PartitionSpec::Kind::kGreen,
          .share_pct = 50,
          .cores = {},
          .device = device,
          .placement = placement};
}

// Opened anew, which a reset of the fake asks for; the engine then finds it under its own name.
FakeDriver& opened(FakeDriver& fake) {
  fake.open();
  return fake;
}

std::unique_ptr<Runner> echo(int max_batch) {
  return std::make_unique<NullRunner>(floats(2), max_batch);
}

}  // namespace

TEST_CASE("a green gpulet has its units, and the report says what they are") {
  FakeDriver fake;
  opened(fake);
  {
    Engine engine;
    const auto half = engine.add_gpulet(1, green({0, 7}));
    CHECK(half.units == 7);
    CHECK(half.sms == 56);
    CHECK(half.given_pct == doctest::Approx(100.0 * 56 / 132));
    CHECK(half.placement == Placement{0, 7});
    CHECK(half.stream != 0);
    CHECK(half.cores == usable_cores());
    const auto rest = engine.add_gpulet(2, green({7, 8}));
    CHECK(rest.context_id != half.context_id);
    CHECK(rest.stream != half.stream);
    CHECK(fake.count("splits") == 1);
    CHECK(fake.count("overlaps") == 0);
    CHECK(engine.green_counts(0).in_use == 2);
    CHECK_THROWS_WITH_AS(engine.green_counts(1),
                         "[Engine.green_counts] device 1 has had no green gpulet here",
                         ArgumentError);
    CHECK_THROWS_AS(engine.add_gpulet(3, green({14, 2})), ArgumentError);
    CHECK_THROWS_AS(engine.add_gpulet(3, green({0, 1}, 1)), DeviceError);
    CHECK(engine
              .add_gpulet(3, {.kind = PartitionSpec::Kind::kGreen,
                              .cores = {usable_cores().back()},
                              .device = 0,
                              .placement = {0, 1}})
              .cores == std::vector{usable_cores().back()});
  }
  CHECK(fake.clean());
}

TEST_CASE("a gpulet's streams have its priority, also after a resize and beside idle contexts") {
  FakeDriver fake;
  opened(fake);
  {
    Engine engine;
    PartitionSpec urgent = green({0, 7});
    urgent.priority = -3;
    const auto priority = [&fake](const PartitionReport& report) {
      return fake.priority(reinterpret_cast<cuda::Stream>(report.stream));
    };
    CHECK(priority(engine.add_gpulet(1, urgent)) == -3);
    CHECK(priority(engine.resize(1, green({0, 3}))) == -3);
    // The first context is idle now, with another priority than is wanted here.
    CHECK(priority(engine.add_gpulet(2, green({0, 7}))) == 0);
    CHECK(engine.green_counts(0).created == 3);
    CHECK(priority(engine.resize(1, green({0, 7}))) == -3);
    CHECK(engine.green_counts(0).reused == 1);
  }
  CHECK(fake.clean());
}

TEST_CASE("resizing leases other units and gives the old ones back") {
  FakeDriver fake;
  opened(fake);
  {
    Engine engine;
    const auto before = engine.add_gpulet(1, green({0, 7}));
    engine.add_gpulet(2, green({7, 8}));
    engine.load(1, 5, echo(4), plan(4));
    const auto shrunk = engine.resize(1, green({0, 3}));
    CHECK(shrunk.sms == 24);
    CHECK(shrunk.context_id != before.context_id);
    CHECK(engine.partition(1).context_id == shrunk.context_id);
    CHECK(engine.green_counts(0).in_use == 2);
    CHECK(engine.green_counts(0).idle == 1);
    // The same again is no second context; going back finds the first.
    CHECK(engine.resize(1, green({0, 3})).context_id == shrunk.context_id);
    CHECK(engine.resize(1, green({0, 7})).context_id == before.context_id);
    CHECK(engine.green_counts(0).created == 3);
    CHECK(engine.green_counts(0).reused == 1);
    submit_one(engine, request(1, 1, 5));
    CHECK(collect(engine, 1).at(0).outcome == Outcome::kOk);
    engine.remove_gpulet(1, Nanos(0));
    engine.remove_gpulet(2, Nanos(0));
    CHECK(engine.green_counts(0).in_use == 0);
    CHECK(engine.add_gpulet(1, green({0, 3})).context_id == shrunk.context_id);
  }
  CHECK(fake.clean());
}

TEST_CASE("a resize that fails leaves the gpulet as it was") {
  FakeDriver fake;
  opened(fake).set("devices", 2);
  fake.open();
  {
    Engine engine;
    const auto before = engine.add_gpulet(1, green({0, 7}));
    engine.load(1, 5, echo(4), plan(4));
    for (const char* call : {"cuDevResourceGenerateDesc", "cuGreenCtxCreate", "cuCtxFromGreenCtx",
                             "cuCtxGetDevResource", "cuGreenCtxStreamCreate"}) {
      fake.fail(call, 1, cuda::kOutOfMemory);
      CHECK_THROWS_AS(engine.resize(1, green({2, 2})), DeviceError);
      CHECK(fake.count("contexts") == 1);
    }
    CHECK_THROWS_AS(engine.resize(1, green({15, 1})), ArgumentError);
    CHECK_THROWS_WITH_AS(engine.resize(1, green({0, 7}, 1)),
                         "[Engine.resize] gpulet 1 is on device 0 and cannot move to device 1; "
                         "remove it and add another",
                         ArgumentError);
    CHECK_THROWS_AS(engine.resize(1, {.kind = PartitionSpec::Kind::kProfiled, .cores = {}}),
                    ArgumentError);
    CHECK(engine.partition(1).context_id == before.context_id);
    submit_one(engine, request(1, 1, 5));
    CHECK(collect(engine, 1).at(0).outcome == Outcome::kOk);
    CHECK(engine.resize(1, green({2, 2})).units == 2);
  }
  CHECK(fake.clean());
}

TEST_CASE("nothing is lost while green gpulets are resized under load") {
  FakeDriver fake;
  opened(fake);
  constexpr std::uint64_t kRequests = 600;
  constexpr int kResizes = 40;
  {
    Engine engine;
    for (GpuletId gpulet : {1, 2}) {
      engine.add_gpulet(gpulet, green({static_cast<int>(gpulet) * 5, 5}));
      engine.load(gpulet, 5, echo(8), plan(8, 4096));
    }
    std::vector<std::thread> resizing;
    for (GpuletId gpulet : {1, 2}) {
      resizing.emplace_back([&engine, gpulet] {
        for (int i = 0; i < kResizes; ++i) {
          engine.resize(gpulet, green({static_cast<int>(gpulet) * 5, 1 + i % 5}));
        }
      });
    }
    for (std::uint64_t tag = 0; tag < kRequests; ++tag) {
      submit_one(engine, request(tag, static_cast<GpuletId>(1 + tag % 2), 5));
    }
    const auto done = collect(engine, kRequests);
    for (auto& thread : resizing) thread.join();
    CHECK(done.size() == kRequests);
    for (const auto& each : done) CHECK(each.outcome == Outcome::kOk);
    CHECK(fake.count("overlaps") == 20);  // the sizes of one gpulet, which keeps them for later
  }
  CHECK(fake.clean());
}
