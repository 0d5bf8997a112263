#include "glet/exec/worker.h"

#include <doctest/doctest.h>

#include <latch>
#include <stdexcept>

#include "exec_parts.h"
#include "glet/error.h"
#include "glet/exec/profiled_runner.h"

using namespace glet;
using namespace glet::exec;
using namespace glet::exec::testing;

namespace {

const PartitionSpec kAnywhere{.kind = PartitionSpec::Kind::kProfiled, .cores = {}};

// A worker with one model (7) whose first batch stays in the runner until let go.
struct HeldWorker {
  explicit HeldWorker(int max_batch, int capacity, Nanos latency = Nanos(1000)) {
    worker.load(7,
                std::make_unique<ScriptedRunner>(max_batch,
                                                 [this](int n) {
                                                   sizes.push_back(n);
                                                   if (sizes.size() > 1) return;
                                                   entered.count_down();
                                                   let_go.wait();
                                                 }),
                plan(max_batch, capacity, latency));
  }

  void hold() {
    completions.expect(1);
    std::vector<Submission> burst;
    burst.push_back(request(1000, 3, 7));
    std::vector<Completion> refused;
    worker.submit(burst, refused);
    completions.push(refused);
    entered.wait();
  }

  std::vector<Completion> settle() {
    CHECK(completions.wait_settled(now() + std::chrono::seconds(30)));
    std::vector<Completion> out;
    completions.drain(out, 1u << 20);
    return out;
  }

  std::vector<int> sizes;
  std::latch entered{1};
  std::latch let_go{1};
  CompletionQueue completions;
  Worker worker{3, kAnywhere, completions};
};

}  // namespace

TEST_CASE("what cannot wait is refused while a batch runs, the rest runs together") {
  HeldWorker held(8, 2);
  held.hold();
  std::vector<Submission> burst;
  for (std::uint64_t tag = 0; tag < 4; ++tag) burst.push_back(request(tag, 3, 7));
  held.completions.expect(burst.size());
  std::vector<Completion> refused;
  held.worker.submit(burst, refused);
  REQUIRE(refused.size() == 2);
  CHECK(refused[0].outcome == Outcome::kFull);
  CHECK(refused[0].tag == 2);
  CHECK(refused[1].tag == 3);
  held.completions.push(refused);
  held.let_go.count_down();
  CHECK(held.settle().size() == 5);
  CHECK(held.sizes == std::vector<int>{1, 2});
}

TEST_CASE("a deadline that the queue ahead makes impossible is refused at once") {
  HeldWorker held(1, 100, std::chrono::seconds(20));
  held.hold();
  std::vector<Submission> burst;
  burst.push_back(request(1, 3, 7, 0, std::chrono::seconds(25)));
  held.completions.expect(1);
  std::vector<Completion> refused;
  held.worker.submit(burst, refused);
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].outcome == Outcome::kLate);
  held.completions.push(refused);
  held.let_go.count_down();
  held.settle();
}

TEST_CASE("stopping answers what waits and lets the running batch end") {
  HeldWorker held(1, 100);
  held.hold();
  std::vector<Submission> burst;
  for (std::uint64_t tag = 0; tag < 3; ++tag) burst.push_back(request(tag, 3, 7));
  held.completions.expect(burst.size());
  std::vector<Completion> refused;
  held.worker.submit(burst, refused);
  CHECK(refused.empty());
  std::thread stopper([&] { held.worker.stop(Nanos(0)); });
  held.let_go.count_down();
  stopper.join();
  const auto done = held.settle();
  REQUIRE(done.size() == 4);
  std::size_t ok = 0;
  std::size_t unavailable = 0;
  for (const auto& each : done) {
    ok += each.outcome == Outcome::kOk;
    unavailable += each.outcome == Outcome::kUnavailable;
  }
  CHECK(ok + unavailable == 4);
  CHECK(ok >= 1);
  CHECK_THROWS_AS(held.worker.partition(), ArgumentError);
  CHECK_THROWS_AS(held.worker.measure(7, 1, 1), ArgumentError);
}

TEST_CASE("a payload goes before the model runs, unless its owner wants it back") {
  CompletionQueue completions;
  Worker worker(3, kAnywhere, completions);
  struct Watched : Floats {
    Watched(bool owned, int& alive_) : Floats({1, 2}, owned), alive(alive_) { ++alive; }
    ~Watched() override { --alive; }
    int& alive;
  };
  int alive = 0;
  int seen = -1;
  worker.load(7, std::make_unique<ScriptedRunner>(1, [&](int) { seen = alive; }), plan(1));
  for (const bool owned : {false, true}) {
    CAPTURE(owned);
    std::vector<Submission> burst;
    burst.push_back(request(1, 3, 7));
    burst.back().payload = std::make_unique<Watched>(owned, alive);
    completions.expect(1);
    std::vector<Completion> refused;
    worker.submit(burst, refused);
    REQUIRE(completions.wait_settled(now() + std::chrono::seconds(30)));
    std::vector<Completion> out;
    completions.drain(out, 10);
    REQUIRE(out.size() == 1);
    CHECK(seen == (owned ? 1 : 0));
    CHECK((out[0].payload != nullptr) == owned);
    out.clear();
    CHECK(alive == 0);
  }
}

TEST_CASE("the completion descriptor is readable exactly while something waits") {
  CompletionQueue completions;
  const auto readable = [&] {
    pollfd fd{completions.fd(), POLLIN, 0};
    return ::poll(&fd, 1, 0) == 1;
  };
  CHECK_FALSE(readable());
  std::vector<Completion> done(3);
  for (std::uint64_t i = 0; i < 3; ++i) done[i].tag = i;
  completions.expect(3);
  completions.push(done);
  CHECK(done.empty());
  CHECK(readable());
  std::vector<Completion> out;
  CHECK(completions.drain(out, 2) == 2);
  CHECK(readable());
  CHECK(completions.drain(out, 2) == 1);
  CHECK_FALSE(readable());
  CHECK(completions.drain(out, 2) == 0);
  CHECK(out[2].tag == 2);
}

TEST_CASE("a stand-in device takes its profile's time times its factor, never less") {
  auto emulation = std::make_shared<Emulation>(1.0);
  ProfiledRunner runner(floats(2), 2,
                        profile::LatencyTable({{1, std::chrono::microseconds(100)},
                                               {2, std::chrono::microseconds(300)}}),
                        emulation);
  const auto took = [&](int n) {
    const Nanos start = now();
    runner.run(n);
    return now() - start;
  };
  CHECK(took(1) >= std::chrono::microseconds(100));
  CHECK(took(2) >= std::chrono::microseconds(300));
  emulation->set_factor(3.0);
  CHECK(took(2) >= std::chrono::microseconds(900));
  emulation->set_latency(profile::LatencyTable({{2, std::chrono::microseconds(500)}}));
  CHECK(took(1) >= std::chrono::microseconds(1500));
  CHECK_THROWS_AS(ProfiledRunner(floats(2), 3, profile::LatencyTable({{1, Nanos(1)}}), nullptr),
                  ArgumentError);
}
