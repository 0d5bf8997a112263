#include "glet/exec/graph_runner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <thread>

#include "graph_parts.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

constexpr Placement kLeft{0, 7};
constexpr Placement kRight{7, 8};

void load_graph(Engine& engine, GpuletId gpulet, ModelId model, GraphRunner::Capture capture,
                int max_batch = 4, GraphOptions options = {}) {
  engine.load(gpulet, model,
              std::make_unique<GraphRunner>(engine.green_device(gpulet), std::move(capture),
                                            two_and_two(), max_batch, std::move(options)),
              plan(max_batch, 4096));
}

// `count` requests in one burst; whether each got its own right answer.
bool serves(Engine& engine, GpuletId gpulet, ModelId model, std::uint64_t count) {
  std::vector<Submission> burst;
  for (std::uint64_t tag = 1; tag <= count; ++tag) {
    burst.push_back(two_request(tag, gpulet, model));
  }
  engine.submit(burst);
  const auto done = collect(engine, count);
  return done.size() == count && std::all_of(done.begin(), done.end(), is_right);
}

}  // namespace

TEST_CASE("requests go through a graph to the device and back") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  {
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    load_graph(engine, 1, 5, torch.capture());
    CHECK(serves(engine, 1, 5, 25));
    const auto stats = engine.stats().at(0);
    CHECK(stats.ok == 25);
    CHECK(stats.runner.kind == "graph");
    CHECK(stats.runner.reason.empty());
    CHECK(stats.runner.graphs >= 1);
    CHECK(stats.runner.device_busy > Nanos(0));
    CHECK(stats.runner.pinned_bytes >= 2 * 512);
    const auto batches = static_cast<int>(stats.batches);
    CHECK(fake.count("cuGraphLaunch") == batches);
    CHECK(fake.count("cuMemcpyHtoDAsync") == batches);  // one for both inputs
    CHECK(fake.count("cuMemcpyDtoHAsync") == batches);
  }
  CHECK(fake.clean());
}

TEST_CASE("tensors that lie apart are copied one by one") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake, FakeTorch::Lay::kApart);
  {
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    load_graph(engine, 1, 5, torch.capture(), 300, {.batches = {300}, .limits = {}});
    CHECK(serves(engine, 1, 5, 300));
    const auto batches = static_cast<int>(engine.stats().at(0).batches);
    CHECK(fake.count("cuMemcpyHtoDAsync") == 2 * batches);
  }
  CHECK(fake.clean());
}

TEST_CASE("a batch runs in the smallest size that holds it") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  {
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    load_graph(engine, 1, 5, torch.capture(), 6);
    for (const int n : {1, 3, 4, 5, 6, 2, 1}) engine.measure(1, 5, n, 2);
    std::vector<int> sizes;
    for (const auto& each : torch.requests()) sizes.push_back(each.batch);
    CHECK(sizes == std::vector{1, 4, 6, 2});
    CHECK(engine.stats().at(0).runner.graph_bytes == 13'000);
    const auto report = engine.partition(1);
    CHECK(torch.requests()[0].context_id == report.context_id);
    CHECK(reinterpret_cast<std::uintptr_t>(torch.requests()[0].stream) == report.stream);
    load_graph(engine, 1, 6, torch.capture(), 6, {.batches = {3, 6}, .limits = {}});
    engine.measure(1, 6, 1, 1);
    CHECK(torch.requests().back().batch == 3);
    CHECK_THROWS_WITH_AS(
        load_graph(engine, 1, 7, torch.capture(), 6, {.batches = {3, 3, 6}, .limits = {}}),
        "[GraphRunner] batches 3, 3, 6; they have to increase from 1 or more to max_batch 6",
        ArgumentError);
    CHECK_THROWS_AS(load_graph(engine, 1, 7, torch.capture(), 6, {.batches = {3}, .limits = {}}),
                    ArgumentError);
    CHECK_THROWS_AS(load_graph(engine, 1, 7, torch.capture(), 0), ArgumentError);
  }
  CHECK(fake.clean());
}

TEST_CASE("a resize captures anew on the new units, and finds the graphs when it comes back") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  {
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    load_graph(engine, 1, 5, torch.capture(), 1);
    CHECK(serves(engine, 1, 5, 1));
    engine.resize(1, green({0, 3}));
    CHECK(serves(engine, 1, 5, 1));
    engine.resize(1, green(kLeft));
    CHECK(serves(engine, 1, 5, 1));
    CHECK(torch.requests().size() == 2);
    CHECK(torch.requests()[0].context_id != torch.requests()[1].context_id);
    CHECK(engine.stats().at(0).runner.graphs == 2);
    CHECK(fake.count("misuse") == 0);  // as a launch on other units than those of the capture
  }
  CHECK(fake.clean());
}

TEST_CASE("graphs go before the context that they were captured on") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  {
    Engine engine;
    engine.add_gpulet(1, green({0, 1}));
    load_graph(engine, 1, 5, torch.capture(), 1);
    // More placements than the pool keeps idle: the first contexts go while the gpulet lives.
    std::set<Placement> seen;
    for (int first = 0; first < 15; ++first) {
      for (int count = 1; first + count <= 15 && count <= 4; ++count) {
        engine.resize(1, green({first, count}));
        engine.measure(1, 5, 1, 1);
        seen.insert({first, count});
      }
    }
    const auto counts = engine.green_counts(0);
    CHECK(seen.size() > 33);
    CHECK(counts.destroyed == seen.size() - 33);
    CHECK(engine.stats().at(0).runner.graphs == 33);
    CHECK(fake.count("graphs") == 33);
    CHECK(fake.count("leaked") == 0);
  }
  CHECK(fake.clean());
}

TEST_CASE("the least recently used captures go, by count and by bytes") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  {
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    load_graph(engine, 1, 5, torch.capture(), 8, {.batches = {}, .limits = {.max_graphs = 2}});
    for (const int n : {1, 2, 1, 4, 1}) engine.measure(1, 5, n, 1);
    CHECK(torch.requests().size() == 3);  // 2 has gone, 1 not
    CHECK(fake.count("graphs") == 2);
    engine.measure(1, 5, 2, 1);
    CHECK(torch.requests().size() == 4);
    load_graph(engine, 1, 6, torch.capture(), 8, {.batches = {}, .limits = {.max_bytes = 5000}});
    for (const int n : {1, 4, 2}) engine.measure(1, 6, n, 1);
    CHECK(engine.stats().size() == 2);
    for (const auto& each : engine.stats()) {
      if (each.model == 6) CHECK(each.runner.graph_bytes == 2000);
    }
    engine.measure(1, 6, 8, 1);  // beyond the limit alone, but needed
    CHECK(fake.count("graphs") == 2 + 1);
  }
  CHECK(fake.clean());
}

TEST_CASE("what cannot be captured is called, and the report says why") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  {
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    load_graph(engine, 1, 5, torch.eager());
    CHECK(serves(engine, 1, 5, 9));
    const auto stats = engine.stats().at(0);
    CHECK(stats.runner.kind == "eager");
    CHECK(stats.runner.reason == "it cannot be captured");
    CHECK(fake.count("cuGraphLaunch") == 0);
  }
  CHECK(fake.clean());
}

TEST_CASE("outputs live on while their pinned memory is lent") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  {
    std::vector<Completion> done;
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    load_graph(engine, 1, 5, torch.capture());
    for (std::uint64_t tag = 1; tag <= 20; ++tag) {
      submit_one(engine, two_request(tag, 1, 5));
      done.push_back(std::move(collect(engine, 1).at(0)));
    }
    CHECK(std::all_of(done.begin(), done.end(), is_right));
    CHECK(fake.count("pinned") == 21);
    done.clear();
    CHECK(fake.count("pinned") == 1 + PinnedPool::kIdleLimit);
    CHECK(serves(engine, 1, 5, 20));
    CHECK(fake.count("cuMemHostAlloc") == 21);  // none was made for these
    submit_one(engine, two_request(7, 1, 5));
    done = collect(engine, 1);
    engine.remove_gpulet(1, Nanos(0));
    CHECK(is_right(done.at(0)));
  }
  CHECK(fake.clean());
}

TEST_CASE("captures that make no sense are named") {
  FakeDriver fake;
  fake.open();
  {
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    Captured answer;
    load_graph(engine, 1, 5, [&](const CaptureRequest&) { return answer; }, 1);
    const auto why = [&] {
      submit_one(engine, two_request(1, 1, 5));
      const auto done = collect(engine, 1);
      return done.at(0).error == nullptr ? "" : *done.at(0).error;
    };
    const std::string prefix = "[GraphRunner] the capture of batch 1 gave ";
    CHECK(why() == prefix + "neither a graph nor a call; one of them is needed");
    answer.call = [](int) { return std::vector<cuda::DevicePointer>{1}; };
    CHECK(why() == prefix + "0 input addresses; the model has 2");
    answer.graph = reinterpret_cast<cuda::GraphExec>(&answer);
    CHECK(why() == prefix + "a graph and a call; one of them is needed");
    answer.call = nullptr;
    answer.inputs = {1, 2};
    CHECK(why() == prefix + "0 output addresses; the model has 2");
    CHECK_THROWS_WITH_AS(engine.green_device(2),
                         "[Engine.green_device] no gpulet 2 here; there are 1", ArgumentError);
    engine.add_gpulet(2, {.kind = PartitionSpec::Kind::kProfiled, .cores = {}});
    CHECK_THROWS_WITH_AS(
        engine.green_device(2),
        "[Engine.green_device] gpulet 2 is of kind profiled; a green one is needed", ArgumentError);
  }
  CHECK(fake.clean());
}

TEST_CASE("a call that fails costs its batch and says what failed; a lost device says so") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  {
    Engine engine;
    engine.add_gpulet(1, green(kLeft));
    load_graph(engine, 1, 5, torch.capture(), 1);
    engine.load(1, 6, std::make_unique<NullRunner>(two_and_two(), 1), plan(1));
    const char* calls[] = {"cuMemHostAlloc", "cuCtxPushCurrent",   "cuEventCreate",
                           "cuEventRecord",  "cuMemcpyHtoDAsync",  "cuGraphLaunch",
                           "cuEventQuery",   "cuEventElapsedTime", "cuMemcpyDtoHAsync"};
    int units = 0;
    for (const char* call : calls) {
      // New units and a new runner, so that everything is made once more.
      engine.resize(1, green({0, ++units}));
      engine.unload(1, 5, Nanos(0));
      load_graph(engine, 1, 5, torch.capture(), 1);
      fake.fail(call, 1, cuda::kOutOfMemory);
      submit_one(engine, two_request(1, 1, 5));
      const auto failed = collect(engine, 1);
      REQUIRE(failed.at(0).outcome == Outcome::kFailed);
      CHECK(*failed[0].error ==
            std::string("[CudaDriver] ") + call + ": CUDA_ERROR_OUT_OF_MEMORY (2): out of memory");
      submit_one(engine, two_request(2, 1, 6));
      CHECK(collect(engine, 1).at(0).outcome == Outcome::kOk);
      CHECK(serves(engine, 1, 5, 3));
    }
    fake.fail("cuEventQuery", 1, cuda::kLaunchFailed);
    submit_one(engine, two_request(1, 1, 5));
    CHECK(*collect(engine, 1).at(0).error ==
          "[CudaDriver] cuEventQuery: CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure; "
          "the device is lost for this process: start its executor anew");
  }
  CHECK(fake.clean());
}

TEST_CASE("every call fails once somewhere in a gpulet's life, and nothing is left behind") {
  const char* calls[] = {"cuDevicePrimaryCtxRetain",
                         "cuDeviceGetDevResource",
                         "cuDevSmResourceSplitByCount",
                         "cuDevResourceGenerateDesc",
                         "cuGreenCtxCreate",
                         "cuCtxFromGreenCtx",
                         "cuCtxGetDevResource",
                         "cuGreenCtxStreamCreate",
                         "cuCtxPushCurrent",
                         "cuMemHostAlloc",
                         "cuEventCreate",
                         "cuEventRecord",
                         "cuMemcpyHtoDAsync",
                         "cuGraphLaunch",
                         "cuMemcpyDtoHAsync",
                         "cuEventQuery",
                         "cuEventElapsedTime"};
  for (const char* call : calls) {
    for (int nth = 1; nth <= 4; ++nth) {
      CAPTURE(call);
      CAPTURE(nth);
      FakeDriver fake;
      fake.open();
      FakeTorch torch(fake);
      fake.fail(call, nth, cuda::kOutOfMemory);
      {
        Engine engine;
        const auto again = [](auto action) {  // as its owner would after an error
          try {
            action();
          } catch (const DeviceError&) {
            action();
          }
        };
        again([&] { engine.add_gpulet(1, green(kLeft)); });
        again([&] { load_graph(engine, 1, 5, torch.capture(), 1); });
        again([&] { engine.measure(1, 5, 1, 1); });
        again([&] { engine.resize(1, green(kRight)); });
        again([&] { engine.measure(1, 5, 1, 1); });
        fake.fail(call, 0, 0);
        CHECK(serves(engine, 1, 5, 4));
      }
      CHECK(fake.clean());
    }
  }
}

TEST_CASE("neighbours replay their own graphs while both are resized") {
  FakeDriver fake;
  fake.open();
  FakeTorch torch(fake);
  constexpr std::uint64_t kRequests = 400;
  {
    Engine engine;
    for (GpuletId gpulet : {0, 1}) {
      engine.add_gpulet(gpulet, green({static_cast<int>(gpulet) * 7, 7}));
      for (ModelId model : {5, 6}) load_graph(engine, gpulet, model, torch.capture());
    }
    std::vector<std::thread> resizing;
    for (GpuletId gpulet : {0, 1}) {
      resizing.emplace_back([&engine, gpulet] {
        for (int i = 0; i < 40; ++i) {
          engine.resize(gpulet, green({static_cast<int>(gpulet) * 7 + i % 3, 1 + i % 5}));
          engine.stats();
        }
      });
    }
    for (std::uint64_t tag = 0; tag < kRequests; ++tag) {
      submit_one(engine, two_request(tag, static_cast<GpuletId>(tag % 2),
                                     static_cast<ModelId>(5 + tag / 2 % 2)));
    }
    const auto done = collect(engine, kRequests);
    for (auto& thread : resizing) thread.join();
    CHECK(done.size() == kRequests);
    CHECK(std::all_of(done.begin(), done.end(), is_right));
    CHECK(fake.count("misuse") == 0);
  }
  CHECK(fake.clean());
}
