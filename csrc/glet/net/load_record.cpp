#include "glet/net/load_record.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "glet/error.h"

namespace glet::net {
namespace {

constexpr double kNanosPerMilli = 1e6;
constexpr std::int64_t kNanosPerMicro = 1000;
constexpr int kBucketBits = 4;

// The four bits below the leading one choose among the 16 buckets of a doubling.
std::size_t bucket_of(std::int64_t latency_ns) {
  const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(latency_ns, 16));
  const int exponent = 63 - std::countl_zero(value);
  const std::uint64_t mantissa = value >> (exponent - kBucketBits) & 15;
  return static_cast<std::size_t>(exponent) * 16 + mantissa;
}

double bucket_middle_ns(std::size_t bucket) {
  const double mantissa = 16.5 + static_cast<double>(bucket % 16);
  return std::ldexp(mantissa / 16.0, static_cast<int>(bucket / 16));
}

}  // namespace

std::int32_t record_us(Nanos time) {
  const std::int64_t value = time.count() / kNanosPerMicro;
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, 0, INT32_MAX));
}

void check_schedule(const std::string& where, std::size_t samples,
                    const std::vector<std::int64_t>& arrivals_ns,
                    const std::vector<std::int32_t>& sample_order) {
  const auto fail = [&where](const std::string& what) { throw ArgumentError(where + what); };
  if (samples == 0) fail("no samples; give at least one");
  if (!std::is_sorted(arrivals_ns.begin(), arrivals_ns.end())) fail("arrivals are not sorted");
  if (!arrivals_ns.empty() && arrivals_ns.front() < 0) fail("an arrival is below 0");
  if (!sample_order.empty() && sample_order.size() != arrivals_ns.size()) {
    fail(std::to_string(sample_order.size()) + " sample indices for " +
         std::to_string(arrivals_ns.size()) + " arrivals; give one each, or none");
  }
  for (const std::int32_t index : sample_order) {
    if (index >= 0 && static_cast<std::size_t>(index) < samples) continue;
    fail("sample index " + std::to_string(index) + "; valid are 0 to " +
         std::to_string(samples - 1));
  }
}

void LoadCounters::count_answer(const LoadRecord& record, Nanos slo) {
  if (record.outcome < kUnanswered) add(outcomes_[static_cast<std::size_t>(record.outcome)], 1);
  if (record.outcome != static_cast<std::int32_t>(exec::Outcome::kOk)) return;
  const std::int64_t latency_ns = record.answered_ns - record.intended_ns;
  if (latency_ns <= slo.count()) add(good_, 1);
  add(batches_, static_cast<std::uint64_t>(std::max(record.batch, 0)));
  add(latency_[bucket_of(latency_ns)], 1);
}

void LoadCounters::note_error(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (first_error_.empty()) first_error_ = text;
}

LoadProgress LoadCounters::read() {
  const auto outcome = [this](exec::Outcome which) {
    return outcomes_[static_cast<std::size_t>(which)].load(std::memory_order_acquire);
  };
  LoadProgress progress;
  progress.ok = outcome(exec::Outcome::kOk);
  progress.late = outcome(exec::Outcome::kLate);
  progress.full = outcome(exec::Outcome::kFull);
  progress.unavailable = outcome(exec::Outcome::kUnavailable);
  progress.failed = outcome(exec::Outcome::kFailed) + outcome(exec::Outcome::kInvalid);
  progress.cancelled = outcome(exec::Outcome::kCancelled);
  progress.good = good_.load(std::memory_order_relaxed);
  progress.sent = sent_.load(std::memory_order_relaxed);

  const std::lock_guard lock(mutex_);
  progress.first_error = first_error_;
  Histogram recent{};
  for (std::size_t i = 0; i < kBuckets; ++i) {
    const std::uint64_t count = latency_[i].load(std::memory_order_relaxed);
    recent[i] = count - seen_latency_[i];
    seen_latency_[i] = count;
  }
  progress.p50_ms = quantile_ms(recent, 0.50);
  progress.p99_ms = quantile_ms(recent, 0.99);
  const std::uint64_t batches = batches_.load(std::memory_order_relaxed);
  const std::uint64_t answered = progress.ok - seen_ok_;
  // A peer may not say in which batch a request ran.
  progress.mean_batch =
      answered == 0 || batches == seen_batches_
          ? std::numeric_limits<double>::quiet_NaN()
          : static_cast<double>(batches - seen_batches_) / static_cast<double>(answered);
  seen_ok_ = progress.ok;
  seen_batches_ = batches;
  return progress;
}

double LoadCounters::quantile_ms(const Histogram& histogram, double quantile) {
  std::uint64_t total = 0;
  for (const std::uint64_t count : histogram) total += count;
  if (total == 0) return std::numeric_limits<double>::quiet_NaN();
  const auto rank = static_cast<std::uint64_t>(std::ceil(quantile * static_cast<double>(total)));
  std::uint64_t below = 0;
  std::size_t bucket = 0;
  for (; bucket + 1 < kBuckets; ++bucket) {
    below += histogram[bucket];
    if (below >= rank) break;
  }
  return bucket_middle_ns(bucket) / kNanosPerMilli;
}

}  // namespace glet::net
