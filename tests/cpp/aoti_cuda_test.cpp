#include <dlfcn.h>
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "exec_parts.h"
#include "fake_driver.h"
#include "glet/error.h"
#include "glet/exec/aoti_cuda_runner.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

PartitionSpec green(const Placement& placement) {
  return {.kind = PartitionSpec::Kind::kGreen, .cores = {}, .device = 0, .placement = placement};
}

std::shared_ptr<AotiModel> model(int cuda_device) {
  return std::make_shared<AotiModel>(load_torch(GLET_FAKE_TORCH), GLET_FAKE_TORCH, floats(2), 1,
                                     cuda_device);
}

template <typename Function>
Function* fake_torch(const char* name) {
  static void* const library = ::dlopen(GLET_FAKE_TORCH, RTLD_NOW);
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

int alive() {
  return fake_torch<int()>("fake_torch_alive")();
}

}  // namespace

TEST_CASE("a model compiled for a GPU runs on the stream of its gpulet, also after a resize") {
  FakeDriver fake;
  fake.open();
  {
    Engine engine;
    engine.add_gpulet(1, green({0, 7}));
    engine.load(1, 5, std::make_unique<AotiCudaRunner>(engine.green_device(1), model(0), 8),
                plan(8));
    for (const Placement& placement : {Placement{0, 7}, Placement{3, 2}}) {
      engine.resize(1, green(placement));
      std::vector<Submission> burst;
      for (std::uint64_t tag = 0; tag < 20; ++tag) {
        burst.push_back(request(tag, 1, 5, static_cast<float>(tag)));
      }
      engine.submit(burst);
      const auto done = collect(engine, 20);
      REQUIRE(done.size() == 20);
      for (const auto& each : done) {
        REQUIRE(each.outcome == Outcome::kOk);
        CHECK(first_float(each) == 2 * static_cast<float>(each.tag));
      }
    }
    const auto stats = engine.stats().at(0);
    CHECK(stats.runner.kind == "aoti");
    CHECK(fake_torch<const char*()>("fake_torch_kernels")() ==
          std::filesystem::path(GLET_FAKE_TORCH).parent_path().string());
    CHECK(stats.runner.device_busy > Nanos(0));
    CHECK(stats.runner.pinned_bytes > 0);
    CHECK(fake.count("cuMemcpyHtoDAsync") == static_cast<int>(stats.batches));
  }
  CHECK(alive() == 0);
  CHECK(fake.clean());
}

TEST_CASE("what fails costs its batch, and nothing is left behind") {
  FakeDriver fake;
  fake.open();
  {
    Engine engine;
    engine.add_gpulet(1, green({0, 7}));
    engine.load(1, 5, std::make_unique<AotiCudaRunner>(engine.green_device(1), model(0), 4),
                plan(4));
    const auto why = [&] {
      submit_one(engine, request(1, 1, 5, 3));
      const auto done = collect(engine, 1);
      return done.at(0).error == nullptr ? std::string() : *done.at(0).error;
    };
    fake_torch<void(int)>("fake_torch_fail")(1);
    CHECK(why() == "[AotiModel] " GLET_FAKE_TORCH " failed: it gave no reason; see standard error");
    fake_torch<void(int)>("fake_torch_fail")(2);
    CHECK(why() == "[AotiCudaRunner] output 'y' of a batch of 1 is not on the GPU");
    for (const char* call : {"cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuEventRecord"}) {
      fake.fail(call, 1, cuda::kOutOfMemory);
      CHECK(why() ==
            std::string("[CudaDriver] ") + call + ": CUDA_ERROR_OUT_OF_MEMORY (2): out of memory");
    }
    CHECK(why().empty());
    fake.fail("cuMemAlloc", 1, cuda::kOutOfMemory);
    CHECK_THROWS_AS(AotiCudaRunner(engine.green_device(1), model(0), 4), DeviceError);
    CHECK_THROWS_AS(model(AotiModel::kCpu), ModelError);
  }
  CHECK(alive() == 0);
  CHECK(fake.clean());
}
