#pragma once

#include <compare>
#include <optional>
#include <string>
#include <vector>

namespace glet::exec {

// What one split made of a device: `units` equal sets of SMs, numbered from 0, and the SMs that
// did not fill a unit.
struct UnitGrid {
  int units = 0;
  int unit_sms = 0;
  int remainder_sms = 0;

  int total_sms() const { return units * unit_sms + remainder_sms; }
  // Units of an integer share, rounded down; ConfigError outside 1..100, and for a share below one
  // unit: says the smallest that works. It is a share of the units and not of the SMs, so shares
  // that sum to 100 always fit: on 15 units of 8 SMs out of 132, twice 50 percent is 7 and 7.
  int units_of(int share_pct) const;
  // 7 of 15 units. ConfigError without units.
  int smallest_share_pct() const;
};

// Neighbouring units of one grid: first .. first + count - 1. So a device has few placements, and
// a CUDA graph, which belongs to the placement that it was captured on, is found again.
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

struct ShareRequest {
  int share_pct = 100;
  std::optional<Placement> now;  // where it is; empty for a new one
};

struct Assignment {
  // In the order of the requests; empty where the free units do not lie side by side.
  std::vector<std::optional<Placement>> placements;
  // One line that says which share found no place and what is free; empty when all have one.
  // Assigning all anew, with `now` empty, always finds places.
  std::string fragmentation;
};

// Disjoint placements for gpulets of one device, in order: who has a placement of the right size
// keeps it, the others get the first run of free units that is long enough (first fit).
// Shares sum to at most 100; ConfigError otherwise and as units_of(). ArgumentError when those of
// `now` that are kept overlap or leave the grid.
Assignment assign_placements(const UnitGrid& grid, const std::vector<ShareRequest>& requests);

}  // namespace glet::exec
