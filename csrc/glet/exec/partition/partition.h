#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glet::exec {

// What a gpulet is made of on its device. Which fields count depends on `kind`.
struct PartitionSpec {
  enum class Kind { kCpu, kProfiled };
  Kind kind = Kind::kCpu;
  int share_pct = 100;
  std::vector<int> cores;  // kCpu: the cores this gpulet owns; its intra-op pool is as large
};

// "cpu", "profiled"
std::string_view kind_name(PartitionSpec::Kind kind);

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

// A gpulet's share of its device. It is made on any thread, which may take long, and entered on the
// gpulet's, which should not.
class Partition {
 public:
  virtual ~Partition() = default;

  // Binds the calling thread. `again`: it was inside another partition before, and the intra-op
  // threads that it made meanwhile come along. Throws DeviceError; who was inside another one then
  // enters that again.
  virtual PartitionReport enter(bool again) = 0;
  // On the thread that is inside: follows libraries that were loaded since.
  virtual void refresh(PartitionReport&) {}
};

// Throws DeviceError when the device has no such share.
std::unique_ptr<Partition> make_partition(const PartitionSpec& spec);

}  // namespace glet::exec
