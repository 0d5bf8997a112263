#include "glet/exec/profiled_runner.h"

#include <chrono>
#include <string>
#include <thread>
#include <utility>

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

std::shared_ptr<const profile::LatencyTable> Emulation::latency() const {
  const std::lock_guard lock(mutex_);
  return latency_;
}

void Emulation::set_latency(profile::LatencyTable latency) {
  auto table = std::make_shared<const profile::LatencyTable>(std::move(latency));
  const std::lock_guard lock(mutex_);
  latency_.swap(table);
}

ProfiledRunner::ProfiledRunner(Signature signature, int max_batch, profile::LatencyTable latency,
                               std::shared_ptr<const Emulation> emulation)
    : echo_(std::move(signature), max_batch),
      latency_(std::move(latency)),
      emulation_(std::move(emulation)) {
  if (max_batch > latency_.max_batch()) {
    throw ArgumentError("[ProfiledRunner] max_batch " + std::to_string(max_batch) +
                        " was not measured; the profile ends at " +
                        std::to_string(latency_.max_batch()));
  }
}

std::shared_ptr<const OutputBatch> ProfiledRunner::run(int n) {
  const Nanos start = now();
  auto outputs = echo_.run(n);
  const double factor = emulation_ ? emulation_->factor() : 1.0;
  const auto latest = emulation_ ? emulation_->latency() : nullptr;
  const Nanos own = latest ? latest->at(n) : latency_.at(n);
  const Nanos alone = borrowed_ != nullptr ? borrowed_->at(n) : own;
  const auto took = static_cast<double>(alone.count()) * factor;
  wait_until(start + Nanos(static_cast<Nanos::rep>(took)));
  return outputs;
}

}  // namespace glet::exec
