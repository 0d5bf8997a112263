#include "glet/route/admission.h"

#include <string>

#include "glet/error.h"

namespace glet::route {

void Admission::check(double part) {
  if (!(part >= 0.0 && part <= 1.0)) {
    throw ArgumentError("[route.Admission] letting in a part of " + std::to_string(part) +
                        "; valid: 0..1");
  }
}

void Admission::set_part(double part) {
  check(part);
  shed_ = 1.0 - part;
}

}  // namespace glet::route
