#pragma once

#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "glet/batch/loan.h"
#include "glet/exec/partition/partition.h"
#include "glet/exec/submission.h"
#include "glet/profile/latency_table.h"

namespace glet::exec {

class Preparer;
class Worker;

// A neighbour whose share a gpulet may borrow.
struct LoanSpec {
  GpuletId lender = 0;
  // How long batches take on both shares, where that is known; it is learned otherwise.
  std::vector<std::pair<ModelId, profile::LatencyTable>> latency = {};
};

// One gpulet's leave to run a batch on its own share and a neighbour's. Guarded by the borrower's
// lock but for what never changes.
struct Loan {
  std::weak_ptr<Worker> lender;
  PartitionSpec own;  // both shares as they were when this was agreed: a resize of either ends it
  PartitionSpec theirs;
  PartitionSpec wide;
  Preparer* preparer;

  std::unordered_map<ModelId, profile::LatencyTable> known = {};
  std::unordered_map<ModelId, batch::WideLatency> latency = {};  // of the models loaded
  std::shared_ptr<Partition> partition = nullptr;                // once it was asked for and made
  // What is being made ready, or could not be.
  std::set<std::pair<ModelId, int>> asked = {};
};

// Both shares as one, with the stream priority and, of a GPU, the host cores of the first. Throws
// ArgumentError when they cannot be one: of other kinds or devices, or units that do not touch.
PartitionSpec joined(const PartitionSpec& own, const PartitionSpec& theirs);

bool same_share(const PartitionSpec& a, const PartitionSpec& b);

// A loan that runs: gives the share back when it goes.
class Borrowed {
 public:
  Borrowed() = default;
  Borrowed(std::shared_ptr<Loan> loan, std::shared_ptr<Worker> lender,
           std::shared_ptr<Partition> partition, Nanos until)
      : loan_(std::move(loan)),
        lender_(std::move(lender)),
        partition_(std::move(partition)),
        until_(until) {}
  Borrowed(Borrowed&&) = default;
  Borrowed& operator=(Borrowed&&) = delete;
  ~Borrowed() { give_back(); }

  explicit operator bool() const { return lender_ != nullptr; }
  const std::shared_ptr<Loan>& loan() const { return loan_; }
  Partition& partition() const { return *partition_; }
  Nanos until() const { return until_; }
  void give_back();

 private:
  std::shared_ptr<Loan> loan_;
  std::shared_ptr<Worker> lender_;
  std::shared_ptr<Partition> partition_;
  Nanos until_{0};
};

}  // namespace glet::exec
