#include "glet/exec/partition/green_context.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fake_driver.h"
#include "glet/error.h"

using namespace glet;
using namespace glet::exec;

namespace {

struct Device {
  explicit Device(const FakeDriver& fake)
      : driver(fake.open()),
        split(*driver, 0),
        primary(std::make_shared<const PrimaryContext>(driver, 0)) {}

  GreenContext green(const Placement& placement, const GreenOptions& options = {}) const {
    return {primary, split, placement, options};
  }

  std::shared_ptr<const CudaDriver> driver;
  SmSplit split;
  std::shared_ptr<const PrimaryContext> primary;
};

std::vector<int> range(int first, int count) {
  std::vector<int> ids(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) ids[static_cast<std::size_t>(i)] = first + i;
  return ids;
}

}  // namespace

TEST_CASE("a device is split once, into units of the size that it asks for") {
  struct Case {
    int sms, unit, align, rest, units, remainder;
  };
  for (const auto& c :
       {Case{132, 8, 8, 12, 15, 12}, Case{132, 8, 8, 4, 16, 4}, Case{108, 4, 2, 0, 27, 0},
        Case{80, 2, 2, 0, 40, 0}, Case{142, 4, 2, 22, 30, 22}}) {
    FakeDriver fake;
    fake.set("sms", c.sms).set("unit", c.unit).set("align", c.align).set("rest", c.rest);
    const SmSplit split(*fake.open(), 0);
    CHECK(split.grid().units == c.units);
    CHECK(split.grid().unit_sms == c.unit);
    CHECK(split.grid().remainder_sms == c.remainder);
    CHECK(split.grid().total_sms() == c.sms);
    CHECK(fake.count("splits") == 1);
    CHECK(fake.clean());
  }
}

TEST_CASE("a driver that does not tell sizes gets those of its architecture") {
  const std::map<int, int> unit_of{{70, 2}, {80, 4}, {89, 4}, {90, 8}, {100, 8}};
  for (const auto& [capability, unit] : unit_of) {
    FakeDriver fake;
    fake.set("driver", 12060).set("capability", capability).set("unit", 2).set("align", 2);
    CHECK(SmSplit(*fake.open(), 0).grid().unit_sms == unit);
  }
}

TEST_CASE("a size that the device refuses is not the end") {
  FakeDriver fake;
  fake.set("refuse", 20);
  const SmSplit split(*fake.open(), 0);
  CHECK(split.grid().unit_sms == 24);
  CHECK(split.grid().units == 5);
  CHECK(split.grid().total_sms() == 132);

  fake.set("refuse", 1000);
  CHECK_THROWS_WITH_AS(SmSplit(*fake.open(), 0),
                       "[SmSplit] device 0 with 132 SMs splits into no units of 8 SMs or more; "
                       "green contexts do not work",
                       DeviceError);
}

TEST_CASE("a split that fails otherwise is an error, and unequal units are") {
  FakeDriver fake;
  const auto driver = fake.open();
  fake.fail("cuDevSmResourceSplitByCount", 1, cuda::kNotSupported);
  CHECK_THROWS_AS(SmSplit(*driver, 0), DeviceError);
  fake.fail("cuDevSmResourceSplitByCount", 2, cuda::kOutOfMemory);
  CHECK_THROWS_AS(SmSplit(*driver, 0), DeviceError);
  fake.set("uneven", 2);
  CHECK_THROWS_WITH_AS(SmSplit(*driver, 0),
                       "[SmSplit] device 0 was split into units of different sizes, 8 and 10 SMs; "
                       "glet needs equal ones",
                       DeviceError);
  fake.set("driver", 12020);
  CHECK_THROWS_AS(SmSplit(*fake.open(), 0), DeviceError);
}

TEST_CASE("a green context has the SMs of its units and its own streams") {
  FakeDriver fake;
  {
    const Device device(fake);
    const auto low = device.green({0, 7}, {.streams = 2, .priority = -2});
    const auto high = device.green({7, 8});
    CHECK(fake.sms(low.context()) == range(0, 56));
    CHECK(fake.sms(high.context()) == range(56, 64));
    CHECK(low.sms() == 56);
    CHECK(low.placement() == Placement{0, 7});
    CHECK(low.id() != high.id());
    CHECK(low.streams() == 2);
    CHECK(low.stream(0) != low.stream(1));
    CHECK(fake.priority(low.stream(1)) == -2);
    CHECK(fake.priority(high.stream()) == 0);
    CHECK(fake.count("contexts") == 2);
    CHECK(fake.count("streams") == 3);
    CHECK(fake.count("overlaps") == 0);
    CHECK(fake.count("splits") == 1);
    CHECK_THROWS_AS(low.stream(2), ArgumentError);
    CHECK_THROWS_AS(low.stream(-1), ArgumentError);
  }
  CHECK(fake.clean());
}

TEST_CASE("the whole device includes the rest") {
  FakeDriver fake;
  const Device device(fake);
  const auto all = device.green(whole(device.split.grid()));
  CHECK(fake.sms(all.context()) == range(0, 132));
  CHECK(all.sms() == 132);
}

TEST_CASE("units may be lent: a wider context overlaps its neighbours") {
  FakeDriver fake;
  const Device device(fake);
  const auto one = device.green({0, 4});
  const auto two = device.green({4, 4});
  CHECK(fake.count("overlaps") == 0);
  const auto wide = device.green({0, 8});
  CHECK(fake.count("overlaps") == 2);
}

TEST_CASE("groups of two splits do not go together, and one group not twice") {
  FakeDriver fake;
  const Device device(fake);
  const SmSplit other(*device.driver, 0);
  const auto refused = [&](std::vector<cuda::DevResource> parts) {
    cuda::ResourceDesc desc = nullptr;
    return device.driver->entry().generate_desc.function(&desc, parts.data(), 2) ==
           cuda::kInvalidResourceConfiguration;
  };
  const auto unit = [](const SmSplit& split, int at) { return split.parts({at, 1}).front(); };
  CHECK(refused({unit(device.split, 0), unit(other, 1)}));
  CHECK(refused({unit(device.split, 0), unit(device.split, 0)}));
  CHECK_FALSE(refused({unit(device.split, 0), unit(device.split, 1)}));

  // A unit cannot be split again.
  const auto part = unit(device.split, 0);
  unsigned groups = 0;
  CHECK(device.driver->entry().split_by_count.function(nullptr, &groups, &part, nullptr, 0, 2) ==
        cuda::kInvalidResourceConfiguration);
}

TEST_CASE("placements that are not on the grid are refused before the driver is asked") {
  FakeDriver fake;
  const Device device(fake);
  for (const auto& bad : {Placement{0, 0}, Placement{-1, 2}, Placement{14, 2}, Placement{0, 16},
                          Placement{0, 2, true}}) {
    CHECK_THROWS_AS(device.green(bad), ArgumentError);
  }
  CHECK_THROWS_WITH_AS(device.green({0, 1}, {.streams = 0}), "[GreenContext] 0 streams; at least 1",
                       ArgumentError);
  CHECK(fake.count("cuGreenCtxCreate") == 0);
}

TEST_CASE("more SMs than asked are reported, fewer are an error") {
  FakeDriver fake;
  {
    const Device device(fake);
    fake.set("give", 2);
    CHECK(device.green({0, 2}).sms() == 18);
    fake.set("give", -1);
    CHECK_THROWS_WITH_AS(device.green({3, 2}),
                         "[GreenContext] the driver gave 15 of 16 SMs for units 3..4", DeviceError);
  }
  CHECK(fake.clean());
}

TEST_CASE("whatever call fails, nothing is left behind") {
  const std::vector<std::pair<const char*, int>> calls{{"cuDeviceGet", 4},
                                                       {"cuDeviceGetAttribute", 1},
                                                       {"cuDeviceGetDevResource", 1},
                                                       {"cuDevSmResourceSplitByCount", 2},
                                                       {"cuDevicePrimaryCtxRetain", 1},
                                                       {"cuDevResourceGenerateDesc", 1},
                                                       {"cuGreenCtxCreate", 1},
                                                       {"cuCtxFromGreenCtx", 1},
                                                       {"cuCtxGetDevResource", 1},
                                                       {"cuGreenCtxStreamCreate", 3}};
  for (const auto& [call, times] : calls) {
    for (int nth = 1; nth <= times; ++nth) {
      CAPTURE(call);
      CAPTURE(nth);
      FakeDriver fake;
      const auto make = [&] { Device(fake).green({2, 3}, {.streams = 3}); };
      make();
      fake.fail(call, nth, cuda::kOutOfMemory);
      CHECK_THROWS_AS(make(), DeviceError);
      CHECK(fake.clean());
    }
  }
}

TEST_CASE("the end of a context survives a driver that fails") {
  for (const char* call : {"cuStreamSynchronize", "cuStreamDestroy", "cuGreenCtxDestroy",
                           "cuDevicePrimaryCtxRelease"}) {
    CAPTURE(call);
    FakeDriver fake;
    const bool only_waiting = std::string(call) == "cuStreamSynchronize";
    fake.fail(call, 1, cuda::kOutOfMemory);
    CHECK_NOTHROW(Device(fake).green({0, 1}, {.streams = 2}));
    CHECK(fake.count(call) >= 1);
    CHECK(fake.clean() == only_waiting);
    CHECK(fake.count("misuse") == 0);
  }
}

TEST_CASE("a context can be moved, and ends once") {
  FakeDriver fake;
  {
    const Device device(fake);
    auto first = device.green({0, 1});
    const auto stream = first.stream();
    const GreenContext second = std::move(first);
    CHECK(second.stream() == stream);
  }
  CHECK(fake.clean());
  CHECK(fake.count("cuGreenCtxDestroy") == 1);
}

TEST_CASE("events measure on a green stream, and only on their own context's") {
  FakeDriver fake;
  {
    const Device device(fake);
    const auto green = device.green({0, 2});
    CudaEvent start(device.driver, green.context());
    CudaEvent end(device.driver, green.context());
    CHECK_THROWS_AS(end.elapsed_ms(start), DeviceError);
    start.record(green.stream());
    end.record(green.stream());
    end.wait();
    CHECK(end.elapsed_ms(start) == 1.0F);
    CudaEvent foreign(device.driver, device.primary->context());
    CHECK_THROWS_AS(foreign.record(green.stream()), DeviceError);
  }
  CHECK(fake.clean());
}
