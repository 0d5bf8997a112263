#pragma once

#include <compare>
#include <string>

namespace glet::exec {

// What one split made of a device: `units` equal sets of SMs, numbered from 0, and the SMs that
// did not fill a unit.
struct UnitGrid {
  int units = 0;
  int unit_sms = 0;
  int remainder_sms = 0;

  int total_sms() const { return units * unit_sms + remainder_sms; }
};

// Neighbouring units of one grid: first .. first + count - 1. So a device has few placements, and
// a CUDA graph, which belongs to the placement that it was captured on, is found again. Which share
// gets which is decided in python/glet/plan/units.py.
struct Placement {
  int first = 0;
  int count = 0;
  // The SMs outside of all units, too. They come without any guarantee of the driver, so only the
  // whole device has them.
  bool remainder = false;

  int end() const { return first + count; }
  std::strong_ordering operator<=>(const Placement&) const = default;
};

// "units 3..9"; "units 0..14 and the rest"
std::string describe(const Placement& placement);

// All of a device.
Placement whole(const UnitGrid& grid);

// ArgumentError unless the placement has units, all of the grid, and the rest only with all.
void check_on_grid(const UnitGrid& grid, const Placement& placement);

// What a share became.
struct Given {
  int units = 0;
  int sms = 0;
  double pct = 0.0;  // of the SMs of the device
};
Given given(const UnitGrid& grid, const Placement& placement);

}  // namespace glet::exec
