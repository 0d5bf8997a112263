#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "glet/batch/request.h"

namespace glet::route {

using GpuletId = std::int32_t;
inline constexpr GpuletId kNoGpulet = -1;

struct Route {
  GpuletId gpulet;
  double weight;  // planned rate of the model on this gpulet; > 0
};

// Chooses a gpulet for each request of a model: in proportion to the plan's weights while all keep
// up, and never more than one request away from that over any number of requests (Tijdeman, "The
// chairman assignment problem", 1980), shifted away from gpulets where more is outstanding than
// their weight explains: more than twice what the others have per weight, and kBurst. A gpulet that
// is passed over builds up no claim to what it missed. Pure: no thread, lock, clock or randomness.
class Router {
 public:
  // Requests that may be outstanding on a gpulet whatever the others have: a batch or two.
  static constexpr int kBurst = 16;

  // Replaces the routes of a model at once. Outstanding counts of gpulets that stay are kept.
  // Throws ArgumentError on a weight <= 0, a NaN, a negative id, or a gpulet named twice.
  void set_routes(batch::ModelId model, std::span<const Route> routes);
  // No routes any more; what is outstanding is still counted until it is done.
  void remove_model(batch::ModelId model);

  // A gpulet that is down is never picked until it is up again.
  void set_up(GpuletId gpulet, bool up);

  // Picks a gpulet and counts the request as outstanding there; kNoGpulet when the model has no
  // gpulet that is up (`exclude` is never picked: the retry after a loss).
  GpuletId pick(batch::ModelId model, GpuletId exclude = kNoGpulet);

  // A request that was picked for this gpulet was answered, or given up. One that was never picked
  // is no error.
  void done(batch::ModelId model, GpuletId gpulet);

  int outstanding(batch::ModelId model, GpuletId gpulet) const;

 private:
  struct Target {
    GpuletId gpulet;
    double weight;  // 0: no longer a route, kept until nothing is outstanding
    double credit;  // requests that are due to it; within (-1, 1) while the same targets are open
    int outstanding;
    bool up;
    bool open;  // may get the request that is being picked for
  };
  using Targets = std::vector<Target>;

  static void balance(Targets& targets);
  static void open_targets(Targets& targets, GpuletId exclude);
  static Target* most_due(Targets& targets);

  std::unordered_map<batch::ModelId, Targets> models_;
  std::unordered_set<GpuletId> down_;
};

}  // namespace glet::route
