#include "glet/exec/loan.h"

#include <algorithm>
#include <string>

#include "glet/error.h"
#include "glet/exec/worker.h"

namespace glet::exec {

PartitionSpec joined(const PartitionSpec& own, const PartitionSpec& theirs) {
  if (own.kind != theirs.kind || own.device != theirs.device) {
    throw ArgumentError("[Engine.set_loans] a gpulet of kind " + std::string(kind_name(own.kind)) +
                        " on device " + std::to_string(own.device) + " and one of kind " +
                        std::string(kind_name(theirs.kind)) + " on device " +
                        std::to_string(theirs.device) +
                        " have no share in common; both have to be of one kind and device");
  }
  PartitionSpec wide = own;
  wide.share_pct += theirs.share_pct;
  if (own.kind == PartitionSpec::Kind::kCpu) {
    wide.cores.insert(wide.cores.end(), theirs.cores.begin(), theirs.cores.end());
  }
  if (own.kind != PartitionSpec::Kind::kGreen) return wide;
  const Placement& a = own.placement;
  const Placement& b = theirs.placement;
  if (a.end() != b.first && b.end() != a.first) {
    throw ArgumentError("[Engine.set_loans] " + describe(a) + " and " + describe(b) +
                        " do not touch; only neighbours lend");
  }
  wide.placement = {std::min(a.first, b.first), a.count + b.count, false};
  return wide;
}

bool same_share(const PartitionSpec& a, const PartitionSpec& b) {
  return a.share_pct == b.share_pct && a.cores == b.cores && a.placement == b.placement;
}

void Borrowed::give_back() {
  if (lender_ != nullptr) lender_->take_back();
  lender_ = nullptr;
}

}  // namespace glet::exec
