#include "glet/route/router.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "glet/error.h"

using glet::route::GpuletId;
using glet::route::kNoGpulet;
using glet::route::Route;
using glet::route::Router;

namespace {

void set(Router& router, std::vector<Route> routes) {
  router.set_routes(0, routes);
}

}  // namespace

TEST_CASE("a model without routes goes nowhere") {
  Router router;
  CHECK(router.pick(3) == kNoGpulet);
  router.done(3, 1);
  CHECK(router.outstanding(3, 1) == 0);
  set(router, {});
  CHECK(router.pick(0) == kNoGpulet);
}

TEST_CASE("routes that make no sense are refused") {
  Router router;
  const double nan = std::nan("");
  const double inf = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(set(router, {{1, 0.0}}), glet::ArgumentError);
  CHECK_THROWS_AS(set(router, {{1, -1.0}}), glet::ArgumentError);
  CHECK_THROWS_AS(set(router, {{1, nan}}), glet::ArgumentError);
  CHECK_THROWS_AS(set(router, {{1, inf}}), glet::ArgumentError);
  CHECK_THROWS_AS(set(router, {{1, 1.0}, {1, 2.0}}), glet::ArgumentError);
  CHECK_THROWS_AS(set(router, {{-1, 1.0}}), glet::ArgumentError);
}

TEST_CASE("shares are never more than one request off, from the first pick on") {
  std::mt19937_64 engine(5);
  for (int round = 0; round < 50; ++round) {
    Router router;
    std::vector<Route> routes;
    double weight = 0.0;
    const int count = 1 + static_cast<int>(engine() % 8);
    for (int i = 0; i < count; ++i) {
      routes.push_back({i, 0.1 + static_cast<double>(engine() % 1000)});
      weight += routes.back().weight;
    }
    set(router, routes);
    std::map<GpuletId, int> picks;
    for (int total = 1; total <= 500; ++total) {
      const GpuletId gpulet = router.pick(0);
      router.done(0, gpulet);
      ++picks[gpulet];
      for (const Route& route : routes) {
        CHECK(std::abs(picks[route.gpulet] - total * route.weight / weight) < 1.0 + 1e-6);
      }
    }
  }
}

TEST_CASE("two to one is two to one in every window of three") {
  Router router;
  set(router, {{1, 2.0}, {2, 1.0}});
  for (int window = 0; window < 20; ++window) {
    int first = 0;
    for (int i = 0; i < 3; ++i) {
      const GpuletId gpulet = router.pick(0);
      router.done(0, gpulet);
      first += gpulet == 1 ? 1 : 0;
    }
    CHECK(first == 2);
  }
}

TEST_CASE("a stalled gpulet is left alone, and not flooded when it recovers") {
  Router router;
  set(router, {{1, 1.0}, {2, 1.0}, {3, 2.0}});
  int stalled = 0;
  for (int i = 0; i < 2000; ++i) {
    const GpuletId gpulet = router.pick(0);
    if (gpulet == 1) {
      ++stalled;
    } else {
      router.done(0, gpulet);
    }
  }
  CHECK(stalled == Router::kBurst + 1);
  CHECK(router.outstanding(0, 1) == Router::kBurst + 1);
  for (int i = 0; i < stalled; ++i) router.done(0, 1);
  int after = 0;
  for (int i = 0; i < 40; ++i) {
    const GpuletId gpulet = router.pick(0);
    router.done(0, gpulet);
    after += gpulet == 1 ? 1 : 0;
  }
  CHECK(after >= 9);
  CHECK(after <= 11);
}

TEST_CASE("outstanding in proportion to the weights shifts nothing") {
  Router router;
  set(router, {{1, 3.0}, {2, 1.0}});
  int first = 0;
  for (int i = 0; i < 400; ++i) first += router.pick(0) == 1 ? 1 : 0;
  CHECK(first == 300);
}

TEST_CASE("a gpulet that is down, or excluded, is never picked") {
  Router router;
  set(router, {{1, 5.0}, {2, 1.0}});
  router.set_up(1, false);
  for (int i = 0; i < 10; ++i) CHECK(router.pick(0) == 2);
  CHECK(router.pick(0, 2) == kNoGpulet);
  router.set_up(1, true);
  for (int i = 0; i < 10; ++i) CHECK(router.pick(0, 2) == 1);
  router.set_up(2, false);
  set(router, {{2, 1.0}, {3, 1.0}});
  for (int i = 0; i < 10; ++i) CHECK(router.pick(0) == 3);
}

TEST_CASE("a gpulet that was down has no claim to what it missed") {
  Router router;
  set(router, {{1, 1.0}, {2, 1.0}});
  router.set_up(1, false);
  for (int i = 0; i < 100; ++i) router.done(0, router.pick(0));
  router.set_up(1, true);
  int first = 0;
  for (int i = 0; i < 20; ++i) {
    const GpuletId gpulet = router.pick(0);
    router.done(0, gpulet);
    first += gpulet == 1 ? 1 : 0;
  }
  CHECK(first >= 9);
  CHECK(first <= 11);
}

TEST_CASE("outstanding counts survive new routes, until they are done") {
  Router router;
  set(router, {{1, 1.0}});
  router.pick(0);
  router.pick(0);
  set(router, {{2, 1.0}});
  CHECK(router.outstanding(0, 1) == 2);
  CHECK(router.pick(0) == 2);
  router.done(0, 1);
  set(router, {{1, 1.0}, {2, 1.0}});
  CHECK(router.outstanding(0, 1) == 1);
  router.remove_model(0);
  CHECK(router.pick(0) == kNoGpulet);
  router.done(0, 1);
  router.done(0, 1);
  CHECK(router.outstanding(0, 1) == 0);
  CHECK(router.outstanding(0, 2) == 1);
}

TEST_CASE("random lives: counts agree with a model, nothing closed is picked, all repeats") {
  const auto live = [](std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    Router router;
    std::map<GpuletId, int> outstanding;
    std::map<GpuletId, bool> routed;
    std::map<GpuletId, bool> down;
    std::vector<GpuletId> picks;
    for (int step = 0; step < 3000; ++step) {
      const auto gpulet = static_cast<GpuletId>(engine() % 5);
      switch (engine() % 12) {
        case 0: {
          std::vector<Route> routes;
          routed.clear();
          for (GpuletId id = 0; id < 5; ++id) {
            if (engine() % 2 == 0) continue;
            routes.push_back({id, 1.0 + static_cast<double>(engine() % 9)});
            routed[id] = true;
          }
          set(router, routes);
          break;
        }
        case 1:
          down[gpulet] = engine() % 2 == 0;
          router.set_up(gpulet, !down[gpulet]);
          break;
        case 2:
        case 3:
        case 4:
        case 5:
          router.done(0, gpulet);
          outstanding[gpulet] = std::max(0, outstanding[gpulet] - 1);
          break;
        default: {
          const GpuletId exclude = engine() % 4 == 0 ? gpulet : kNoGpulet;
          const GpuletId picked = router.pick(0, exclude);
          bool possible = false;
          for (GpuletId id = 0; id < 5; ++id) {
            possible = possible || (routed[id] && !down[id] && id != exclude);
          }
          CHECK((picked != kNoGpulet) == possible);
          if (picked != kNoGpulet) {
            CHECK(routed[picked]);
            CHECK_FALSE(down[picked]);
            CHECK(picked != exclude);
            ++outstanding[picked];
          }
          picks.push_back(picked);
        }
      }
      for (GpuletId id = 0; id < 5; ++id) CHECK(router.outstanding(0, id) == outstanding[id]);
    }
    return picks;
  };
  for (std::uint64_t seed = 0; seed < 10; ++seed) CHECK(live(seed) == live(seed));
}
