#include "glet/exec/partition/green_pool.h"

#include <doctest/doctest.h>

#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "fake_driver.h"
#include "glet/error.h"

using namespace glet;
using namespace glet::exec;

TEST_CASE("contexts are made when asked for, and kept for the next time") {
  FakeDriver fake;
  {
    GreenPool pool(fake.open(), 0);
    CHECK(pool.grid().units == 15);
    CHECK(fake.count("contexts") == 0);
    const auto made = fake.count("cuGreenCtxCreate");
    cuda::Stream stream = nullptr;
    {
      const auto lease = pool.lease({0, 6});
      stream = lease->stream();
      CHECK(pool.counts().in_use == 1);
    }
    CHECK(pool.counts().idle == 1);
    const auto again = pool.lease({0, 6});
    CHECK(again->stream() == stream);
    CHECK(fake.count("cuGreenCtxCreate") == made + 1);
    CHECK(pool.counts().created == 1);
    CHECK(pool.counts().reused == 1);
  }
  CHECK(fake.clean());
}

TEST_CASE("resizing to a placement that was there before asks nothing of the driver") {
  FakeDriver fake;
  GreenPool pool(fake.open(), 0, {.context = {.streams = 2}});
  const Placement small{0, 3};
  const Placement large{0, 9};
  GreenLease lease = pool.lease(large);
  lease = pool.lease(small);
  const int calls = fake.count("calls");
  for (int i = 0; i < 100; ++i) {
    lease = pool.lease(i % 2 == 0 ? large : small);
    CHECK(lease->placement() == (i % 2 == 0 ? large : small));
  }
  CHECK(fake.count("calls") == calls);
  CHECK(fake.count("splits") == 1);
  CHECK(pool.counts().created == 2);
  CHECK(pool.counts().reused == 100);
}

TEST_CASE("a context has one holder at a time") {
  FakeDriver fake;
  GreenPool pool(fake.open(), 0);
  const auto one = pool.lease({3, 2});
  const auto two = pool.lease({3, 2});
  CHECK(one->id() != two->id());
  CHECK(one->stream() != two->stream());
  CHECK(pool.counts().created == 2);
}

TEST_CASE("beyond the limit the least recently used goes, and is told of") {
  FakeDriver fake;
  std::vector<int> gone;
  {
    GreenPool pool(fake.open(), 0, {.idle_limit = 2, .before_destroy = [&](const auto& context) {
                                      gone.push_back(context.placement().first);
                                      CHECK(fake.count("leaked") == 0);
                                    }});
    for (const int first : {0, 1, 2}) pool.lease({first, 1});
    CHECK(gone == std::vector<int>{0});
    pool.lease({1, 1});
    pool.lease({3, 1});
    CHECK(gone == std::vector<int>{0, 2});
    CHECK(pool.counts().idle == 2);
    CHECK(pool.counts().destroyed == 2);
    CHECK(fake.count("contexts") == 2);
    CHECK(fake.count("streams") == 2);

    // Those in use do not count.
    std::vector<GreenLease> leases;
    for (int first = 0; first < 10; ++first) leases.push_back(pool.lease({first, 1}));
    CHECK(pool.counts().in_use == 10);
    CHECK(pool.counts().idle == 0);
    leases.clear();
    CHECK(pool.counts().idle == 2);
  }
  CHECK(fake.clean());
}

TEST_CASE("a pool that keeps nothing works") {
  FakeDriver fake;
  GreenPool pool(fake.open(), 0, {.idle_limit = 0});
  pool.lease({0, 1});
  pool.lease({0, 1});
  CHECK(pool.counts().created == 2);
  CHECK(pool.counts().destroyed == 2);
  CHECK(fake.count("contexts") == 0);
}

TEST_CASE("what is in use outlives the pool") {
  FakeDriver fake;
  std::vector<int> gone;
  GreenLease lease;
  CHECK_FALSE(lease);
  {
    GreenPool pool(fake.open(), 0, {.before_destroy = [&](const auto& context) {
                     gone.push_back(context.placement().first);
                   }});
    lease = pool.lease({0, 1});
    pool.lease({1, 1});
  }
  CHECK(gone == std::vector<int>{1});
  CHECK(fake.count("contexts") == 1);
  CHECK(lease->sms() == 8);
  GreenLease moved = std::move(lease);
  CHECK_FALSE(lease);
  moved.reset();
  moved.reset();
  CHECK(gone == std::vector<int>{1, 0});
  CHECK(fake.clean());
}

TEST_CASE("a context that cannot be made changes nothing") {
  FakeDriver fake;
  {
    GreenPool pool(fake.open(), 0);
    pool.lease({0, 4});
    fake.fail("cuGreenCtxStreamCreate", 1, cuda::kOutOfMemory);
    CHECK_THROWS_AS(pool.lease({0, 5}), DeviceError);
    CHECK(fake.count("contexts") == 1);
    CHECK(pool.counts().created == 1);
    CHECK(pool.counts().in_use == 0);
    CHECK(pool.counts().idle == 1);
    CHECK_THROWS_AS(pool.lease({15, 1}), ArgumentError);
    CHECK(pool.lease({0, 5})->sms() == 40);
  }
  CHECK(fake.clean());
  fake.fail("cuDevicePrimaryCtxRetain", 1, cuda::kOutOfMemory);
  CHECK_THROWS_AS(GreenPool(fake.open(), 0), DeviceError);
  CHECK_THROWS_AS(GreenPool(fake.open(), 1), DeviceError);
  CHECK(fake.clean());
}

TEST_CASE("many threads resize at once and never meet on a context") {
  FakeDriver fake;
  constexpr int kThreads = 8;
  constexpr int kLeases = 200;
  {
    const auto driver = fake.open();
    GreenPool pool(driver, 0, {.idle_limit = 4});
    std::mutex mutex;
    std::set<std::uint64_t> held;
    int met = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(static_cast<unsigned>(t));
        for (int i = 0; i < kLeases; ++i) {
          const int first = static_cast<int>(random() % 5);
          const auto lease = pool.lease({first, 2});
          {
            const std::lock_guard lock(mutex);
            met += held.insert(lease->id()).second ? 0 : 1;
          }
          {
            const CurrentContext current(*driver, lease->context());
          }
          const std::lock_guard lock(mutex);
          held.erase(lease->id());
        }
      });
    }
    for (auto& thread : threads) thread.join();
    const auto counts = pool.counts();
    CHECK(met == 0);
    CHECK(counts.created + counts.reused == kThreads * kLeases);
    CHECK(counts.in_use == 0);
    CHECK(counts.idle <= 4);
    CHECK(counts.created == counts.destroyed + counts.idle);
  }
  CHECK(fake.clean());
}
