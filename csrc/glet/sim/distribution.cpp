#include "glet/sim/distribution.h"

#include <string>

#include "glet/error.h"

namespace glet::sim {

void check_distribution(const Distribution& distribution, const char* what) {
  constexpr double kLongestMs = 1e9;
  const auto fine = [](double value) { return value >= 0.0 && value <= kLongestMs; };
  const bool ordered = distribution.shape != Shape::kUniform || distribution.a <= distribution.b;
  if (fine(distribution.a) && fine(distribution.b) && ordered && distribution.c >= 0.0 &&
      distribution.c <= 10.0) {
    return;
  }
  throw ArgumentError("[sim.Distribution] " + std::string(what) + " of " +
                      std::to_string(distribution.a) + ", " + std::to_string(distribution.b) +
                      ", " + std::to_string(distribution.c) +
                      "; valid: ms from 0 to 1e9, the least first, and a sigma of 0..10");
}

}  // namespace glet::sim
