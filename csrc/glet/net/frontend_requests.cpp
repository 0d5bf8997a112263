#include <cmath>

#include "glet/error.h"
#include "glet/net/frame.h"
#include "glet/net/frontend_core.h"

// The life of a request: in from a client, out to an executor, and back.
namespace glet::net {
namespace {

constexpr int kBurst = 128;             // messages of one socket before the others get a turn
constexpr std::size_t kMaxFrames = 64;  // tensors of one request
constexpr double kLongestDeadlineMs = 24 * 3600 * 1e3;
constexpr double kNanosPerMilli = 1e6;

std::string format_ms(double value) {
  std::string text = std::to_string(std::round(value * 1e3) / 1e3);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

bool FrontendCore::receive(Nanos now) {
  now_ = now;
  bool more = false;
  forwarded_ = false;
  // Answers first: they free what the new requests need, and go out before those are looked at.
  for (auto& [number, link] : links_) {
    int handled = 0;
    Message frame;
    while (handled < kBurst && link.socket->receive(frame)) {
      frames_.clear();
      frames_.push_back(std::move(frame));
      while (frames_.back().more()) {
        Message next;
        if (!link.socket->receive(next)) break;
        frames_.push_back(std::move(next));
      }
      on_executor_message(number, link, now);
      ++handled;
    }
    more |= handled == kBurst;
  }
  flush_doors(now);
  int handled = 0;
  Message identity;
  while (handled < kBurst && clients_socket_.receive(identity)) {
    client_.assign(identity.text());
    if (identity.more()) on_client_message(now);
    ++handled;
  }
  for (const auto& door : doors_) more |= door->receive(now);
  if (!cancels_.empty() || !gone_.empty()) cancel_asked();
  return more || forwarded_ || handled == kBurst;
}

void FrontendCore::on_client_message(Nanos now) {
  Message head;
  if (!clients_socket_.receive(head)) return;
  frames_.clear();
  bool surplus = false;
  for (bool more = head.more(); more;) {
    Message frame;
    if (!clients_socket_.receive(frame)) break;
    more = frame.more();
    if (frames_.size() == kMaxFrames) {
      surplus = true;
      clients_socket_.skip_rest();
      break;
    }
    frames_.push_back(std::move(frame));
    if (!more) break;
  }
  ClientHeader header;
  try {
    header = read_client_header(head.bytes());
  } catch (const WireError& e) {
    return refuse(nullptr, client_, std::nullopt, "invalid_input", e.what());
  }
  if (header.op == "hello") return on_hello(client_, header, now);
  // Without a hello too: a client may have been forgotten while it waits for a long request.
  if (header.op == "cancel") return on_cancel(client_, header);
  const auto known = clients_.find(client_);
  if (known == clients_.end()) {
    return refuse(nullptr, client_, header.id, "hello_required",
                  "the first message on a connection is a hello with the protocol version");
  }
  known->second.last_seen = now;
  if (surplus) {
    return refuse(nullptr, client_, header.id, "invalid_input",
                  "more than 64 tensor frames in one message");
  }
  if (header.op == "infer") return on_infer(client_, header, now);
  on_control({client_, std::string(header.op), header.id, std::string(head.text())});
}

void FrontendCore::on_infer(const std::string& client, const ClientHeader& header, Nanos now) {
  Model* model = find(header.model);
  if (!header.id || *header.id < 0) {
    return refuse(model, client, header.id, "invalid_input",
                  "infer needs an `id`, an integer from 0 to 2^63 - 1");
  }
  if (model == nullptr && starting_) {
    return refuse(nullptr, client, header.id, "unavailable",
                  "no model '" + std::string(header.model.substr(0, 128)) +
                      "' yet: the frontend has just started and waits for its backends");
  }
  if (model == nullptr) {
    return refuse(nullptr, client, header.id, "model_not_found", unknown_model(header.model));
  }
  if (!cancels_.empty()) cancels_.erase({*header.id, client});  // of an earlier one of this id
  FrontendModelStats& counts = model->counters.counts;
  ++counts.received;
  DeviceTensors device;
  if (const auto reason = model->served->refuse(header, frames_, device)) {
    return refuse(model, client, header.id, "invalid_input", *reason);
  }
  if (model->app && device.any()) {
    return refuse(model, client, header.id, "invalid_input", kAppOnDevice);
  }
  const double deadline_ms = header.deadline_ms.value_or(model->served->slo_ms());
  if (const auto reason = refuse_entry(*model, deadline_ms)) {
    return refuse(model, client, header.id, outcome_code(reason->first), reason->second);
  }
  const Nanos deadline = now + Nanos(static_cast<std::int64_t>(deadline_ms * kNanosPerMilli));
  Trace trace = traces_.begin(header.model, header.traceparent);
  if (model->app) {
    std::vector<Message> inputs;
    std::swap(inputs, frames_);
    const auto app = model_ids_.find(header.model)->second;
    start_app(*model, {client, *header.id, app, now, deadline, nullptr, 0, std::move(trace)},
              std::move(inputs));
    return;
  }
  auto [tag, pending] = pending_.take();
  pending->client = client;
  pending->id = *header.id;
  pending->door = nullptr;
  pending->model = model_ids_.find(header.model)->second;
  pending->arrival = now;
  pending->deadline = deadline;
  pending->retried = pending->cancelled = false;
  pending->trace = std::move(trace);
  pending->part.reset();
  pending->device = device;
  pending->frames.clear();
  std::swap(pending->frames, frames_);
  ++counts.outstanding;
  forward(tag, *pending, route::kNoGpulet, now);
}

// ---- forwarding and answering ----

void FrontendCore::forward(std::uint64_t tag, Pending& pending, route::GpuletId exclude,
                           Nanos now) {
  pending.gpulet = router_.pick(pending.model, exclude);
  if (pending.gpulet == route::kNoGpulet) {
    pending.gpulet = 0;
    return finish(tag, exec::Outcome::kUnavailable,
                  "nothing that serves '" +
                      models_[static_cast<std::size_t>(pending.model)]->counters.counts.model +
                      "' can be reached");
  }
  if (!send_request(tag, pending, now)) {
    router_.done(pending.model, pending.gpulet);
    finish(tag, exec::Outcome::kFull, "the executor does not take more requests");
  }
}

bool FrontendCore::send_request(std::uint64_t tag, Pending& pending, Nanos now) {
  const Target& target = targets_[static_cast<std::size_t>(pending.gpulet)];
  DataRequest request;
  request.gpulet = target.gpulet;
  request.model =
      models_[static_cast<std::size_t>(pending.model)]->remote.find(pending.gpulet)->second;
  request.tag = tag;
  request.device = pending.device;
  request.budget_ns = (pending.deadline - now).count();
  Socket& socket = *links_.find(target.executor)->second.socket;
  Message head = pack(request);
  forwarded_ = true;  // a link was sent to after it was found empty, maybe: receive() comes again
  if (socket.send(head, !pending.frames.empty()) != Socket::Sent::kYes) return false;
  for (std::size_t i = 0; i < pending.frames.size(); ++i) {
    Message frame = pending.frames[i].share();
    socket.send(frame, i + 1 < pending.frames.size());
  }
  return true;
}

void FrontendCore::on_executor_message(int, Link& link, Nanos now) {
  const Message& head = frames_.front();
  if (head.size() == 0) return;
  switch (static_cast<DataKind>(*head.data())) {
    case DataKind::kReply: {
      DataReply reply;
      if (unpack(head, reply)) on_reply(reply, now);
      return;
    }
    case DataKind::kPong: {
      link.silent_since = kNever;
      return;
    }
    case DataKind::kHello: {
      // Said again when the executor does not know us: the connection was cut in between. Once per
      // ping at most, because that is when the executor asks.
      DataHello theirs;
      if (!unpack(head, theirs) || theirs.version != kProtocolVersion) return;
      if (theirs.role == 0) {
        Message hello = pack(hello_of_frontend());
        link.socket->send(hello, false);
      }
      return;
    }
    default:
      return;
  }
}

void FrontendCore::on_reply(const DataReply& reply, Nanos now) {
  Pending* pending = pending_.find(reply.tag);
  if (pending == nullptr) return;  // answered already: it came after its executor was given up
  Model& model = *models_[static_cast<std::size_t>(pending->model)];
  if (reply.outcome == exec::Outcome::kUnavailable) return retry_or_refuse(reply.tag, now);
  if (reply.outcome != exec::Outcome::kOk) {
    router_.done(pending->model, pending->gpulet);
    const std::string budget = format_ms(
        static_cast<double>((pending->deadline - pending->arrival).count()) / kNanosPerMilli);
    const std::string& name = model.counters.counts.model;
    if (reply.outcome == exec::Outcome::kLate) {
      return finish(reply.tag, reply.outcome,
                    "model '" + name + "' could not answer within " + budget + " ms");
    }
    if (reply.outcome == exec::Outcome::kCancelled) {
      return finish(reply.tag, reply.outcome, "taken back by the client");
    }
    if (reply.outcome == exec::Outcome::kFull) {
      return finish(reply.tag, reply.outcome, "the queue of model '" + name + "' is full");
    }
    const auto text = frames_.size() > 1 ? frames_[1].text() : std::string_view("no reason given");
    return finish(reply.tag, reply.outcome, "model '" + name + "': " + std::string(text));
  }
  router_.done(pending->model, pending->gpulet);
  frames_.erase(frames_.begin());
  if (!model.served) {
    return finish(reply.tag, exec::Outcome::kUnavailable, "the model was removed");
  }
  if (const auto reason = model.served->refuse_outputs(frames_, pending->device)) {
    return finish(reply.tag, exec::Outcome::kFailed, *reason);
  }
  if (pending->part) return on_part(reply, *pending, model, now);
  const ResultTimes times = times_of(reply);
  end_trace(pending->trace, model, exec::Outcome::kOk, pending->arrival, times);
  if (Door* door = pending->door) {
    const std::uint64_t call = pending->call;
    model.counters.answered(pending->arrival, pending->deadline, times, now);
    pending->frames.clear();
    pending_.release(reply.tag);
    return door->answered(call, *model.served, times, frames_, now);
  }
  encode_result(pending->id, model.served->encoded_outputs(), times, scratch_);
  if (!send_to_client(pending->client, scratch_, &frames_)) ++model.counters.counts.unsent;
  model.counters.answered(pending->arrival, pending->deadline, times, now);
  pending->frames.clear();
  pending_.release(reply.tag);
}

void FrontendCore::retry_or_refuse(std::uint64_t tag, Nanos now) {
  Pending& pending = *pending_.find(tag);
  router_.done(pending.model, pending.gpulet);
  if (pending.cancelled) {
    return finish(tag, exec::Outcome::kCancelled, "taken back by the client");
  }
  const bool is_unwanted = pending.part && !apps_.running(pending.part->run);
  if (pending.retried || is_unwanted || now >= pending.deadline) {
    return finish(tag, exec::Outcome::kUnavailable,
                  "the executor that had the request went away, and no time was left to retry");
  }
  pending.retried = true;
  ++models_[static_cast<std::size_t>(pending.model)]->counters.counts.retried;
  forward(tag, pending, pending.gpulet, now);
}

void FrontendCore::finish(std::uint64_t tag, exec::Outcome outcome, std::string_view message) {
  Pending& pending = *pending_.find(tag);
  Model& model = *models_[static_cast<std::size_t>(pending.model)];
  --model.counters.counts.outstanding;
  count_refused_since(pending.arrival, model.counters.counts);
  end_trace(pending.trace, model, outcome, pending.arrival);
  const std::optional<AppPart> part = pending.part;
  Door* door = pending.door;
  const std::uint64_t call = pending.call;
  if (!part && door == nullptr) {
    refuse(&model, pending.client, pending.id, outcome_code(outcome), message);
  }
  pending.frames.clear();
  pending_.release(tag);
  if (part) {
    count(model.counters.counts, outcome);
    apps_.part_failed(*part, outcome, message);
  } else if (door != nullptr) {
    count(model.counters.counts, outcome);
    door->failed(call, outcome, message);
  }
}

std::optional<std::pair<exec::Outcome, std::string>> FrontendCore::refuse_entry(
    Model& model, double deadline_ms) {
  const ServedModel& served = *model.served;
  if (!std::isfinite(deadline_ms) || deadline_ms > kLongestDeadlineMs) {
    return std::pair(exec::Outcome::kInvalid,
                     "deadline_ms " + format_ms(deadline_ms) +
                         "; valid is a number of milliseconds up to 86400000 (one day)");
  }
  if (deadline_ms <= 0) {
    return std::pair(exec::Outcome::kLate, "deadline_ms " + format_ms(deadline_ms) +
                                               " has passed already; the SLO of '" + served.name() +
                                               "' is " + format_ms(served.slo_ms()) + " ms");
  }
  if (!admitting_) {
    return std::pair(exec::Outcome::kUnavailable, std::string("this frontend is stopping"));
  }
  if (!model.admission.admit()) {
    return std::pair(exec::Outcome::kFull,
                     "'" + served.name() + "' is asked for more than can be answered in time");
  }
  return std::nullopt;
}

void FrontendCore::refuse(Model* model, const std::string& client, std::optional<std::int64_t> id,
                          std::string_view code, std::string_view message) {
  if (model != nullptr) count(model->counters.counts, outcome_from_code(code));
  send_to_client(client, encode_error(id, code, message), nullptr);
}

}  // namespace glet::net
