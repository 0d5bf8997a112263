#pragma once

#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "exec_parts.h"
#include "fake_driver.h"
#include "glet/error.h"
#include "glet/exec/graph_runner.h"

// A model for graph runners on the fake driver: two inputs of two floats, y = a + 2 b, z = sum(b).
namespace glet::exec::testing {

inline PartitionSpec green(const Placement& placement) {
  return {.kind = PartitionSpec::Kind::kGreen, .cores = {}, .device = 0, .placement = placement};
}

inline Signature two_and_two() {
  return {.inputs = {{"a", DType::kFloat32, {2}}, {"b", DType::kFloat32, {2}}},
          .outputs = {{"y", DType::kFloat32, {2}}, {"z", DType::kFloat32, {1}}}};
}

class TwoFloats : public Payload {
 public:
  explicit TwoFloats(float value) : a_{value, value + 1}, b_{10 * value, 20 * value} {}
  std::size_t inputs() const override { return 2; }
  std::span<const std::byte> input(std::size_t index) const override {
    return std::as_bytes(std::span(index == 0 ? a_ : b_));
  }

 private:
  std::vector<float> a_;
  std::vector<float> b_;
};

inline Submission two_request(std::uint64_t tag, GpuletId gpulet, ModelId model) {
  auto made = request(tag, gpulet, model);
  made.payload = std::make_unique<TwoFloats>(static_cast<float>(tag));
  return made;
}

inline std::vector<float> output(const Completion& done, std::size_t index) {
  const auto bytes = done.outputs->item(index, done.slot);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

inline bool is_right(const Completion& done) {
  const auto value = static_cast<float>(done.tag);
  return done.outcome == Outcome::kOk &&
         output(done, 0) == std::vector{value + 20 * value, value + 1 + 40 * value} &&
         output(done, 1) == std::vector{30 * value};
}

// What stands for torch: makes graphs on the fake driver, and knows which are alive.
class FakeTorch {
 public:
  enum class Lay { kBlock, kApart };

  explicit FakeTorch(const FakeDriver& fake, Lay lay = Lay::kBlock) : fake_(fake), lay_(lay) {}

  GraphRunner::Capture capture() {
    return [this](const CaptureRequest& request) { return make(request, true); };
  }
  GraphRunner::Capture eager() {
    return [this](const CaptureRequest& request) { return make(request, false); };
  }

  std::vector<CaptureRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  // Of one capture: its memory and graph, freed with its last owner.
  struct Work {
    const FakeDriver& fake;
    int batch;
    std::vector<unsigned long long> blocks;
    std::vector<cuda::DevicePointer> inputs;
    std::vector<cuda::DevicePointer> outputs;
    void* graph = nullptr;

    Work(const FakeDriver& driver, int size) : fake(driver), batch(size) {}
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
    ~Work() {
      if (graph != nullptr) fake.graph_free(graph);
      for (const auto block : blocks) fake.free(block);
    }
    unsigned long long block(std::size_t bytes) {
      const auto address = fake.alloc(bytes);
      if (address == 0) throw DeviceError("out of memory");
      blocks.push_back(address);
      return address;
    }
    std::vector<cuda::DevicePointer> tensors(const std::vector<TensorSpec>& specs, Lay lay) {
      const BlockLayout layout(specs, batch);
      std::vector<cuda::DevicePointer> at;
      const auto all = lay == Lay::kBlock ? block(layout.bytes) : 0;
      for (std::size_t i = 0; i < specs.size(); ++i) {
        at.push_back(lay == Lay::kBlock
                         ? all + layout.offsets[i]
                         : block(specs[i].bytes() * static_cast<std::size_t>(batch)));
      }
      return at;
    }
    void compute() const {
      const auto* a = reinterpret_cast<const float*>(inputs[0]);
      const auto* b = reinterpret_cast<const float*>(inputs[1]);
      auto* y = reinterpret_cast<float*>(outputs[0]);
      auto* z = reinterpret_cast<float*>(outputs[1]);
      for (int i = 0; i < 2 * batch; ++i) y[i] = a[i] + 2 * b[i];
      for (int i = 0; i < batch; ++i) z[i] = b[2 * i] + b[2 * i + 1];
    }
    static int run(void* work) {
      static_cast<const Work*>(work)->compute();
      return 0;
    }
  };

  Captured make(const CaptureRequest& request, bool as_graph) {
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const auto work = std::make_shared<Work>(fake_, request.batch);
    work->inputs = work->tensors(two_and_two().inputs, lay_);
    work->outputs = work->tensors(two_and_two().outputs, lay_);
    Captured captured;
    captured.inputs = work->inputs;
    captured.one_block = lay_ == Lay::kBlock;
    captured.bytes = static_cast<std::size_t>(request.batch) * 1000;
    if (as_graph) {
      work->graph = fake_.graph(request.stream, Work::run, work.get());
      captured.graph = static_cast<cuda::GraphExec>(work->graph);
      captured.outputs = work->outputs;
    } else {
      captured.reason = "it cannot be captured";
      captured.call = [raw = work.get(), stream = request.stream](int) {
        raw->fake.enqueue(stream, Work::run, raw);
        return raw->outputs;
      };
    }
    captured.owner = work;
    return captured;
  }

  const FakeDriver& fake_;
  Lay lay_;
  mutable std::mutex mutex_;
  std::vector<CaptureRequest> requests_;
};

}  // namespace glet::exec::testing
