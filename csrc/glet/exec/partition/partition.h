#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "glet/exec/partition/placement.h"

namespace glet::exec {

class GreenContext;

// What a gpulet is made of on its device. Which fields count depends on `kind`.
struct PartitionSpec {
  enum class Kind { kCpu, kProfiled, kGreen };
  Kind kind = Kind::kCpu;
  int share_pct = 100;
  std::vector<int> cores;  // the cores this gpulet owns, its intra-op pool is as large; but for
                           // kCpu none leaves the thread where it is
  int device = 0;          // kGreen: the driver's number of it
  Placement placement{};   // kGreen: units of the device's grid
  int priority = 0;        // kGreen: of its streams, lower runs first; kept when it is resized
};

// "cpu", "profiled", "green"
std::string_view kind_name(PartitionSpec::Kind kind);

// What the worker thread really got, for reports and tests.
struct PartitionReport {
  std::vector<int> cores;  // affinity mask of the worker thread
  int intra_op_threads = 1;

  // kGreen only.
  Placement placement{};
  int units = 0;
  int sms = 0;             // as the driver counts them
  double given_pct = 0.0;  // of the SMs of the device
  std::uint64_t context_id = 0;
  std::uintptr_t stream = 0;  // CUstream; all work of the gpulet goes there
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
  // Where its models run; null unless it is made of SMs. Valid while the partition lives.
  virtual const GreenContext* green() const { return nullptr; }
  // On the thread that is inside: follows libraries that were loaded since.
  virtual void refresh(PartitionReport&) {}
};

// Throws DeviceError when the device has no such share, ArgumentError for units off its grid.
std::unique_ptr<Partition> make_partition(const PartitionSpec& spec);

}  // namespace glet::exec
