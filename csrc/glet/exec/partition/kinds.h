#pragma once

#include <memory>
#include <vector>

#include "glet/exec/partition/partition.h"

// The constructors behind make_partition(), one per kind.
namespace glet::exec {

std::unique_ptr<Partition> make_cpu_partition(const std::vector<int>& cores);
std::unique_ptr<Partition> make_profiled_partition();
std::unique_ptr<Partition> make_green_partition(const PartitionSpec& spec);

}  // namespace glet::exec
