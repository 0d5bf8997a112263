#include "glet/exec/device_tensor.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "glet/exec/memory_export.h"
#include "graph_parts.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

// Two floats of a client in device memory, among others of one allocation.
class There {
 public:
  There(const FakeDriver& fake, float value) : fake_(fake), address_(fake.alloc(64)) {
    auto* const floats = reinterpret_cast<float*>(address_);
    floats[4] = value;
    floats[5] = value + 1;
  }
  There(const There&) = delete;
  There& operator=(const There&) = delete;
  ~There() { fake_.free(address_); }
  DeviceTensor tensor() const { return export_memory(address_ + 16, 8, std::nullopt); }
  float at(std::size_t index) const { return reinterpret_cast<const float*>(address_)[index]; }

 private:
  const FakeDriver& fake_;
  unsigned long long address_;
};

// TwoFloats, with input a and output y on the device.
class OnDevice : public TwoFloats {
 public:
  OnDevice(float value, const DeviceTensor& from, std::optional<DeviceTensor> to)
      : TwoFloats(value), from_(from), to_(to) {}
  std::span<const std::byte> input(std::size_t index) const override {
    if (index == 0) return {};
    return TwoFloats::input(index);
  }
  bool on_device() const override { return true; }
  const DeviceTensor* device_input(std::size_t index) const override {
    return index == 0 ? &from_ : nullptr;
  }
  const DeviceTensor* device_output(std::size_t index) const override {
    return index == 0 && to_ ? &*to_ : nullptr;
  }

 private:
  DeviceTensor from_;
  std::optional<DeviceTensor> to_;
};

Submission there(std::uint64_t tag, const DeviceTensor& from,
                 std::optional<DeviceTensor> to = std::nullopt) {
  auto made = request(tag, 1, 5);
  made.payload = std::make_unique<OnDevice>(static_cast<float>(tag), from, to);
  return made;
}

void add_model(Engine& engine, FakeTorch& torch) {
  engine.add_gpulet(1, green({0, 7}));
  engine.load(1, 5,
              std::make_unique<GraphRunner>(engine.green_device(1), torch.capture(), two_and_two(),
                                            8, GraphOptions{}),
              plan(8, 4096));
}

std::map<std::uint64_t, Completion> answers(Engine& engine, std::vector<Submission> burst) {
  const std::size_t count = burst.size();
  engine.submit(burst);
  std::map<std::uint64_t, Completion> by_tag;
  for (Completion& done : collect(engine, count)) by_tag[done.tag] = std::move(done);
  return by_tag;
}

}  // namespace

TEST_CASE("a frame says what was said, and nothing else is one") {
  DeviceTensor tensor;
  tensor.handle.bytes[63] = 7;
  tensor.offset = 16;
  tensor.bytes = 1024;
  tensor.host = this_host();
  const std::string frame = device_frame(tensor);
  REQUIRE(frame.size() == DeviceTensor::kFrameBytes);
  const auto bytes = std::as_bytes(std::span(frame));
  const auto read = read_device_frame(bytes);
  REQUIRE(read);
  CHECK(read->handle == tensor.handle);
  CHECK(read->offset == 16);
  CHECK(read->bytes == 1024);
  CHECK(read->host == this_host());
  CHECK_FALSE(read_device_frame(bytes.first(bytes.size() - 1)));
  std::string other = frame;
  other[0] = 'X';
  CHECK_FALSE(read_device_frame(std::as_bytes(std::span(other))));
}

TEST_CASE("a batch takes inputs from device memory and from the host, and writes outputs there") {
  FakeDriver fake;
  fake.set("ipc", 2).open();
  FakeTorch torch(fake);
  {
    Engine engine;
    add_model(engine, torch);
    const There two(fake, 2), four(fake, 4), out(fake, 0);
    for (int round = 0; round < 3; ++round) {
      std::vector<Submission> burst;
      burst.push_back(two_request(1, 1, 5));
      burst.push_back(there(2, two.tensor()));
      burst.push_back(two_request(3, 1, 5));
      burst.push_back(there(4, four.tensor(), out.tensor()));
      const auto done = answers(engine, std::move(burst));
      REQUIRE(done.size() == 4);
      for (const auto& [tag, each] : done) CHECK(is_right(each));
      CHECK(out.at(4) == 4 + 2 * 40.0f);
      CHECK(out.at(5) == 5 + 2 * 80.0f);
      CHECK(out.at(6) == two.at(6));
    }
    CHECK(fake.count("cuIpcOpenMemHandle") == 3);  // once per allocation
    engine.close_idle_imports();
    CHECK(fake.count("cuIpcCloseMemHandle") == 0);  // all were used just now
  }
  CHECK(fake.count("cuIpcCloseMemHandle") == 3);
  CHECK(fake.clean());
}

TEST_CASE("memory that cannot be had fails its request and no other") {
  FakeDriver fake;
  fake.set("ipc", 2).open();
  FakeTorch torch(fake);
  {
    Engine engine;
    add_model(engine, torch);
    const There good(fake, 2);
    DeviceTensor elsewhere = good.tensor();
    elsewhere.host[0] ^= 1;
    DeviceTensor unknown = good.tensor();
    unknown.handle = {};
    DeviceTensor beyond = good.tensor();
    beyond.offset = 60;
    DeviceTensor short_one = good.tensor();
    short_one.bytes = 4;
    std::vector<Submission> burst;
    burst.push_back(there(1, elsewhere));
    burst.push_back(there(2, good.tensor()));
    burst.push_back(there(3, unknown));
    burst.push_back(there(4, beyond));
    burst.push_back(there(5, short_one));
    const auto done = answers(engine, std::move(burst));
    CHECK(is_right(done.at(2)));
    const auto says = [&done](std::uint64_t tag, const char* text) {
      const Completion& each = done.at(tag);
      return each.outcome == Outcome::kInvalid && each.error &&
             each.error->find(text) != std::string::npos;
    };
    CHECK(says(1, "'a' is device memory of another host; send a host array"));
    CHECK(says(3, "cannot be opened on device 0"));
    CHECK(says(4, "allocation of 64 bytes; 8 from 60 on are not all in it"));
    CHECK(says(5, "input 'a' is 4 bytes of device memory; it takes 8"));
  }
  CHECK(fake.clean());
}

TEST_CASE("a runner on host memory refuses device memory") {
  FakeDriver fake;
  fake.set("ipc", 2).open();
  Engine engine;
  engine.add_gpulet(1, {.kind = PartitionSpec::Kind::kCpu, .cores = usable_cores()});
  engine.load(1, 5, std::make_unique<NullRunner>(two_and_two(), 8), plan(8, 4096));
  DeviceTensor tensor;
  tensor.bytes = 8;
  std::vector<Submission> burst;
  burst.push_back(there(1, tensor));
  const auto done = answers(engine, std::move(burst));
  REQUIRE(done.at(1).outcome == Outcome::kInvalid);
  CHECK(done.at(1).error->find("send host arrays") != std::string::npos);
}

TEST_CASE("memory that others cannot open says what to do") {
  FakeDriver fake;
  fake.open();
  const There pool(fake, 1);  // without `ipc`
  CHECK_THROWS_WITH_AS(pool.tensor(), doctest::Contains("has to come from cudaMalloc"),
                       ArgumentError);
  CHECK_THROWS_WITH_AS(export_memory(4096, 8, std::nullopt), doctest::Contains("not in memory of"),
                       ArgumentError);
}

TEST_CASE("what nobody has used for a while is closed, and the oldest beyond the limit") {
  FakeDriver fake;
  const auto driver = fake.set("ipc", 2).open();
  {
    MemoryImports imports(std::make_shared<const PrimaryContext>(driver, 0));
    std::vector<std::unique_ptr<There>> all;
    for (std::size_t i = 0; i <= MemoryImports::kMost; ++i) {
      all.push_back(std::make_unique<There>(fake, 0.0f));
      imports.open(all.back()->tensor().handle, Nanos(static_cast<std::int64_t>(i)));
    }
    CHECK(imports.size() == MemoryImports::kMost);
    CHECK(fake.count("cuIpcCloseMemHandle") == 1);
    const auto held = imports.open(all[1]->tensor().handle, MemoryImports::kIdle);
    imports.close_idle(MemoryImports::kIdle + Nanos(1000));
    CHECK(imports.size() == 1);
    imports.close_idle(3 * MemoryImports::kIdle);
    CHECK(imports.size() == 0);
    CHECK(fake.count("cuIpcCloseMemHandle") == static_cast<int>(MemoryImports::kMost));
    CHECK(held->bytes() == 64);  // who uses it keeps it
  }
  CHECK(fake.count("cuIpcCloseMemHandle") == static_cast<int>(MemoryImports::kMost) + 1);
  CHECK(fake.clean());
}
