// What serving costs when the model costs nothing: one process, one gpulet, a null model with 16
// floats in and out. Prints one JSON line per result:
//
//   latency     one request at a time: submit, wait on the completion descriptor, drain; once by a
//               caller that waits at once, once by one that looks on for up to 50 us first
//   throughput  bursts of 32, several in flight, batches of at most 32

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "glet/exec/engine.h"
#include "glet/exec/null_runner.h"

namespace {

using glet::Nanos;
using namespace glet::exec;

constexpr int kBatch = 32;

class Floats : public Payload {
 public:
  std::size_t inputs() const override { return 1; }
  std::span<const std::byte> input(std::size_t) const override {
    return std::as_bytes(std::span(values_));
  }

 private:
  std::array<float, 16> values_{};
};

Submission request(std::uint64_t tag) {
  const Nanos at = now();
  return {tag, 0, 0, at, at + std::chrono::seconds(10), std::make_unique<Floats>()};
}

void load_null(Engine& engine) {
  const Signature signature{.inputs = {{"x", DType::kFloat32, {16}}},
                            .outputs = {{"y", DType::kFloat32, {16}}}};
  engine.add_gpulet(0, {.kind = PartitionSpec::Kind::kProfiled, .cores = {}});
  engine.load(0, 0, std::make_unique<NullRunner>(signature, kBatch),
              {.latency = glet::profile::LatencyTable({{1, Nanos(2000)}, {kBatch, Nanos(10000)}}),
               .limits = {.capacity = 65536, .max_batch = kBatch}});
}

void wait(Engine& engine) {
  pollfd fd{engine.completion_fd(), POLLIN, 0};
  ::poll(&fd, 1, 1000);
}

void check_ok(const std::vector<Completion>& done) {
  for (const Completion& each : done) {
    if (each.outcome == Outcome::kOk) continue;
    std::fprintf(stderr, "a request was not answered ok: outcome %d\n",
                 static_cast<int>(each.outcome));
    std::exit(1);
  }
}

// A caller that looks on for a moment before it waits does not pay for waking up its core.
void latency(int requests, bool looks_on) {
  Engine engine;
  load_null(engine);
  std::vector<Nanos> took;
  std::vector<Submission> burst;
  std::vector<Completion> done;
  for (int i = 0; i < requests; ++i) {
    const Nanos start = now();
    burst.push_back(request(static_cast<std::uint64_t>(i)));
    engine.submit(burst);
    while (engine.drain(done) == 0) {
      if (looks_on && now() - start < std::chrono::microseconds(50)) {
        ::sched_yield();
      } else {
        wait(engine);
      }
    }
    took.push_back(now() - start);
    check_ok(done);
    done.clear();
  }
  std::sort(took.begin(), took.end());
  const auto at = [&](std::size_t pct) { return took[took.size() * pct / 100].count(); };
  std::printf(
      "{\"result\": \"latency\", \"caller\": \"%s\", \"requests\": %d, \"median_ns\": %lld, "
      "\"p99_ns\": %lld}\n",
      looks_on ? "looks on" : "waits", requests, static_cast<long long>(at(50)),
      static_cast<long long>(at(99)));
}

void throughput(int bursts, int in_flight) {
  Engine engine;
  load_null(engine);
  std::vector<Submission> burst;
  std::vector<Completion> done;
  const int total = bursts * kBatch;
  int sent = 0;
  int answered = 0;
  const Nanos start = now();
  while (answered < total) {
    while (sent < total && sent - answered < in_flight * kBatch) {
      for (int i = 0; i < kBatch; ++i) burst.push_back(request(static_cast<std::uint64_t>(sent++)));
      engine.submit(burst);
    }
    while (engine.drain(done) == 0) wait(engine);
    answered += static_cast<int>(done.size());
    check_ok(done);
    done.clear();
  }
  const double seconds = std::chrono::duration<double>(now() - start).count();
  const ModelStats stats = engine.stats().front();
  std::printf(
      "{\"result\": \"throughput\", \"bursts_in_flight\": %d, \"requests\": %d, "
      "\"requests_per_s\": %.0f, \"mean_batch\": %.1f}\n",
      in_flight, total, total / seconds,
      static_cast<double>(stats.items) / static_cast<double>(stats.batches));
}

}  // namespace

int main() {
  latency(50'000, false);
  latency(50'000, true);
  throughput(50'000, 4);
  throughput(50'000, 16);
}
