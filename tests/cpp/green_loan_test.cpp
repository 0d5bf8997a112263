#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <set>

#include "glet/exec/engine.h"
#include "graph_parts.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr ModelId kModel = 5;

batch::ModelPlan within_a_minute(int max_batch) {
  auto made = plan(max_batch, 4096, milliseconds(10));
  made.limits.slo = seconds(60);
  return made;
}

// Gpulet 1, of 7 units, may borrow from gpulet 2, of the next 4; both have the model.
struct Device {
  explicit Device(FakeDriver& fake, bool fails = false) : torch(fake) {
    fake.open();
    engine.add_gpulet(1, green({0, 7}));
    engine.add_gpulet(2, green({7, 4}));
    own = engine.partition(1).context_id;
    for (GpuletId gpulet : {1, 2}) {
      auto capture = torch.capture();
      if (fails) {
        capture = [this, made = torch.capture()](const CaptureRequest& request) {
          ++asked;
          if (request.context_id != own && request.context_id != theirs) {
            throw DeviceError("out of memory");
          }
          return made(request);
        };
      }
      theirs = engine.partition(2).context_id;
      engine.load(gpulet, kModel,
                  std::make_unique<GraphRunner>(engine.green_device(gpulet), std::move(capture),
                                                two_and_two(), 4),
                  within_a_minute(4));
    }
    engine.set_loans(1, {{2}});
  }
  void run(int n = 1, GpuletId gpulet = 1) {
    std::vector<Submission> burst;
    for (int i = 0; i < n; ++i) burst.push_back(two_request(tag++, gpulet, kModel));
    engine.submit(burst);
    for (const Completion& done : collect(engine, static_cast<std::size_t>(n))) {
      CHECK(is_right(done));
    }
  }
  ModelStats stats(GpuletId gpulet = 1) const {
    for (const ModelStats& each : engine.stats()) {
      if (each.gpulet == gpulet) return each;
    }
    throw std::runtime_error("no such gpulet");
  }
  std::set<std::uint64_t> contexts() const {
    std::set<std::uint64_t> ids;
    for (const CaptureRequest& request : torch.requests()) ids.insert(request.context_id);
    return ids;
  }

  FakeTorch torch;
  std::atomic<int> asked = 0;
  std::uint64_t own = 0;
  std::uint64_t theirs = 0;
  std::uint64_t tag = 1;
  Engine engine;  // last: its runners use the rest
};

}  // namespace

TEST_CASE("a graph for both shares is made beside, and replayed when it is there") {
  FakeDriver fake;
  {
    Device device(fake);
    device.run();
    CHECK(device.stats().borrowed == 0);
    CHECK(eventually([&] {
      device.run();
      return device.stats().borrowed > 0;
    }));
    // The one of its own share, and the one that was missed.
    CHECK(device.stats().runner.graphs == 2);
    CHECK(device.contexts().size() == 2);
    CHECK(device.engine.green_counts(0).in_use == 3);
    CHECK(device.engine.partition(1).context_id == device.own);
    CHECK(device.torch.requests().size() == 2);
    device.run(1, 2);
    CHECK(device.engine.partition(2).context_id == device.theirs);
    CHECK(device.stats(2).borrowed == 0);
  }
  CHECK(fake.clean());
}

TEST_CASE("each size is asked for alone, and both contexts serve in turns") {
  FakeDriver fake;
  {
    Device device(fake);
    for (const int n : {1, 2, 4}) {
      CHECK(eventually([&, before = device.stats().borrowed] {
        device.run(n);
        return device.stats().borrowed > before;
      }));
    }
    device.engine.set_loans(1, {});
    const auto before = device.stats().borrowed;
    for (const int n : {4, 1, 2}) device.run(n);
    CHECK(device.stats().borrowed == before);
    CHECK(eventually([&] { return device.engine.green_counts(0).in_use == 2; }));
    CHECK(device.engine.green_counts(0).idle == 1);
  }
  CHECK(fake.clean());
}

TEST_CASE("what cannot be captured for both shares is not asked for again") {
  FakeDriver fake;
  {
    Device device(fake, true);
    CHECK(eventually([&] {
      device.run();
      return device.asked == 2;
    }));
    for (int i = 0; i < 50; ++i) device.run();
    CHECK(device.asked == 2);
    CHECK(device.stats().borrowed == 0);
  }
  CHECK(fake.clean());
}

TEST_CASE("a context for both shares that cannot be made costs no batch") {
  FakeDriver fake;
  {
    Device device(fake);
    fake.fail("cuGreenCtxCreate", 1, cuda::kOutOfMemory);
    for (int i = 0; i < 50; ++i) device.run();
    CHECK(device.engine.green_counts(0).created == 2);
    CHECK(device.stats().borrowed == 0);
    CHECK(device.stats().failed == 0);
  }
  CHECK(fake.clean());
}

TEST_CASE("only units that touch are lent, and a resize ends it") {
  FakeDriver fake;
  {
    Device device(fake);
    device.engine.add_gpulet(3, green({12, 3}));
    CHECK_THROWS_WITH_AS(device.engine.set_loans(1, {{3}}),
                         "[Engine.set_loans] units 0..6 and units 12..14 do not touch; only "
                         "neighbours lend",
                         ArgumentError);
    CHECK(eventually([&] {
      device.run();
      return device.stats().borrowed > 0;
    }));
    device.engine.resize(2, green({8, 3}));
    const auto before = device.stats().borrowed;
    for (int i = 0; i < 20; ++i) device.run();
    CHECK(device.stats().borrowed == before);
    CHECK_THROWS_AS(device.engine.set_loans(1, {{2}}), ArgumentError);
  }
  CHECK(fake.clean());
}

TEST_CASE("models and gpulets go while graphs are made for both shares") {
  FakeDriver fake;
  for (int round = 0; round < 20; ++round) {
    Device device(fake);
    device.run();
    device.run(4);
    if (round % 3 == 0) device.engine.unload(1, kModel, Nanos(0));
    if (round % 3 == 1) device.engine.remove_gpulet(2, Nanos(0));
    if (round % 3 == 2) device.engine.remove_gpulet(1, Nanos(0));
  }
  CHECK(fake.clean());
}
