#include "glet/route/admission.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "glet/error.h"

using glet::route::Admission;

TEST_CASE("everything is let in until a part is set") {
  Admission admission;
  for (int i = 0; i < 1000; ++i) CHECK(admission.admit());
  CHECK(admission.part() == 1.0);
}

TEST_CASE("of any requests in a row, the part is let in to within one") {
  std::mt19937_64 engine(3);
  for (int round = 0; round < 40; ++round) {
    Admission admission;
    const double part = static_cast<double>(engine() % 1001) / 1000.0;
    admission.set_part(part);
    std::vector<int> let_in{0};
    for (int i = 0; i < 400; ++i) let_in.push_back(let_in.back() + admission.admit());
    for (std::size_t first = 0; first < let_in.size(); first += 7) {
      for (std::size_t last = first; last < let_in.size(); last += 5) {
        const double expected = part * static_cast<double>(last - first);
        CHECK(std::abs(let_in[last] - let_in[first] - expected) < 1.0 + 1e-9);
      }
    }
  }
}

TEST_CASE("nothing and everything are exact, also after another part") {
  Admission admission;
  admission.set_part(0.3);
  for (int i = 0; i < 7; ++i) admission.admit();
  admission.set_part(1.0);
  for (int i = 0; i < 1000; ++i) CHECK(admission.admit());
  admission.set_part(0.0);
  for (int i = 0; i < 1000; ++i) CHECK_FALSE(admission.admit());
}

TEST_CASE("a part outside 0..1 is refused and changes nothing") {
  Admission admission;
  admission.set_part(0.5);
  for (const double part : {-0.1, 1.1, std::nan(""), std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS_AS(admission.set_part(part), glet::ArgumentError);
  }
  CHECK(admission.part() == 0.5);
}
