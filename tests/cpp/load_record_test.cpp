// The live counters of a load run: counts, quantiles of what is new, the first error.
#include <doctest/doctest.h>

#include <cmath>
#include <thread>

#include "glet/net/load_record.h"

using namespace glet::net;
using glet::Nanos;
using glet::exec::Outcome;

namespace {

constexpr Nanos kSlo = std::chrono::milliseconds(10);

LoadRecord answered(std::int64_t latency_ns, Outcome outcome = Outcome::kOk, int batch = 2) {
  LoadRecord record;
  record.intended_ns = 1000;
  record.sent_ns = 1500;
  record.answered_ns = 1000 + latency_ns;
  record.outcome = static_cast<std::int32_t>(outcome);
  record.batch = batch;
  return record;
}

}  // namespace

TEST_CASE("every outcome is counted where it belongs") {
  LoadCounters counters;
  for (int i = 0; i < 7; ++i) counters.count_sent();
  counters.count_answer(answered(10'000'000), kSlo);
  counters.count_answer(answered(10'000'001), kSlo);
  for (const auto outcome : {Outcome::kLate, Outcome::kFull, Outcome::kFailed,
                             Outcome::kUnavailable, Outcome::kInvalid}) {
    counters.count_answer(answered(1, outcome), kSlo);
  }
  const LoadProgress progress = counters.read();
  CHECK(progress.sent == 7);
  CHECK(progress.ok == 2);
  CHECK(progress.good == 1);
  CHECK(progress.late == 1);
  CHECK(progress.full == 1);
  CHECK(progress.failed == 2);
  CHECK(progress.unavailable == 1);
  CHECK(progress.mean_batch == 2.0);
}

TEST_CASE("quantiles are within a bucket of the truth, at any scale") {
  for (const std::int64_t scale : {100, 10'000, 1'000'000, 1'000'000'000}) {
    CAPTURE(scale);
    LoadCounters counters;
    for (int i = 1; i <= 1000; ++i) counters.count_answer(answered(i * scale), kSlo);
    const LoadProgress progress = counters.read();
    CHECK(progress.p50_ms == doctest::Approx(500e-6 * static_cast<double>(scale)).epsilon(0.045));
    CHECK(progress.p99_ms == doctest::Approx(990e-6 * static_cast<double>(scale)).epsilon(0.045));
  }
}

TEST_CASE("latencies that make no sense do not leave the histogram") {
  LoadCounters counters;
  counters.count_answer(answered(-5), kSlo);
  counters.count_answer(answered(INT64_MAX - 1000), kSlo);
  CHECK(counters.read().ok == 2);
}

TEST_CASE("quantiles and batches tell of what is new, counts of everything") {
  LoadCounters counters;
  CHECK(std::isnan(counters.read().p50_ms));
  counters.count_answer(answered(1'000'000, Outcome::kOk, 8), kSlo);
  CHECK(counters.read().mean_batch == 8.0);
  counters.count_answer(answered(64'000'000, Outcome::kOk, 2), kSlo);
  const LoadProgress progress = counters.read();
  CHECK(progress.ok == 2);
  CHECK(progress.mean_batch == 2.0);
  CHECK(progress.p50_ms == doctest::Approx(64.0).epsilon(0.045));
  CHECK(std::isnan(counters.read().mean_batch));
}

TEST_CASE("the first error stays, and reading goes on while counting does") {
  LoadCounters counters;
  std::thread writer([&counters] {
    for (int i = 0; i < 10'000; ++i) {
      counters.count_sent();
      counters.count_answer(answered(1000), kSlo);
      counters.note_error("failed: " + std::to_string(i));
    }
  });
  std::uint64_t before = 0;
  for (int i = 0; i < 100; ++i) {
    const LoadProgress progress = counters.read();
    CHECK(progress.ok <= progress.sent);
    CHECK(progress.sent >= before);
    before = progress.sent;
  }
  writer.join();
  CHECK(counters.read().ok == 10'000);
  CHECK(counters.read().first_error == "failed: 0");
}
