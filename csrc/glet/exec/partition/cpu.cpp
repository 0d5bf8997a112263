#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "glet/error.h"
#include "glet/exec/partition/intra_op.h"
#include "glet/exec/partition/kinds.h"
#include "glet/exec/partition/partition.h"

namespace glet::exec {
namespace {

// A cpu_set_t of any size: the fixed one ends at 1024 cores.
class CoreSet {
 public:
  explicit CoreSet(int cores) : bytes_(CPU_ALLOC_SIZE(cores)), set_(CPU_ALLOC(cores)) {
    CPU_ZERO_S(bytes_, set_.get());
  }
  void add(int core) { CPU_SET_S(static_cast<std::size_t>(core), bytes_, set_.get()); }
  std::size_t bytes() const { return bytes_; }
  cpu_set_t* get() { return set_.get(); }

 private:
  struct Free {
    void operator()(cpu_set_t* set) const { CPU_FREE(set); }
  };
  std::size_t bytes_;
  std::unique_ptr<cpu_set_t, Free> set_;
};

std::vector<int> affinity_of(pid_t thread) {
  for (int capacity = 1024; capacity <= 1 << 20; capacity *= 2) {
    CoreSet set(capacity);
    if (::sched_getaffinity(thread, set.bytes(), set.get()) != 0) {
      if (errno == EINVAL) continue;  // the kernel knows more cores than fit
      break;
    }
    std::vector<int> cores;
    for (int core = 0; core < capacity; ++core) {
      if (CPU_ISSET_S(static_cast<std::size_t>(core), set.bytes(), set.get())) {
        cores.push_back(core);
      }
    }
    return cores;
  }
  throw DeviceError(std::string("[usable_cores] sched_getaffinity: ") + std::strerror(errno));
}

std::string list(const std::vector<int>& cores) {
  std::string text;
  for (const int core : cores) text += (text.empty() ? "" : ",") + std::to_string(core);
  return text;
}

void bind_to(const std::vector<int>& cores) {
  if (cores.empty()) {
    throw DeviceError("[Partition] a cpu gpulet needs at least one core; got none");
  }
  const auto usable = usable_cores();
  for (const int core : cores) {
    if (std::find(usable.begin(), usable.end(), core) == usable.end()) {
      throw DeviceError("[Partition] core " + std::to_string(core) +
                        " is not there; this process may use " + list(usable));
    }
  }
  CoreSet set(usable.back() + 1);
  for (const int core : cores) set.add(core);
  if (::sched_setaffinity(0, set.bytes(), set.get()) != 0) {
    throw DeviceError("[Partition] cannot bind to cores " + list(cores) + ": " +
                      std::strerror(errno) + "; this process may use " + list(usable));
  }
}

// Threads inherit the cores of whoever makes them and keep them: those of an intra-op pool that is
// there already have to be moved one by one.
void bind_this_thread(void* cores) {
  const auto& own = *static_cast<const std::vector<int>*>(cores);
  CoreSet set(*std::max_element(own.begin(), own.end()) + 1);
  for (const int core : own) set.add(core);
  ::sched_setaffinity(0, set.bytes(), set.get());
}

class CpuPartition : public Partition {
 public:
  explicit CpuPartition(std::vector<int> cores) : cores_(std::move(cores)) {}

  PartitionReport enter(bool again) override {
    PartitionReport report;
    bind_to(cores_);
    refresh(report);
    if (again) run_on_intra_op_threads(bind_this_thread, &cores_);
    report.cores = affinity_of(0);
    return report;
  }
  void refresh(PartitionReport& report) override {
    report.intra_op_threads = set_intra_op_threads(static_cast<int>(cores_.size()));
  }

 private:
  std::vector<int> cores_;
};

class ProfiledPartition : public Partition {
 public:
  PartitionReport enter(bool) override { return {.cores = affinity_of(0)}; }
};

}  // namespace

std::vector<int> usable_cores() {
  return affinity_of(::getpid());
}

std::vector<std::vector<int>> assign_cores(const std::vector<int>& cores,
                                           const std::vector<int>& shares_pct) {
  const int total = std::accumulate(shares_pct.begin(), shares_pct.end(), 0);
  if (total > 100) {
    throw ConfigError("[assign_cores] shares sum to " + std::to_string(total) +
                      " percent; at most 100");
  }
  const auto count = static_cast<int>(cores.size());
  std::vector<std::vector<int>> assigned;
  auto next = cores.begin();
  for (const int share : shares_pct) {
    const int own = share * count / 100;
    if (share < 1 || own < 1) {
      const std::string smallest =
          count == 0 ? "there are no cores"
                     : "the smallest share that works is " + std::to_string((99 + count) / count);
      throw ConfigError("[assign_cores] share_pct " + std::to_string(share) + " of " +
                        std::to_string(count) + " cores is less than one core; " + smallest);
    }
    assigned.emplace_back(next, next + own);
    next += own;
  }
  return assigned;
}

std::unique_ptr<Partition> make_cpu_partition(const std::vector<int>& cores) {
  return std::make_unique<CpuPartition>(cores);
}

std::unique_ptr<Partition> make_profiled_partition() {
  return std::make_unique<ProfiledPartition>();
}

}  // namespace glet::exec
