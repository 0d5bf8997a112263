#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "glet/exec/null_runner.h"
#include "glet/profile/latency_table.h"

namespace glet::exec {

// What a stand-in device does for one model. May be set from any thread, also while a batch runs;
// the next batch sees it.
class Emulation {
 public:
  explicit Emulation(double factor = 1.0) : factor_(factor) {}

  // How many times longer than its profile it takes: interference by its neighbours.
  double factor() const { return factor_.load(std::memory_order_relaxed); }
  void set_factor(double factor) { factor_.store(factor, std::memory_order_relaxed); }
  // From now on it takes this long: the gpulet has another share. Null: as long as when loaded.
  std::shared_ptr<const profile::LatencyTable> latency() const;
  void set_latency(profile::LatencyTable latency);

 private:
  std::atomic<double> factor_;
  mutable std::mutex mutex_;
  std::shared_ptr<const profile::LatencyTable> latency_;
};

// Stands in for a device: run(n) returns latency(n) times the emulation's factor after it was
// called, with the outputs of a NullRunner.
class ProfiledRunner : public Runner {
 public:
  // Throws ArgumentError when `max_batch` is not in 1..latency.max_batch().
  ProfiledRunner(Signature signature, int max_batch, profile::LatencyTable latency,
                 std::shared_ptr<const Emulation> emulation);

  std::string_view kind() const override { return "profiled"; }
  const Signature& signature() const override { return echo_.signature(); }
  int max_batch() const override { return echo_.max_batch(); }
  void emulate(const profile::LatencyTable* latency) override { borrowed_ = latency; }
  std::byte* input(std::size_t index) override { return echo_.input(index); }
  std::shared_ptr<const OutputBatch> run(int n) override;

 private:
  NullRunner echo_;
  profile::LatencyTable latency_;
  const profile::LatencyTable* borrowed_ = nullptr;
  std::shared_ptr<const Emulation> emulation_;
};

}  // namespace glet::exec
