#include "glet/net/trace_ring.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "glet/error.h"

namespace glet::net {
namespace {

constexpr std::size_t kLength = 55;  // of version 00: 2 + 1 + 32 + 1 + 16 + 1 + 2
// Ratios like 0.1 do not add up to 1 exactly.
constexpr double kRounding = 1e-9;

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char digit) {
    return (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f');
  });
}

bool is_id(std::string_view text) {
  return is_hex(text) && text.find_first_not_of('0') != std::string_view::npos;
}

int digit_of(char digit) {
  return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

void check(double ratio, const std::string& whose) {
  if (std::isfinite(ratio) && ratio >= 0.0 && ratio <= 1.0) return;
  throw ArgumentError("[TraceRing] ratio " + std::to_string(ratio) + whose + "; 0 to 1 is valid");
}

}  // namespace

std::optional<TraceParent> read_traceparent(std::string_view text) {
  if (text.size() < kLength || text[2] != '-' || text[35] != '-' || text[52] != '-') return {};
  const std::string_view version = text.substr(0, 2);
  const std::string_view trace_id = text.substr(3, 32);
  const std::string_view span_id = text.substr(36, 16);
  const std::string_view flags = text.substr(53, 2);
  if (!is_hex(version) || version == "ff" || !is_hex(flags)) return {};
  if (!is_id(trace_id) || !is_id(span_id)) return {};
  // Later versions may have more behind another dash.
  if (text.size() > kLength && (version == "00" || text[kLength] != '-')) return {};
  return TraceParent{std::string(trace_id), std::string(span_id), (digit_of(flags[1]) & 1) != 0};
}

void TraceRing::set_ratio(double ratio, std::map<std::string, double, std::less<>> of_models) {
  check(ratio, "");
  for (const auto& [model, own] : of_models) check(own, " of model '" + model + "'");
  const std::lock_guard lock(mutex_);
  on_ = true;
  all_.ratio = ratio;
  of_models_.clear();
  for (const auto& [model, own] : of_models) of_models_[model].ratio = own;
}

Trace TraceRing::begin(std::string_view model, std::string_view traceparent) {
  if (!on_.load(std::memory_order_relaxed)) return nullptr;
  if (auto parent = read_traceparent(traceparent)) {
    if (!parent->sampled) return nullptr;
    return std::make_shared<const TraceParent>(*std::move(parent));
  }
  const std::lock_guard lock(mutex_);
  const auto own = of_models_.find(model);
  Choice& choice = own == of_models_.end() ? all_ : own->second;
  choice.owed += choice.ratio;
  if (choice.owed < 1.0 - kRounding) return nullptr;
  choice.owed -= 1.0;
  return std::make_shared<const TraceParent>();
}

void TraceRing::end(TraceRecord record) {
  const std::lock_guard lock(mutex_);
  if (ended_.size() < capacity_) {
    ended_.push_back(std::move(record));
    return;
  }
  ++dropped_;
  ended_[oldest_] = std::move(record);
  oldest_ = (oldest_ + 1) % capacity_;
}

std::vector<TraceRecord> TraceRing::take() {
  const std::lock_guard lock(mutex_);
  std::rotate(ended_.begin(), ended_.begin() + static_cast<std::ptrdiff_t>(oldest_), ended_.end());
  oldest_ = 0;
  return std::exchange(ended_, {});
}

std::uint64_t TraceRing::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

}  // namespace glet::net
