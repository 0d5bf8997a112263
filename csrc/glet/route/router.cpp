#include "glet/route/router.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::route {
namespace {

constexpr double kExcess = 2.0;

void check(std::span<const Route> routes) {
  std::unordered_set<GpuletId> seen;
  for (const Route& route : routes) {
    const std::string where = "[Router.set_routes] gpulet " + std::to_string(route.gpulet);
    if (route.gpulet < 0) throw ArgumentError(where + "; ids are >= 0");
    if (!(route.weight > 0.0) || !std::isfinite(route.weight)) {
      throw ArgumentError(where + " has weight " + std::to_string(route.weight) +
                          "; weights are finite and > 0");
    }
    if (!seen.insert(route.gpulet).second) throw ArgumentError(where + " is named twice");
  }
}

}  // namespace

void Router::set_routes(batch::ModelId model, std::span<const Route> routes) {
  check(routes);
  Targets& old = models_[model];
  Targets targets;
  targets.reserve(routes.size());
  for (const Route& route : routes) {
    targets.push_back({route.gpulet, route.weight, 0.0, 0, !down_.contains(route.gpulet), false});
  }
  for (Target& before : old) {
    const auto kept = std::find_if(targets.begin(), targets.end(), [&](const Target& target) {
      return target.gpulet == before.gpulet;
    });
    if (kept != targets.end()) {
      kept->outstanding = before.outstanding;
      kept->credit = before.credit;
    } else if (before.outstanding > 0) {
      before.weight = 0.0;
      before.credit = 0.0;
      targets.push_back(before);
    }
  }
  balance(targets);
  if (targets.empty()) {
    models_.erase(model);
  } else {
    old = std::move(targets);
  }
}

void Router::remove_model(batch::ModelId model) {
  set_routes(model, {});
}

// What one target is owed, others have had in advance: the sum is 0.
void Router::balance(Targets& targets) {
  double weight = 0.0;
  double credit = 0.0;
  for (const Target& target : targets) {
    weight += target.weight;
    credit += target.credit;
  }
  if (!(weight > 0.0)) return;
  for (Target& target : targets) target.credit -= credit * target.weight / weight;
}

void Router::set_up(GpuletId gpulet, bool up) {
  if (up) {
    down_.erase(gpulet);
  } else {
    down_.insert(gpulet);
  }
  for (auto& [model, targets] : models_) {
    for (Target& target : targets) {
      if (target.gpulet == gpulet) target.up = up;
    }
  }
}

// Open are those that may be picked and are not further behind than their weight explains. The one
// with least outstanding per weight is always among them.
void Router::open_targets(Targets& targets, GpuletId exclude) {
  double weight = 0.0;
  double outstanding = 0.0;
  for (Target& target : targets) {
    target.open = target.up && target.weight > 0.0 && target.gpulet != exclude;
    if (!target.open) continue;
    weight += target.weight;
    outstanding += target.outstanding;
  }
  for (Target& target : targets) {
    if (!target.open || target.outstanding <= kBurst) continue;
    const double others = weight - target.weight;
    // A sole target has nobody to be compared with (nor one beside which the others vanish).
    if (!(others > 0.0)) continue;
    const double level = (outstanding - target.outstanding) / others;
    target.open = target.outstanding <= kExcess * level * target.weight + kBurst;
  }
}

// Among those whose turn may have come, the one whose turn ends first.
Router::Target* Router::most_due(Targets& targets) {
  double weight = 0.0;
  int count = 0;
  for (const Target& target : targets) {
    if (!target.open) continue;
    weight += target.weight;
    ++count;
  }
  if (count == 0) return nullptr;
  const double slack = count > 1 ? 1.0 / (2.0 * count - 2.0) : 1.0;
  Target* chosen = nullptr;
  double chosen_end = 0.0;
  bool chosen_due = false;
  for (Target& target : targets) {
    if (!target.open) continue;
    const double share = target.weight / weight;
    target.credit += share;
    const bool is_due = target.credit >= slack;
    const double end = (1.0 - slack - target.credit) / share;
    const bool better = is_due != chosen_due ? is_due : end < chosen_end;
    if (chosen == nullptr || better) {
      chosen = &target;
      chosen_end = end;
      chosen_due = is_due;
    }
  }
  return chosen;
}

GpuletId Router::pick(batch::ModelId model, GpuletId exclude) {
  const auto found = models_.find(model);
  if (found == models_.end()) return kNoGpulet;
  open_targets(found->second, exclude);
  Target* const chosen = most_due(found->second);
  if (chosen == nullptr) return kNoGpulet;
  // What was due to those that are not open any more is not owed: it would come as a flood.
  chosen->credit = std::max(-1.0, chosen->credit - 1.0);
  ++chosen->outstanding;
  return chosen->gpulet;
}

void Router::done(batch::ModelId model, GpuletId gpulet) {
  const auto found = models_.find(model);
  if (found == models_.end()) return;
  Targets& targets = found->second;
  const auto at = std::find_if(targets.begin(), targets.end(),
                               [&](const Target& target) { return target.gpulet == gpulet; });
  if (at == targets.end() || at->outstanding == 0) return;
  if (--at->outstanding == 0 && at->weight == 0.0) targets.erase(at);
  if (targets.empty()) models_.erase(found);
}

int Router::outstanding(batch::ModelId model, GpuletId gpulet) const {
  const auto found = models_.find(model);
  if (found == models_.end()) return 0;
  for (const Target& target : found->second) {
    if (target.gpulet == gpulet) return target.outstanding;
  }
  return 0;
}

}  // namespace glet::route
