#include "glet/exec/partition/placement.h"

#include "glet/error.h"

namespace glet::exec {

std::string describe(const Placement& placement) {
  const std::string first = std::to_string(placement.first);
  const std::string range = placement.count == 1
                                ? "unit " + first
                                : "units " + first + ".." + std::to_string(placement.end() - 1);
  return range + (placement.remainder ? " and the rest" : "");
}

Placement whole(const UnitGrid& grid) {
  return {0, grid.units, grid.remainder_sms > 0};
}

void check_on_grid(const UnitGrid& grid, const Placement& placement) {
  if (placement.first < 0 || placement.count < 1 || placement.first >= grid.units ||
      placement.count > grid.units - placement.first) {
    throw ArgumentError("[Placement] " + std::to_string(placement.count) + " units from " +
                        std::to_string(placement.first) + " are not there; the device has " +
                        std::to_string(grid.units) + ", counted from 0");
  }
  if (placement.remainder && placement != whole(grid)) {
    throw ArgumentError("[Placement] " + describe(placement) + ": only the whole device, " +
                        describe(whole(grid)) + ", has the rest");
  }
}

Given given(const UnitGrid& grid, const Placement& placement) {
  check_on_grid(grid, placement);
  const int sms = placement.count * grid.unit_sms + (placement.remainder ? grid.remainder_sms : 0);
  return {placement.count, sms, 100.0 * sms / grid.total_sms()};
}

}  // namespace glet::exec
