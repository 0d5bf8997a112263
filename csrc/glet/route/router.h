#pragma once

#include <cstdint>
#include <span>
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
// up (stride order, so that shares are exact over any window), shifted away from gpulets where
// more is outstanding than their weight explains. Pure: no thread, lock, clock or randomness.
class Router {
 public:
  // Replaces the routes of a model at once. Outstanding counts of gpulets that stay are kept.
  // Throws ArgumentError on a weight <= 0, a NaN, or a gpulet named twice.
  void set_routes(batch::ModelId model, std::span<const Route> routes);
  void remove_model(batch::ModelId model);

  // A gpulet that is down is never picked until it is up again.
  void set_up(GpuletId gpulet, bool up);

  // Picks a gpulet and counts the request as outstanding there; kNoGpulet when the model has no
  // gpulet that is up (`exclude` is never picked: the retry after a loss).
  GpuletId pick(batch::ModelId model, GpuletId exclude = kNoGpulet);

  // A request that was picked for this gpulet was answered, or given up.
  void done(batch::ModelId model, GpuletId gpulet);

  int outstanding(batch::ModelId model, GpuletId gpulet) const;
};

}  // namespace glet::route
