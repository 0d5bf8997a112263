#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "glet/exec/engine.h"
#include "glet/net/client_connection.h"
#include "glet/time.h"

namespace glet::net {

// The values of exec::Outcome, and one for requests that were never answered.
inline constexpr std::int32_t kUnanswered = 7;

// One request of a load run. Times count from the start of the run; -1 where there is none.
struct LoadRecord {
  std::int32_t model = 0;
  std::int32_t sample = 0;
  std::int64_t intended_ns = 0;
  std::int64_t sent_ns = -1;
  std::int64_t answered_ns = -1;
  std::int32_t outcome = kUnanswered;
  std::int32_t batch = 0;
  std::int32_t queue_us = -1;
  std::int32_t execute_us = -1;
  std::int32_t answer = -1;  // index of the largest element of the first output, when asked for
};

struct LoadSample {
  std::string encoded_inputs;  // over HTTP the whole request
  std::shared_ptr<const Frames> tensors;
};

struct LoadModel {
  std::string name;
  std::vector<LoadSample> samples;
  std::vector<std::int64_t> arrivals_ns;   // open loop: sorted, from the start of the run
  std::vector<std::int32_t> sample_order;  // one per arrival; empty: samples take turns
  std::optional<double> deadline_ms;       // sent with every request
  Nanos slo = kNever;                      // for the live count of good answers
  bool read_answer = false;
  std::size_t answer_bytes = 0;  // over HTTP: of the first output, float32, when it is to be read
};

// A duration of a record: whole microseconds, 0 to the largest that fits.
std::int32_t record_us(Nanos time);

// Throws ArgumentError, its text begun by `where`, when there is no sample, arrivals are not sorted
// or below 0, or `sample_order` is neither empty nor an index of a sample for each.
void check_schedule(const std::string& where, std::size_t samples,
                    const std::vector<std::int64_t>& arrivals_ns,
                    const std::vector<std::int32_t>& sample_order);

// A model's counters since the start; quantiles and mean batch since the previous reading.
struct LoadProgress {
  std::uint64_t sent = 0, ok = 0, good = 0, late = 0, full = 0, failed = 0, unavailable = 0,
                cancelled = 0;
  double p50_ms = 0.0, p99_ms = 0.0;  // NaN when nothing was answered in between
  double mean_batch = 0.0;
  std::string first_error;  // code and message of the first failed answer
};

// Counters of one model: written by the load thread, read by any other at any time.
class LoadCounters {
 public:
  void count_sent() { add(sent_, 1); }
  void count_answer(const LoadRecord& record, Nanos slo);
  void note_error(const std::string& text);
  LoadProgress read();

 private:
  // 16 buckets per doubling: a quantile is at most 4.5 % off.
  static constexpr int kBucketsPerDoubling = 16;
  static constexpr std::size_t kBuckets = 64 * kBucketsPerDoubling;
  using Counter = std::atomic<std::uint64_t>;
  using Histogram = std::array<std::uint64_t, kBuckets>;

  // One writer, so a load and a store do; no locked instruction. Released, so that whoever sees an
  // answer counted also sees its request counted.
  static void add(Counter& counter, std::uint64_t count) {
    counter.store(counter.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }
  static double quantile_ms(const Histogram& histogram, double quantile);

  Counter sent_{0};
  std::array<Counter, kUnanswered> outcomes_{};
  Counter good_{0};
  Counter batches_{0};  // sum of the batch sizes of ok answers
  std::array<Counter, kBuckets> latency_{};

  std::mutex mutex_;  // guards what follows
  std::string first_error_;
  std::uint64_t seen_ok_ = 0;
  std::uint64_t seen_batches_ = 0;
  Histogram seen_latency_{};
};

}  // namespace glet::net
