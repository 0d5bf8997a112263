#pragma once

#include <atomic>
#include <memory>

#include "glet/exec/null_runner.h"
#include "glet/profile/latency_table.h"

namespace glet::exec {

// How many times longer than its profile a stand-in device takes: interference by its neighbours.
// May be set from any thread, also while a batch runs; the next batch sees it.
using Slowdown = std::atomic<double>;

// Stands in for a device: run(n) returns latency(n) times the slowdown after it was called, with
// the outputs of a NullRunner.
class ProfiledRunner : public Runner {
 public:
  // Throws ArgumentError when `max_batch` is not in 1..latency.max_batch().
  ProfiledRunner(Signature signature, int max_batch, profile::LatencyTable latency,
                 std::shared_ptr<const Slowdown> slowdown);

  std::string_view kind() const override { return "profiled"; }
  const Signature& signature() const override { return echo_.signature(); }
  int max_batch() const override { return echo_.max_batch(); }
  std::byte* input(std::size_t index) override { return echo_.input(index); }
  std::shared_ptr<const OutputBatch> run(int n) override;

 private:
  NullRunner echo_;
  profile::LatencyTable latency_;
  std::shared_ptr<const Slowdown> slowdown_;
};

}  // namespace glet::exec
