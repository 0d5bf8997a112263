#pragma once

#include <string>
#include <vector>

namespace glet::exec {

// What a gpulet is made of on its device. Which fields count depends on `kind`.
struct PartitionSpec {
  enum class Kind { kCpu, kProfiled };
  Kind kind = Kind::kCpu;
  int share_pct = 100;
  std::vector<int> cores;  // kCpu: the cores this gpulet owns; its intra-op pool is as large
};

// What the worker thread really got, for reports and tests.
struct PartitionReport {
  std::vector<int> cores;  // affinity mask of the worker thread
  int intra_op_threads = 1;
};

// Cores for gpulets of the given shares (integer percent, 1..100, sum <= 100), in order, disjoint,
// taken from `cores`: share_pct percent of them each, rounded down to whole cores.
// Throws ConfigError when a share is less than one core, and says the smallest share that works.
std::vector<std::vector<int>> assign_cores(const std::vector<int>& cores,
                                           const std::vector<int>& shares_pct);

// Cores this process may use.
std::vector<int> usable_cores();

// Binds the calling thread to the partition and sets its intra-op thread count. Throws DeviceError.
PartitionReport enter_partition(const PartitionSpec& spec);

}  // namespace glet::exec
