#pragma once

#include <poll.h>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "glet/exec/batch_buffer.h"
#include "glet/exec/engine.h"
#include "glet/exec/null_runner.h"

// Parts that the worker's and the engine's tests share.
namespace glet::exec::testing {

inline constexpr Nanos kFar = std::chrono::hours(1);

inline Signature floats(std::int64_t count) {
  return {.inputs = {{"x", DType::kFloat32, {count}}},
          .outputs = {{"y", DType::kFloat32, {count}}}};
}

inline batch::ModelPlan plan(int max_batch, int capacity = 1024, Nanos latency = Nanos(1000)) {
  std::vector<profile::LatencyTable::Point> points;
  for (int b = 1; b <= max_batch; ++b) points.push_back({b, latency * b});
  return {.latency = profile::LatencyTable(points),
          .limits = {.capacity = capacity, .max_batch = max_batch},
          .time_share = 1.0};
}

class Floats : public Payload {
 public:
  explicit Floats(std::vector<float> values, bool owned = false)
      : values_(std::move(values)), owned_(owned) {}
  std::size_t inputs() const override { return 1; }
  std::span<const std::byte> input(std::size_t) const override {
    return std::as_bytes(std::span(values_));
  }
  bool release_on_owner() const override { return owned_; }

 private:
  std::vector<float> values_;
  bool owned_;
};

inline Submission request(std::uint64_t tag, GpuletId gpulet, ModelId model, float value = 0,
                          Nanos due_in = kFar) {
  const Nanos at = now();
  return {tag, gpulet,      model,
          at,  at + due_in, std::make_unique<Floats>(std::vector<float>{value, value + 1})};
}

// A runner that does what a test tells it before it echoes.
class ScriptedRunner : public Runner {
 public:
  ScriptedRunner(int max_batch, std::function<void(int)> script)
      : echo_(floats(2), max_batch), script_(std::move(script)) {}
  std::string_view kind() const override { return "scripted"; }
  const Signature& signature() const override { return echo_.signature(); }
  int max_batch() const override { return echo_.max_batch(); }
  std::byte* input(std::size_t index) override { return echo_.input(index); }
  std::shared_ptr<const OutputBatch> run(int n) override {
    script_(n);
    return echo_.run(n);
  }

 private:
  NullRunner echo_;
  std::function<void(int)> script_;
};

inline std::vector<Completion> collect(Engine& engine, std::size_t count) {
  std::vector<Completion> out;
  while (out.size() < count) {
    pollfd fd{engine.completion_fd(), POLLIN, 0};
    ::poll(&fd, 1, 10'000);
    if (engine.drain(out) == 0 && fd.revents == 0) break;  // ten seconds of nothing: give up
  }
  return out;
}

// Whether it comes true, which may take long on a busy machine.
template <typename Condition>
bool eventually(Condition condition) {
  const Nanos until = now() + std::chrono::seconds(60);
  while (!condition()) {
    if (now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

inline void submit(Engine& engine, std::vector<Submission> burst) {
  engine.submit(burst);
}

inline void submit_one(Engine& engine, Submission one) {
  std::vector<Submission> burst;
  burst.push_back(std::move(one));
  engine.submit(burst);
}

inline float first_float(const Completion& done) {
  float value = 0;
  std::memcpy(&value, done.outputs->item(0, done.slot).data(), sizeof value);
  return value;
}

}  // namespace glet::exec::testing
