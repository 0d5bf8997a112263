#include "glet/exec/partition/partition.h"

#include "glet/error.h"
#include "glet/exec/partition/kinds.h"

namespace glet::exec {

std::string_view kind_name(PartitionSpec::Kind kind) {
  switch (kind) {
    case PartitionSpec::Kind::kCpu:
      return "cpu";
    case PartitionSpec::Kind::kProfiled:
      return "profiled";
    case PartitionSpec::Kind::kGreen:
      return "green";
  }
  return "unknown";
}

std::unique_ptr<Partition> make_partition(const PartitionSpec& spec) {
  switch (spec.kind) {
    case PartitionSpec::Kind::kCpu:
      return make_cpu_partition(spec.cores);
    case PartitionSpec::Kind::kProfiled:
      return make_profiled_partition();
    case PartitionSpec::Kind::kGreen:
      return make_green_partition(spec);
  }
  throw ArgumentError("[make_partition] a kind that does not exist");
}

}  // namespace glet::exec
