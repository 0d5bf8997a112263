#include "glet/net/client_connection.h"

#include <algorithm>
#include <utility>

#include "glet/error.h"
#include "glet/net/socket_event.h"

namespace glet::net {
namespace {

constexpr Nanos kReconnectPause = std::chrono::milliseconds(500);
constexpr Nanos kSweepPause = std::chrono::milliseconds(5);
constexpr std::size_t kMaxAnswerFrames = 64;
constexpr std::size_t kMaxKnownOutputs = 256;

SocketOptions client_options() {
  SocketOptions options;
  options.immediate = true;
  return options;
}

std::string monitor_endpoint(const void* owner) {
  return "inproc://client-events-" + std::to_string(reinterpret_cast<std::uintptr_t>(owner));
}

void end(std::int64_t id, std::string_view code, std::string message, std::vector<Answer>& ended) {
  Answer& answer = ended.emplace_back();
  answer.id = id;
  answer.code = code;
  answer.message = std::move(message);
}

// Throws WireError unless the frames are what the header says.
void check_frames(const std::vector<exec::TensorSpec>& outputs, const Frames& frames) {
  if (outputs.size() != frames.size()) {
    throw WireError("the answer lists " + std::to_string(outputs.size()) + " outputs and carries " +
                    std::to_string(frames.size()) + " tensor frames");
  }
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (outputs[i].is_bytes()) {
      const std::string wrong = outputs[i].misfit(frames[i].bytes());
      if (wrong.empty()) continue;
      throw WireError("output '" + outputs[i].name + "' " + wrong);
    }
    if (outputs[i].bytes() == frames[i].size()) continue;
    throw WireError("output '" + outputs[i].name + "' has " + std::to_string(frames[i].size()) +
                    " bytes; its dtype and shape make " + std::to_string(outputs[i].bytes()));
  }
}

}  // namespace

ClientConnection::ClientConnection(const Context& context, const std::string& address,
                                   const ConnectionLimits& limits, const ClientKeys& keys)
    : address_(address),
      limits_(limits),
      socket_(context, SocketType::kDealer, client_options()),
      events_(context, SocketType::kPair),
      is_encrypted_(!keys.server_key.empty() && crosses_network(address)) {
  if (is_encrypted_) socket_.use_curve(keys.own, keys.server_key);
  socket_.monitor(monitor_endpoint(this), SocketEvent::kOfConnections);
  events_.connect(monitor_endpoint(this));
  socket_.connect(address);
}

void ClientConnection::send(ClientRequest request, Nanos now, std::vector<Answer>& ended) {
  if (state_ == State::kRejected) return end(request.id, "version", rejected_, ended);
  if (state_ != State::kReady || !held_.empty() || !transmit(request)) {
    return hold(std::move(request), now, ended);
  }
  next_sweep_ = std::min(next_sweep_, request.give_up);
  const std::int64_t id = request.id;
  in_flight_.insert_or_assign(id, std::move(request));
}

void ClientConnection::cancel(std::int64_t id, std::vector<Answer>& ended) {
  const auto held = std::find_if(held_.begin(), held_.end(),
                                 [id](const ClientRequest& request) { return request.id == id; });
  if (held != held_.end()) {
    held_.erase(held);
    return end(id, "cancelled", "taken back before it was sent", ended);
  }
  const auto sent = in_flight_.find(id);
  if (sent == in_flight_.end()) return;
  sent->second.cancelled = true;
  take_back(id);
}

void ClientConnection::take_back(std::int64_t id) {
  Message frame(encode_op("cancel", id));
  socket_.send(frame, false);
}

void ClientConnection::pump(Nanos now, std::vector<Answer>& ended) {
  read_events(now, ended);
  receive(now, ended);
  if (now >= reconnect_at_) {
    reconnect_at_ = kNever;
    socket_.disconnect(address_);
    socket_.connect(address_);
  }
  if (hello_unsent_) greet();
  flush_held(now, ended);
  expire(now, ended);
}

void ClientConnection::end_all(std::string_view reason, std::vector<Answer>& ended) {
  for (const auto& [id, request] : in_flight_) end(id, "unavailable", std::string(reason), ended);
  for (const ClientRequest& request : held_) {
    end(request.id, "unavailable", std::string(reason), ended);
  }
  in_flight_.clear();
  held_.clear();
}

std::array<PollItem, 2> ClientConnection::poll_items() const {
  return {{{socket_.raw(), 0, kPollIn, 0}, {events_.raw(), 0, kPollIn, 0}}};
}

Nanos ClientConnection::wake_at() const {
  const bool retry = hello_unsent_ || (state_ == State::kReady && !held_.empty());
  // Nanos(0) has always been reached: the caller waits as little as it can.
  return retry ? Nanos(0) : std::min(next_sweep_, reconnect_at_);
}

std::string ClientConnection::trouble() const {
  switch (state_) {
    case State::kDown:
      return failed_ == Failed::kNot
                 ? "no connection to " + address_ + "; is a frontend running there (glet up)?"
                 : why_failed();
    case State::kGreeting:
      return address_ + " accepts connections but does not answer a hello";
    case State::kRejected:
      return rejected_;
    case State::kReady:
      return address_ + " takes no more requests";
  }
  return {};
}

std::string ClientConnection::why_failed() const {
  if (failed_ == Failed::kKey) {
    return address_ + " does not let this client's key in: give a client_key that it knows, or " +
           "have its public half put into the folder client_keys there";
  }
  const bool is_sure = failed_ == Failed::kMechanism;
  if (is_encrypted_) {
    return address_ + (is_sure ? " does not speak CURVE: leave out server_key"
                               : " ends the handshake: is server_key its public key?");
  }
  return address_ + (is_sure ? " expects CURVE" : " ends the handshake and may expect CURVE") +
         ": give server_key, the public key of glet there";
}

void ClientConnection::read_events(Nanos now, std::vector<Answer>& ended) {
  Message frame;
  while (events_.receive(frame)) {
    const auto [event, value] = read_event(frame);
    if (frame.more()) events_.skip_rest();
    if (event == SocketEvent::kHandshakeSucceeded) connected();
    if (event == SocketEvent::kHandshakeFailed) handshake_failed(Failed::kBroken, now);
    if (event == SocketEvent::kHandshakeFailedAuth) handshake_failed(Failed::kKey, now);
    if (event == SocketEvent::kHandshakeFailedProtocol) {
      handshake_failed(
          value == SocketEvent::kMechanismMismatch ? Failed::kMechanism : Failed::kBroken, now);
    }
    if (event == SocketEvent::kDisconnected) disconnected(now, ended);
  }
}

// libzmq connects again after a connection that broke, and never after a refusal: it is asked to,
// as the key may have been let in meanwhile, or another frontend be there.
void ClientConnection::handshake_failed(Failed how, Nanos now) {
  if (how != Failed::kBroken || failed_ == Failed::kNot) failed_ = how;
  if (how != Failed::kBroken) reconnect_at_ = now + kReconnectPause;
}

void ClientConnection::connected() {
  failed_ = Failed::kNot;
  counts_.connects.fetch_add(1, std::memory_order_relaxed);
  state_ = State::kGreeting;
  greet();
}

void ClientConnection::disconnected(Nanos now, std::vector<Answer>& ended) {
  receive(now, ended);  // answers that came in before the end still count
  state_ = State::kDown;
  hello_unsent_ = false;
  for (const auto& [id, request] : in_flight_) {
    end(id, "unavailable", "the connection to " + address_ + " broke before the answer came",
        ended);
  }
  in_flight_.clear();
}

void ClientConnection::receive(Nanos now, std::vector<Answer>& ended) {
  Message head;
  while (socket_.receive(head)) {
    Frames tensors;
    bool more = head.more();
    while (more && tensors.size() <= kMaxAnswerFrames) {
      Message& frame = tensors.emplace_back();
      if (!socket_.receive(frame)) break;
      more = frame.more();
    }
    if (more && tensors.size() > kMaxAnswerFrames) socket_.skip_rest();
    try {
      handle(read_server_header(head.bytes()), std::move(tensors), now, ended);
    } catch (const WireError&) {
      counts_.garbage.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

void ClientConnection::handle(const ServerHeader& header, Frames tensors, Nanos now,
                              std::vector<Answer>& ended) {
  if (header.op == "hello") return handle_hello(header, ended);
  if (header.op == "error") return handle_error(header, now, ended);
  if (!header.id) throw WireError("an answer without an id");
  if (!finish(*header.id)) return;
  Answer answer;
  answer.id = *header.id;
  answer.times = header.times;
  try {
    if (header.op == "result") {
      answer.outputs = known_outputs(header.outputs);
      check_frames(*answer.outputs, tensors);
      answer.tensors = std::move(tensors);
    } else if (!header.body.empty()) {
      const auto* start = reinterpret_cast<const char*>(header.body.data());
      answer.body.assign(start, header.body.size());
    } else {
      throw WireError("neither a result nor a body");
    }
  } catch (const GletError& error) {
    counts_.garbage.fetch_add(1, std::memory_order_relaxed);
    return end(answer.id, kWireCode, address_ + " sent a malformed answer: " + error.what(), ended);
  }
  ended.push_back(std::move(answer));
}

void ClientConnection::handle_hello(const ServerHeader& header, std::vector<Answer>& ended) {
  if (state_ != State::kGreeting) return;
  if (header.version == kProtocolVersion) {
    state_ = State::kReady;
    return;
  }
  const std::string spoken = header.version ? std::to_string(*header.version) : "none";
  reject(address_ + " speaks protocol version " + spoken + "; this client speaks " +
             std::to_string(kProtocolVersion),
         ended);
}

void ClientConnection::handle_error(const ServerHeader& header, Nanos now,
                                    std::vector<Answer>& ended) {
  if (header.error == "hello_required") {
    if (state_ == State::kReady) {
      state_ = State::kGreeting;
      greet();
    }
    const auto found = header.id ? in_flight_.find(*header.id) : in_flight_.end();
    if (found == in_flight_.end()) return;
    ClientRequest request = std::move(found->second);
    in_flight_.erase(found);
    if (request.cancelled) {
      return end(request.id, "cancelled", "taken back before it was sent again", ended);
    }
    if (request.resends_left-- == 0) {
      return end(request.id, "unavailable", address_ + " asks for a hello again and again", ended);
    }
    counts_.resent.fetch_add(1, std::memory_order_relaxed);
    return hold(std::move(request), now, ended);
  }
  if (!header.id) {
    if (header.error == "version" && state_ != State::kDown) {
      return reject(std::string(header.message), ended);
    }
    throw WireError("an error without an id");
  }
  if (!finish(*header.id)) return;
  end(*header.id, header.error.empty() ? kWireCode : header.error, std::string(header.message),
      ended);
}

void ClientConnection::reject(std::string message, std::vector<Answer>& ended) {
  state_ = State::kRejected;
  rejected_ = std::move(message);
  for (const auto& [id, request] : in_flight_) end(id, "version", rejected_, ended);
  for (const ClientRequest& request : held_) end(request.id, "version", rejected_, ended);
  in_flight_.clear();
  held_.clear();
}

void ClientConnection::greet() {
  Message hello(encode_hello("client"));
  hello_unsent_ = socket_.send(hello, false) != Socket::Sent::kYes;
}

void ClientConnection::flush_held(Nanos now, std::vector<Answer>& ended) {
  while (state_ == State::kReady && !held_.empty()) {
    ClientRequest& request = held_.front();
    if (request.give_up <= now) {
      end(request.id, "unavailable", trouble(), ended);
    } else {
      if (!transmit(request)) return;
      next_sweep_ = std::min(next_sweep_, request.give_up);
      const std::int64_t id = request.id;
      in_flight_.insert_or_assign(id, std::move(request));
    }
    held_.pop_front();
  }
}

// False when the message did not leave. A connection that breaks between two frames makes libzmq
// drop the frames that follow: they are offered all the same, so that the next message starts
// clean.
bool ClientConnection::transmit(const ClientRequest& request) {
  const Frames& tensors = *request.tensors;
  Message frame = request.header.share();
  bool left = socket_.send(frame, !tensors.empty()) == Socket::Sent::kYes;
  if (!left) return false;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    frame = tensors[i].share();
    if (socket_.send(frame, i + 1 < tensors.size()) != Socket::Sent::kYes) left = false;
  }
  return left;
}

void ClientConnection::hold(ClientRequest request, Nanos now, std::vector<Answer>& ended) {
  if (held_.size() >= limits_.max_held) {
    return end(request.id, "unavailable",
               trouble() + "; " + std::to_string(held_.size()) + " requests wait for it already",
               ended);
  }
  request.held_since = now;
  next_sweep_ = std::min(next_sweep_, hold_end(request));
  held_.push_back(std::move(request));
}

Nanos ClientConnection::hold_end(const ClientRequest& request) const {
  return std::min(request.give_up, request.held_since + limits_.hold);
}

// Answers take requests out long before they expire, so a sweep over what is left, when the
// earliest could have expired, is rarer and cheaper than an ordered queue of all. What is waited
// for no longer is taken back, so that it keeps no place in a queue.
void ClientConnection::expire(Nanos now, std::vector<Answer>& ended) {
  if (now < next_sweep_) return;
  Nanos earliest = kNever;
  std::erase_if(in_flight_, [&](const auto& entry) {
    const bool expired = entry.second.give_up <= now;
    if (expired) {
      end(entry.first, "unavailable", "no answer from " + address_ + " in the time given", ended);
      if (!entry.second.cancelled) take_back(entry.first);
    } else {
      earliest = std::min(earliest, entry.second.give_up);
    }
    return expired;
  });
  std::erase_if(held_, [&](const ClientRequest& request) {
    const bool expired = hold_end(request) <= now;
    if (expired) {
      end(request.id, "unavailable", trouble(), ended);
    } else {
      earliest = std::min(earliest, hold_end(request));
    }
    return expired;
  });
  next_sweep_ = earliest == kNever ? kNever : std::max(earliest, now + kSweepPause);
}

bool ClientConnection::finish(std::int64_t id) {
  if (in_flight_.erase(id) == 1) return true;
  counts_.stale.fetch_add(1, std::memory_order_relaxed);
  return false;
}

std::shared_ptr<const std::vector<exec::TensorSpec>> ClientConnection::known_outputs(
    std::span<const std::byte> encoded) {
  std::string key(reinterpret_cast<const char*>(encoded.data()), encoded.size());
  const auto found = outputs_.find(key);
  if (found != outputs_.end()) return found->second;
  if (outputs_.size() >= kMaxKnownOutputs) outputs_.clear();
  auto specs = std::make_shared<const std::vector<exec::TensorSpec>>(decode_specs(encoded));
  return outputs_.emplace(std::move(key), std::move(specs)).first->second;
}

}  // namespace glet::net
