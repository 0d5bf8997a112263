#include "glet/exec/partition/placement.h"

#include <algorithm>

#include "glet/error.h"

namespace glet::exec {
namespace {

// Which units nobody has.
class FreeUnits {
 public:
  explicit FreeUnits(int units) : taken_(static_cast<std::size_t>(units), false) {}

  bool take(const Placement& placement) {
    const auto begin = taken_.begin() + placement.first;
    const auto end = begin + placement.count;
    if (std::find(begin, end, true) != end) return false;
    std::fill(begin, end, true);
    return true;
  }

  std::optional<int> first_fit(int count) const {
    const auto at = std::search_n(taken_.begin(), taken_.end(), count, false);
    if (at == taken_.end()) return std::nullopt;
    return static_cast<int>(at - taken_.begin());
  }

  // "3 from 2, 4 from 11"
  std::string runs() const {
    std::string text;
    for (auto at = taken_.begin(); at != taken_.end();) {
      const auto begin = std::find(at, taken_.end(), false);
      at = std::find(begin, taken_.end(), true);
      if (begin == at) continue;
      text += (text.empty() ? "" : ", ") + std::to_string(at - begin) + " from " +
              std::to_string(begin - taken_.begin());
    }
    return text;
  }

 private:
  std::vector<bool> taken_;
};

Placement wanted(const UnitGrid& grid, int share_pct) {
  return share_pct == 100 ? whole(grid) : Placement{0, grid.units_of(share_pct)};
}

bool keeps(const ShareRequest& request, const Placement& want) {
  return request.now && request.now->count == want.count &&
         request.now->remainder == want.remainder;
}

void check_shares(const UnitGrid& grid, const std::vector<ShareRequest>& requests) {
  int total = 0;
  for (const auto& request : requests) {
    grid.units_of(request.share_pct);  // throws for what can be no share
    total += request.share_pct;
  }
  if (total > 100) {
    throw ConfigError("[assign_placements] shares sum to " + std::to_string(total) +
                      " percent; at most 100");
  }
}

}  // namespace

int UnitGrid::smallest_share_pct() const {
  if (units < 1) throw ConfigError("[UnitGrid] the device has no units; it cannot be shared");
  return (99 + units) / units;
}

int UnitGrid::units_of(int share_pct) const {
  const int smallest = smallest_share_pct();
  if (share_pct < 1 || share_pct > 100) {
    throw ConfigError("[UnitGrid] share_pct " + std::to_string(share_pct) +
                      "; a share is 1..100 percent");
  }
  const int own = share_pct * units / 100;
  if (own < 1) {
    throw ConfigError("[UnitGrid] share_pct " + std::to_string(share_pct) + " of " +
                      std::to_string(units) + " units is less than one unit of " +
                      std::to_string(unit_sms) + " SMs; the smallest share that works is " +
                      std::to_string(smallest));
  }
  return own;
}

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

Assignment assign_placements(const UnitGrid& grid, const std::vector<ShareRequest>& requests) {
  check_shares(grid, requests);
  Assignment assignment;
  FreeUnits free(grid.units);
  std::vector<Placement> wants;
  for (const auto& request : requests) {
    wants.push_back(wanted(grid, request.share_pct));
    auto& place = assignment.placements.emplace_back();
    if (!keeps(request, wants.back())) continue;
    check_on_grid(grid, *request.now);
    if (!free.take(*request.now)) {
      throw ArgumentError("[assign_placements] " + describe(*request.now) +
                          " overlap the placement of another gpulet");
    }
    place = request.now;
  }
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (assignment.placements[i]) continue;
    Placement want = wants[i];
    if (const auto first = free.first_fit(want.count)) {
      want.first = *first;
      free.take(want);
      assignment.placements[i] = want;
    } else if (assignment.fragmentation.empty()) {
      assignment.fragmentation =
          "no " + std::to_string(want.count) + " units side by side for share_pct " +
          std::to_string(requests[i].share_pct) + ", number " + std::to_string(i + 1) +
          "; free are " + free.runs() + ": place all anew";
    }
  }
  return assignment;
}

}  // namespace glet::exec
