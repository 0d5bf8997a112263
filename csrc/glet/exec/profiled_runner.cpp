#include "glet/exec/profiled_runner.h"

#include <chrono>
#include <string>
#include <thread>

#include "glet/error.h"
#include "glet/exec/engine.h"

namespace glet::exec {
namespace {

// A sleeping thread wakes late by about this much at worst on an idle machine; the rest is spun.
constexpr Nanos kSpin = std::chrono::microseconds(50);

void wait_until(Nanos deadline) {
  const Nanos wake = deadline - kSpin;
  if (now() < wake) std::this_thread::sleep_until(std::chrono::steady_clock::time_point(wake));
  while (now() < deadline) {
  }
}

}  // namespace

ProfiledRunner::ProfiledRunner(Signature signature, int max_batch, profile::LatencyTable latency,
                               std::shared_ptr<const Slowdown> slowdown)
    : echo_(std::move(signature), max_batch),
      latency_(std::move(latency)),
      slowdown_(std::move(slowdown)) {
  if (max_batch > latency_.max_batch()) {
    throw ArgumentError("[ProfiledRunner] max_batch " + std::to_string(max_batch) +
                        " was not measured; the profile ends at " +
                        std::to_string(latency_.max_batch()));
  }
}

std::shared_ptr<const OutputBatch> ProfiledRunner::run(int n) {
  const Nanos start = now();
  auto outputs = echo_.run(n);
  const double factor = slowdown_ ? slowdown_->load(std::memory_order_relaxed) : 1.0;
  const auto took = static_cast<double>(latency_.at(n).count()) * factor;
  wait_until(start + Nanos(static_cast<Nanos::rep>(took)));
  return outputs;
}

}  // namespace glet::exec
