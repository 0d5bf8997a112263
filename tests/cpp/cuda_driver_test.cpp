#include "glet/exec/partition/cuda_driver.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "fake_driver.h"
#include "glet/error.h"
#include "glet/exec/partition/cuda_context.h"
#include "glet/exec/partition/cuda_probe.h"

using namespace glet;
using namespace glet::exec;

namespace {

std::string why_not_open(const std::string& library) {
  try {
    CudaDriver::open(library);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the driver opens and tells what it is") {
  FakeDriver fake;
  fake.set("devices", 2).set("sms", 114).set("capability", 90);
  const auto driver = fake.open();
  CHECK(driver->version() == "13.0");
  CHECK(driver->device_count() == 2);
  CHECK(driver->device_name(1) == "Fake GPU 1");
  CHECK(driver->device_attribute(0, cuda::kMultiprocessorCount) == 114);
  CHECK(driver->device_memory_bytes(0) == std::size_t{143771} << 20);
  CHECK(driver->why_no_green().empty());
  CHECK_NOTHROW(driver->require_green());
  CHECK(fake.count("primary") == 0);
}

TEST_CASE("without the library one line says what to do") {
  const std::string why = why_not_open("/nowhere/libcuda.so.1");
  CHECK(has(why, "[CudaDriver] /nowhere/libcuda.so.1: "));
  CHECK(has(why, "install the NVIDIA driver"));
  CHECK_FALSE(has(why, "\n"));
}

TEST_CASE("a library that is too old for cuGetProcAddress is refused") {
  CHECK(why_not_open("libm.so.6") ==
        "[CudaDriver] libm.so.6 has no cuGetProcAddress_v2: it is older than CUDA 12.0; install "
        "driver 555 (CUDA 12.5) or later");
}

TEST_CASE("a function that is missing is named") {
  FakeDriver fake;
  fake.hide("cuMemGetInfo");
  CHECK(has(why_not_open(GLET_FAKE_CUDA), " has no cuMemGetInfo of CUDA 3.2; install"));
}

TEST_CASE("no device") {
  FakeDriver fake;
  fake.set("devices", 0);
  CHECK(why_not_open(GLET_FAKE_CUDA) ==
        "[CudaDriver] cuInit: CUDA_ERROR_NO_DEVICE (100): no CUDA-capable device is detected; see "
        "whether nvidia-smi lists a device and whether CUDA_VISIBLE_DEVICES hides it");
}

TEST_CASE("a start that fails says what helps, with an error that the driver cannot name too") {
  FakeDriver fake;
  fake.fail("cuInit", 1, cuda::kSystemDriverMismatch);
  CHECK(why_not_open(GLET_FAKE_CUDA) ==
        "[CudaDriver] cuInit: error (803); library and kernel module are of different drivers; "
        "reload the module or restart");
  fake.fail("cuDeviceGetCount", 1, cuda::kOutOfMemory);
  CHECK(has(why_not_open(GLET_FAKE_CUDA), "cuDeviceGetCount: CUDA_ERROR_OUT_OF_MEMORY (2)"));
}

TEST_CASE("a driver that is too old for green contexts opens and says so") {
  for (const int version : {12000, 12020, 12040}) {
    FakeDriver fake;
    fake.set("driver", version);
    const auto driver = fake.open();
    CHECK(driver->why_no_green() == "the driver speaks CUDA " + driver->version() +
                                        "; green contexts need CUDA 12.5: install driver 555 or "
                                        "later");
    CHECK_THROWS_AS(driver->require_green(), DeviceError);
    CHECK(driver->device_name(0) == "Fake GPU 0");
  }
  FakeDriver fake;
  fake.set("driver", 12050);
  CHECK(fake.open()->why_no_green().empty());
  fake.hide("cuGreenCtxCreate");
  CHECK(has(fake.open()->why_no_green(), "of CUDA 12.5 has no cuGreenCtxCreate"));
}

TEST_CASE("a call that fails names itself and the error") {
  FakeDriver fake;
  const auto driver = fake.open();
  fake.fail("cuDeviceTotalMem", 2, cuda::kOutOfMemory);
  CHECK_NOTHROW(driver->device_memory_bytes(0));
  CHECK_THROWS_WITH_AS(driver->device_memory_bytes(0),
                       "[CudaDriver] cuDeviceTotalMem: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory",
                       DeviceError);
  CHECK_NOTHROW(driver->device_memory_bytes(0));
  CHECK(driver->describe(4242) == "error (4242)");
}

TEST_CASE("a device that is not there is refused") {
  FakeDriver fake;
  const auto driver = fake.open();
  for (const int index : {-1, 1}) {
    CHECK_THROWS_WITH_AS(driver->device_name(index),
                         ("[CudaDriver] device " + std::to_string(index) +
                          " is not there; there are 1, counted from 0")
                             .c_str(),
                         DeviceError);
  }
}

TEST_CASE("the primary context is held while somebody needs it") {
  FakeDriver fake;
  {
    const PrimaryContext primary(fake.open(), 0);
    CHECK(fake.count("primary") == 1);
    const auto memory = device_memory(primary.driver(), primary.context());
    CHECK(memory.total_bytes == std::size_t{143771} << 20);
    CHECK(memory.free_bytes < memory.total_bytes);
  }
  CHECK(fake.clean());
  fake.fail("cuDevicePrimaryCtxRetain", 1, cuda::kOutOfMemory);
  CHECK_THROWS_AS(PrimaryContext(fake.open(), 0), DeviceError);
  CHECK(fake.clean());
}

TEST_CASE("a context is current only inside its scope, also when the work fails") {
  FakeDriver fake;
  const PrimaryContext primary(fake.open(), 0);
  {
    const CurrentContext current(primary.driver(), primary.context());
    CHECK(fake.count("current") == 1);
  }
  fake.fail("cuMemGetInfo", 1, cuda::kInvalidContext);
  CHECK_THROWS_AS(device_memory(primary.driver(), primary.context()), DeviceError);
  fake.fail("cuEventCreate", 1, cuda::kOutOfMemory);
  CHECK_THROWS_AS(CudaEvent(fake.open(), primary.context()), DeviceError);
  CHECK(fake.count("current") == 0);
  CHECK(fake.count("events") == 0);
}

TEST_CASE("the process has one driver, opened once by whoever comes first") {
  FakeDriver fake;
  std::vector<const CudaDriver*> seen(8, nullptr);
  std::vector<std::thread> threads;
  for (auto& slot : seen) {
    threads.emplace_back([&slot] {
      if (CudaDriver::available()) slot = CudaDriver::shared().get();
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(seen.front() != nullptr);
  CHECK(seen == std::vector<const CudaDriver*>(8, seen.front()));
  CHECK(fake.count("cuInit") == 1);
  CHECK(CudaDriver::why_unavailable().empty());
}

TEST_CASE("the probe tells of every device and makes no context") {
  FakeDriver fake;
  fake.set("devices", 2);
  const auto report = probe_cuda(*fake.open());
  CHECK(report.available);
  CHECK(report.why.empty());
  CHECK(report.driver == "13.0");
  REQUIRE(report.devices.size() == 2);
  const auto& device = report.devices[1];
  CHECK(device.name == "Fake GPU 1");
  CHECK(device.compute_capability == "9.0");
  CHECK(device.sms == 132);
  CHECK(device.memory_mb == 143771);
  CHECK(device.units == 15);
  CHECK(device.unit_sms == 8);
  CHECK(device.remainder_sms == 12);
  CHECK(fake.count("cuDevicePrimaryCtxRetain") == 0);
}

TEST_CASE("the probe tells what it can of a driver that is too old and of a device that fails") {
  FakeDriver fake;
  fake.set("driver", 12020);
  auto report = probe_cuda(*fake.open());
  CHECK_FALSE(report.available);
  CHECK(has(report.why, "green contexts need CUDA 12.5"));
  CHECK(report.devices.at(0).sms == 132);
  CHECK(report.devices.at(0).units == 0);

  fake.set("driver", 13000).set("devices", 2);
  const auto driver = fake.open();
  fake.fail("cuDeviceGetDevResource", 1, cuda::kNotSupported);
  report = probe_cuda(*driver);
  CHECK_FALSE(report.available);
  CHECK(report.why ==
        "device 0: [CudaDriver] cuDeviceGetDevResource: CUDA_ERROR_NOT_SUPPORTED (801): operation "
        "not supported");
  CHECK(report.devices.at(0).units == 0);
  CHECK(report.devices.at(1).units == 15);
}
