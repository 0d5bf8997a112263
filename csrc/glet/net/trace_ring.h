#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "glet/exec/submission.h"
#include "glet/net/protocol.h"
#include "glet/time.h"

namespace glet::net {

// Who asked, by W3C Trace Context, section 3.2 (`traceparent`): ids in lower-case hexadecimal.
struct TraceParent {
  std::string trace_id;  // 32 digits
  std::string span_id;   // 16 digits
  bool sampled = false;
};

// Empty for what is no traceparent: a trace begins anew then, as the standard asks.
std::optional<TraceParent> read_traceparent(std::string_view text);

// A request that is traced: its parent, without ids where the trace begins here. Null: not traced.
using Trace = std::shared_ptr<const TraceParent>;

// A stage of an app that is traced: from its requests' going out to the last of their answers, in
// the words of the app. Times are those of the request that was answered last.
struct StageTrace {
  std::string name;
  std::string model;
  int requests = 0;
  exec::Outcome outcome = exec::Outcome::kOk;  // kCancelled: the app ended before it did
  Nanos began{0};
  Nanos ended{kNever};  // kNever: it was still under way
  ResultTimes times;
};

// One that has ended.
struct TraceRecord {
  Trace trace;
  std::string model;
  exec::Outcome outcome = exec::Outcome::kOk;
  Nanos arrival{0};
  Nanos ended{0};
  ResultTimes times;               // zero where nothing ran
  std::vector<StageTrace> stages;  // of an app those that began, in the order of its file
};

// Chooses the requests that are traced, and keeps those that ended until somebody takes them: the
// oldest go when there are more than `capacity`, and are counted. A parent's decision holds;
// without a parent one of 1/ratio is traced, evenly spaced. begin() and end() are for one thread,
// the rest for any.
class TraceRing {
 public:
  static constexpr std::size_t kCapacity = 4096;

  explicit TraceRing(std::size_t capacity = kCapacity) : capacity_(capacity) {}

  // On from now on, with this part of the requests, 0..1; models in `of_models` have their own.
  // Throws ArgumentError for a ratio that is none.
  void set_ratio(double ratio, std::map<std::string, double, std::less<>> of_models);

  Trace begin(std::string_view model, std::string_view traceparent);
  void end(TraceRecord record);

  // The records that wait, oldest first.
  std::vector<TraceRecord> take();
  std::uint64_t dropped() const;

 private:
  struct Choice {
    double ratio = 0.0;
    double owed = 0.0;  // traces that the requests so far make, less those that were begun
  };

  std::size_t capacity_;
  std::atomic<bool> on_ = false;  // apart, so that a request pays no lock where nothing traces
  mutable std::mutex mutex_;
  Choice all_;
  std::map<std::string, Choice, std::less<>> of_models_;
  std::vector<TraceRecord> ended_;  // a ring once it is full
  std::size_t oldest_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace glet::net
