#include "glet/net/client_loop.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "glet/error.h"
#include "glet/exec/engine.h"
#include "glet/short_slices.h"

namespace glet::net {
namespace {

constexpr double kNanosPerMilli = 1e6;
// Longer deadlines than this are as good as none; it keeps sums of times far from overflow.
constexpr double kMaxDeadlineMs = 1e9;

Nanos from_milliseconds(double milliseconds) {
  const double clamped = std::clamp(milliseconds, 0.0, kMaxDeadlineMs);
  return Nanos(static_cast<std::int64_t>(clamped * kNanosPerMilli));
}

// Milliseconds to wait for `until`, rounded up: waking too early would only mean waiting again.
long wait_ms(Nanos until, Nanos now) {
  if (until == kNever) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
  return static_cast<long>(std::clamp<std::int64_t>(left, 1, 60'000));
}

}  // namespace

ClientLoop::ClientLoop(const std::string& address, const ClientOptions& options)
    : options_(options), connection_(context_, address, options.limits, options.keys) {
  const ShortSlices inherited;
  thread_ = std::thread([this] { run(); });
}

ClientLoop::~ClientLoop() {
  close();
}

std::int64_t ClientLoop::submit(std::string_view model, std::string_view encoded_inputs,
                                Frames tensors, std::optional<double> deadline_ms,
                                std::string_view traceparent) {
  ClientRequest request;
  const Nanos patience =
      deadline_ms ? from_milliseconds(*deadline_ms) + options_.grace : options_.timeout;
  request.give_up = exec::now() + patience;
  request.tensors = std::make_shared<const Frames>(std::move(tensors));
  {
    const std::lock_guard lock(mutex_);
    request.id = next_id_++;
  }
  request.header =
      Message(encode_infer(request.id, model, encoded_inputs, deadline_ms, traceparent));
  return enqueue(std::move(request));
}

std::int64_t ClientLoop::submit_op(std::string_view op, const std::vector<std::string>& fields) {
  ClientRequest request;
  request.give_up = exec::now() + options_.timeout;
  request.tensors = std::make_shared<const Frames>();
  {
    const std::lock_guard lock(mutex_);
    request.id = next_id_++;
  }
  request.header = Message(encode_op(op, request.id, fields));
  return enqueue(std::move(request));
}

std::int64_t ClientLoop::enqueue(ClientRequest request) {
  const std::int64_t id = request.id;
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) throw PeerLostError("[ClientLoop.submit] the client broke: " + failure_);
    if (closing_) throw PeerLostError("[ClientLoop.submit] the client is closed");
    if (!options_.announce) slots_.emplace(id, std::make_shared<Slot>());
    first = submitted_.empty();
    submitted_.push_back(std::move(request));
  }
  if (first) wake_.notify();
  return id;
}

std::optional<Answer> ClientLoop::wait(std::int64_t id, Nanos timeout) {
  std::unique_lock lock(mutex_);
  const auto found = slots_.find(id);
  if (found == slots_.end()) {
    throw ArgumentError("[ClientLoop.wait] nothing is waited for under id " + std::to_string(id));
  }
  const std::shared_ptr<Slot> slot = found->second;  // forget() may come while this waits
  const auto until = std::chrono::steady_clock::now() + timeout;
  if (!slot->ended_cv.wait_until(lock, until, [&slot] { return slot->answer.has_value(); })) {
    return std::nullopt;
  }
  Answer answer = std::move(*slot->answer);
  slots_.erase(id);
  return answer;
}

void ClientLoop::forget(std::int64_t id) {
  const std::lock_guard lock(mutex_);
  slots_.erase(id);
}

void ClientLoop::cancel(std::int64_t id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  wake_.notify();
}

std::vector<Answer> ClientLoop::drain() {
  completion_.clear();
  const std::lock_guard lock(mutex_);
  return std::exchange(announced_, {});
}

void ClientLoop::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify();
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void ClientLoop::run() {
  std::vector<Answer> ended;
  std::string reason = "the client was closed";
  try {
    serve(ended);
  } catch (const GletError& error) {
    reason = error.what();
    const std::lock_guard lock(mutex_);
    failure_ = reason;
  }
  connection_.end_all(reason, ended);
  std::vector<ClientRequest> burst;
  std::vector<std::int64_t> cancelled;
  take_submitted(burst, cancelled);
  for (const ClientRequest& request : burst) {
    Answer& answer = ended.emplace_back();
    answer.id = request.id;
    answer.code = "unavailable";
    answer.message = reason;
  }
  deliver(ended);
}

void ClientLoop::serve(std::vector<Answer>& ended) {
  const auto items = connection_.poll_items();
  std::array<PollItem, 3> polled{items[0], items[1], PollItem{nullptr, wake_.fd(), kPollIn, 0}};
  std::vector<ClientRequest> burst;
  std::vector<std::int64_t> cancelled;
  for (;;) {
    poll(polled, wait_ms(connection_.wake_at(), exec::now()));
    if (polled[2].revents != 0) wake_.clear();
    {
      const std::lock_guard lock(mutex_);
      if (closing_) return;
    }
    take_submitted(burst, cancelled);
    const Nanos now = exec::now();
    connection_.pump(now, ended);
    for (ClientRequest& request : burst) connection_.send(std::move(request), now, ended);
    burst.clear();
    for (const std::int64_t id : cancelled) connection_.cancel(id, ended);
    cancelled.clear();
    deliver(ended);
  }
}

void ClientLoop::take_submitted(std::vector<ClientRequest>& burst,
                                std::vector<std::int64_t>& cancelled) {
  const std::lock_guard lock(mutex_);
  burst.swap(submitted_);
  cancelled.swap(cancelled_);
}

void ClientLoop::deliver(std::vector<Answer>& ended) {
  if (ended.empty()) return;
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (options_.announce) {
      first = announced_.empty();
      std::move(ended.begin(), ended.end(), std::back_inserter(announced_));
    } else {
      for (Answer& answer : ended) {
        const auto found = slots_.find(answer.id);
        if (found == slots_.end()) continue;
        found->second->answer = std::move(answer);
        found->second->ended_cv.notify_one();
      }
    }
  }
  if (first) completion_.notify();
  ended.clear();
}

}  // namespace glet::net
