#include <memory>
#include <utility>

#include "glet/exec/partition/green_device.h"
#include "glet/exec/partition/kinds.h"

namespace glet::exec {
namespace {

class GreenPartition : public Partition {
 public:
  explicit GreenPartition(const PartitionSpec& spec)
      : host_(spec.cores.empty() ? make_profiled_partition() : make_cpu_partition(spec.cores)),
        device_(GreenDevice::of(spec.device)),
        lease_(device_->pool().lease(spec.placement, spec.priority)) {}

  PartitionReport enter(bool again) override {
    PartitionReport report = host_->enter(again);
    const Given share = given(device_->pool().grid(), lease_->placement());
    report.placement = lease_->placement();
    report.units = share.units;
    report.sms = lease_->sms();
    report.given_pct = share.pct;
    report.context_id = lease_->id();
    report.stream = reinterpret_cast<std::uintptr_t>(lease_->stream());
    return report;
  }
  void refresh(PartitionReport& report) override { host_->refresh(report); }
  const GreenContext* green() const override { return &*lease_; }

 private:
  std::unique_ptr<Partition> host_;  // what its thread has of the host
  std::shared_ptr<GreenDevice> device_;
  GreenLease lease_;  // back before the device may go
};

}  // namespace

std::unique_ptr<Partition> make_green_partition(const PartitionSpec& spec) {
  return std::make_unique<GreenPartition>(spec);
}

}  // namespace glet::exec
