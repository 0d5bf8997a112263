#include "glet/net/load_loop.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "glet/error.h"
#include "glet/exec/engine.h"
#include "glet/short_slices.h"

namespace glet::net {
namespace {

// A timer wakes the thread up to some tens of microseconds late; the last stretch is polled.
constexpr Nanos kSpin = std::chrono::microseconds(20);
// Requests sent in a row before answers are looked at, when the schedule is behind.
constexpr int kBurst = 64;
constexpr std::size_t kFirstRecords = 1 << 16;

ConnectionLimits load_limits() {
  ConnectionLimits limits;
  // A request that cannot leave at its time has failed: sending it seconds later in one burst with
  // all the others would be another load than the one asked for.
  limits.hold = std::chrono::milliseconds(100);
  return limits;
}

std::int32_t largest(std::span<const std::byte> bytes) {
  std::int32_t best = -1;
  float best_value = 0.0F;
  for (std::size_t i = 0; i < bytes.size() / sizeof(float); ++i) {
    float value = 0.0F;
    std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof value);
    if (best >= 0 && !(value > best_value)) continue;
    best = static_cast<std::int32_t>(i);
    best_value = value;
  }
  return best;
}

class WirePeer : public LoadPeer {
 public:
  WirePeer(const Context& context, const std::string& address, const ClientKeys& keys)
      : connection_(context, address, load_limits(), keys) {}

  void send(const LoadRequest& asked, Nanos now, std::vector<Answer>& ended) override {
    const LoadModel& model = asked.model;
    ClientRequest request;
    request.id = asked.id;
    request.header =
        Message(encode_infer(asked.id, model.name, asked.sample.encoded_inputs, model.deadline_ms));
    request.tensors = asked.sample.tensors;
    request.give_up = asked.give_up;
    connection_.send(std::move(request), now, ended);
  }
  void pump(Nanos now, std::vector<Answer>& ended) override { connection_.pump(now, ended); }
  std::vector<PollItem> poll_items() const override {
    const auto items = connection_.poll_items();
    return {items.begin(), items.end()};
  }
  Nanos wake_at() const override { return connection_.wake_at(); }
  bool ready() const override { return connection_.ready(); }
  std::string trouble() const override { return connection_.trouble(); }
  std::size_t outstanding() const override { return connection_.outstanding(); }

 private:
  ClientConnection connection_;
};

}  // namespace

LoadLoop::LoadLoop(const std::string& address, const LoadOptions& options) : options_(options) {
  if (options.connections < 1) {
    throw ArgumentError("[LoadLoop] " + std::to_string(options.connections) +
                        " connections; at least 1 is needed");
  }
  for (int i = 0; i < options.connections; ++i) {
    watch(std::make_unique<WirePeer>(context_, address, options.keys));
  }
  polled_.push_back({nullptr, timer_.fd(), kPollIn, 0});
  polled_.push_back({nullptr, wake_.fd(), kPollIn, 0});
}

LoadLoop::LoadLoop(std::unique_ptr<LoadPeer> peer, const LoadOptions& options) : options_(options) {
  watch(std::move(peer));
  polled_.push_back({nullptr, timer_.fd(), kPollIn, 0});
  polled_.push_back({nullptr, wake_.fd(), kPollIn, 0});
}

void LoadLoop::watch(std::unique_ptr<LoadPeer> peer) {
  for (const PollItem& item : peer->poll_items()) polled_.push_back(item);
  peers_.push_back(std::move(peer));
}

LoadLoop::~LoadLoop() {
  close();
}

int LoadLoop::add_model(LoadModel model) {
  const std::lock_guard lock(mutex_);
  if (started_) throw ArgumentError("[LoadLoop.add_model] the run has started");
  check_schedule("[LoadLoop.add_model] model '" + model.name + "': ", model.samples.size(),
                 model.arrivals_ns, model.sample_order);
  models_.push_back(std::move(model));
  counters_.push_back(std::make_unique<LoadCounters>());
  return static_cast<int>(models_.size()) - 1;
}

void LoadLoop::start_open() {
  claim();
  std::size_t total = 0;
  for (const LoadModel& model : models_) total += model.arrivals_ns.size();
  records_.reserve(total);
  for (std::size_t m = 0; m < models_.size(); ++m) {
    const LoadModel& model = models_[m];
    for (std::size_t i = 0; i < model.arrivals_ns.size(); ++i) {
      LoadRecord& record = records_.emplace_back();
      record.model = static_cast<std::int32_t>(m);
      record.sample = model.sample_order.empty()
                          ? static_cast<std::int32_t>(i % model.samples.size())
                          : model.sample_order[i];
      record.intended_ns = model.arrivals_ns[i];
    }
  }
  std::stable_sort(records_.begin(), records_.end(), [](const auto& left, const auto& right) {
    return left.intended_ns < right.intended_ns;
  });
  const ShortSlices inherited;
  thread_ = std::thread([this] { run(); });
}

void LoadLoop::start_closed(const ClosedLoop& closed) {
  if (closed.in_flight < 1 || closed.requests < 1) {
    throw ArgumentError("[LoadLoop.start_closed] in_flight and requests must be at least 1");
  }
  if (closed.duration == kNever && closed.requests == INT64_MAX) {
    throw ArgumentError("[LoadLoop.start_closed] give a duration or a number of requests");
  }
  claim();
  closed_loop_ = true;
  closed_ = closed;
  sent_.assign(models_.size(), 0);
  records_.reserve(kFirstRecords);
  const ShortSlices inherited;
  thread_ = std::thread([this] { run(); });
}

void LoadLoop::claim() {
  const std::lock_guard lock(mutex_);
  if (started_) throw ArgumentError("[LoadLoop.start] one run per object; make another");
  started_ = true;
}

bool LoadLoop::wait(Nanos timeout) {
  std::unique_lock lock(mutex_);
  if (!started_) throw ArgumentError("[LoadLoop.wait] start it first");
  if (!over_cv_.wait_for(lock, timeout, [this] { return over_; })) return false;
  if (!failure_.empty()) throw PeerLostError(failure_);
  return true;
}

void LoadLoop::stop() {
  int going = kGoOn;
  stop_.compare_exchange_strong(going, kSendNoMore);
  wake_.notify();
}

void LoadLoop::close() {
  stop_.store(kEnd);
  wake_.notify();
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

std::vector<LoadProgress> LoadLoop::progress() {
  std::vector<LoadProgress> all;
  for (const auto& counters : counters_) all.push_back(counters->read());
  return all;
}

const std::vector<LoadRecord>& LoadLoop::records() const {
  const std::lock_guard lock(mutex_);
  if (!over_) throw ArgumentError("[LoadLoop.records] the run is not over; wait() for it");
  return records_;
}

void LoadLoop::run() {
  std::string failure;
  try {
    connect();
    start_ = exec::now();
    if (closed_loop_) {
      serve_closed();
    } else {
      serve_open();
    }
  } catch (const GletError& error) {
    failure = error.what();
  }
  std::erase_if(records_, [](const LoadRecord& record) { return record.sent_ns < 0; });
  finish(std::move(failure));
}

void LoadLoop::finish(std::string failure) {
  const std::lock_guard lock(mutex_);
  failure_ = std::move(failure);
  over_ = true;
  over_cv_.notify_all();
}

void LoadLoop::connect() {
  const Nanos until = exec::now() + options_.connect;
  for (;;) {
    const Nanos now = exec::now();
    std::string trouble;
    for (const auto& peer : peers_) {
      peer->pump(now, ended_);
      if (!peer->ready()) trouble = peer->trouble();
    }
    if (trouble.empty()) return;
    if (now >= until) throw PeerLostError(trouble);
    if (stop_.load() != kGoOn) throw PeerLostError("stopped before there was a connection");
    timer_.set(std::min(until, now + std::chrono::milliseconds(10)));
    poll(polled_, -1);
  }
}

void LoadLoop::serve_open() {
  std::size_t next = 0;
  for (;;) {
    if (stop_.load(std::memory_order_relaxed) != kGoOn) next = records_.size();
    for (int i = 0; i < kBurst && next < records_.size(); ++i, ++next) {
      const Nanos now = exec::now();
      if (now - start_ < Nanos(records_[next].intended_ns)) break;
      send(next, now);
    }
    pump();
    if (next < records_.size()) {
      wait_until(start_ + Nanos(records_[next].intended_ns));
    } else {
      if (drained(exec::now())) return;
      wait_until(drain_until_);
    }
  }
}

void LoadLoop::serve_closed() {
  for (int model = 0; model < static_cast<int>(models_.size()); ++model) {
    for (int i = 0; i < closed_.in_flight; ++i) refill_.push_back(model);
  }
  const Nanos end = closed_.duration == kNever ? kNever : start_ + closed_.duration;
  for (;;) {
    const Nanos now = exec::now();
    const bool over = now >= end || stop_.load(std::memory_order_relaxed) != kGoOn;
    bool sending = false;
    for (const int model : std::exchange(refill_, {})) {
      if (!over && send_next(model)) sending = true;
    }
    pump();
    if (!refill_.empty()) continue;
    if (!sending && (over || outstanding() == 0) && drained(exec::now())) return;
    wait_until(over ? drain_until_ : end);
  }
}

// Closed loop only. False when the model has had its number of requests.
bool LoadLoop::send_next(int model) {
  std::int64_t& sent = sent_[static_cast<std::size_t>(model)];
  if (sent >= closed_.requests) return false;
  const Nanos now = exec::now();
  LoadRecord& record = records_.emplace_back();
  record.model = model;
  const auto samples = models_[static_cast<std::size_t>(model)].samples.size();
  record.sample = static_cast<std::int32_t>(static_cast<std::size_t>(sent++) % samples);
  record.intended_ns = (now - start_).count();
  send(records_.size() - 1, now);
  return true;
}

void LoadLoop::send(std::size_t index, Nanos now) {
  LoadRecord& record = records_[index];
  const auto number = static_cast<std::size_t>(record.model);
  const LoadModel& model = models_[number];
  LoadRequest request{static_cast<std::int64_t>(index), model,
                      model.samples[static_cast<std::size_t>(record.sample)]};
  // In the open loop the drain limit ends what is not answered, unless a request has a limit of its
  // own. In the closed loop a lost answer must not keep its place for ever.
  request.give_up = closed_loop_ ? now + options_.drain
                                 : later_by(start_ + Nanos(record.intended_ns), options_.give_up);
  record.sent_ns = (now - start_).count();
  counters_[number]->count_sent();
  peers_[index % peers_.size()]->send(request, now, ended_);
}

void LoadLoop::pump() {
  const Nanos now = exec::now();
  for (const auto& peer : peers_) peer->pump(now, ended_);
  if (ended_.empty()) return;
  // Read again: an answer that came in during a long pump is not made to look earlier than it was.
  const Nanos answered = exec::now();
  for (const Answer& answer : ended_) record_answer(answer, answered);
  ended_.clear();
}

void LoadLoop::record_answer(const Answer& answer, Nanos now) {
  LoadRecord& record = records_[static_cast<std::size_t>(answer.id)];
  const auto number = static_cast<std::size_t>(record.model);
  record.answered_ns = (now - start_).count();
  const auto outcome = answer.ok() ? exec::Outcome::kOk : outcome_from_code(answer.code);
  record.outcome = static_cast<std::int32_t>(outcome);
  if (answer.ok()) {
    if (answer.times.batch > 0) {  // over HTTP nobody says
      record.batch = answer.times.batch;
      record.queue_us = record_us(answer.times.queued);
      record.execute_us = record_us(answer.times.executed);
    }
    const bool readable = answer.outputs && !answer.outputs->empty() &&
                          answer.outputs->front().dtype == exec::DType::kFloat32;
    if (models_[number].read_answer && readable) {
      record.answer = largest(answer.tensors.front().bytes());
    }
  } else if (outcome != exec::Outcome::kLate && outcome != exec::Outcome::kFull) {
    counters_[number]->note_error(answer.code + ": " + answer.message);
  }
  counters_[number]->count_answer(record, models_[number].slo);
  if (closed_loop_) refill_.push_back(record.model);
  // Another version will not become the right one while requests fail by the million.
  if (answer.code == "version") stop_.store(kSendNoMore);
}

bool LoadLoop::drained(Nanos now) {
  if (drain_until_ == kNever) drain_until_ = now + options_.drain;
  return outstanding() == 0 || now >= drain_until_ || stop_.load() == kEnd;
}

void LoadLoop::wait_until(Nanos until) {
  for (const auto& peer : peers_) until = std::min(until, peer->wake_at());
  const Nanos now = exec::now();
  if (until - now <= kSpin) {
    // An `until` in the past asks to look again soon, not at once.
    poll(polled_, until > Nanos(0) ? 0 : 1);
    return;
  }
  timer_.set(until == kNever ? kNever : until - kSpin / 2);
  poll(polled_, -1);
  timer_.set(kNever);
  wake_.clear();
}

std::size_t LoadLoop::outstanding() const {
  std::size_t count = 0;
  for (const auto& peer : peers_) count += peer->outstanding();
  return count;
}

}  // namespace glet::net
