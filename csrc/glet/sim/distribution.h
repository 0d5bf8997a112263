#pragma once

#include "glet/sim/random.h"
#include "glet/time.h"

namespace glet::sim {

enum class Shape { kFixed, kUniform, kLognormal };

// How long something takes, in ms: `a` always; between `a` and `b`; or a + b e^(c N(0, 1)).
struct Distribution {
  Shape shape = Shape::kFixed;
  double a = 0.0;
  double b = 0.0;
  double c = 0.0;

  bool zero() const { return shape == Shape::kFixed && a == 0.0; }

  double mean_ms() const {
    if (shape == Shape::kUniform) return (a + b) / 2.0;
    return shape == Shape::kLognormal ? a + b * natural_exp(c * c / 2.0) : a;
  }

  Nanos sample(Random& random) const {
    double ms = a;
    if (shape == Shape::kUniform) ms = a + (b - a) * random.uniform();
    if (shape == Shape::kLognormal) ms = a + b * natural_exp(c * random.normal());
    return Nanos{static_cast<Nanos::rep>(ms * 1e6 + 0.5)};
  }
};

// Throws ArgumentError unless every sample is a finite time >= 0. `what` names it.
void check_distribution(const Distribution& distribution, const char* what);

}  // namespace glet::sim
