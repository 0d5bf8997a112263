#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "glet/exec/tensor.h"
#include "glet/net/protocol.h"
#include "glet/net/zmq.h"
#include "glet/time.h"

namespace glet::net {

// The code of an answer that could not be read; every other code is one of the wire's.
inline constexpr std::string_view kWireCode = "wire";

struct ConnectionLimits {
  Nanos hold{std::chrono::seconds(5)};  // how long a request waits for a connection
  std::size_t max_held = 65'536;        // requests that wait for one
};

using Frames = std::vector<Message>;

// One request on its way. Header and tensors are kept until it ends: a frontend that asks for a
// hello did nothing with it and wants it again.
struct ClientRequest {
  std::int64_t id = 0;
  Message header;
  std::shared_ptr<const Frames> tensors;
  Nanos give_up{0};      // it ends as `unavailable` then, whatever happens, and is taken back
  Nanos held_since{0};   // set by the connection
  int resends_left = 3;  // after a hello_required
  bool cancelled = false;
};

// How a request ended. Exactly one per request given to a connection.
struct Answer {
  Answer() = default;
  Answer(Answer&&) = default;
  Answer& operator=(Answer&&) = default;
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  std::int64_t id = 0;
  std::string code;  // empty when it succeeded, else a wire code or kWireCode
  std::string message;
  ResultTimes times;
  std::shared_ptr<const std::vector<exec::TensorSpec>> outputs;  // of a result
  Frames tensors;                                                // one per output
  std::string body;                                              // of models and stats, msgpack

  bool ok() const { return code.empty(); }
};

// Written by the owner of a connection, readable from any thread.
struct ConnectionCounts {
  std::atomic<std::uint64_t> garbage{0};  // frames that could not be read or told whose they are
  std::atomic<std::uint64_t> stale{0};    // answers to requests that had ended already
  std::atomic<std::uint64_t> connects{0};
  std::atomic<std::uint64_t> resent{0};
};

// A client's connection to one frontend: a DEALER, watched for connects and disconnects. Says
// hello on every connection and sends only after it was answered; what was in flight when a
// connection broke ends as `unavailable` at once. Owned by one thread; never blocks; takes `now`.
class ClientConnection {
 public:
  // Throws ConfigError on a malformed address. Connecting goes on in the background; encrypted over
  // tcp where there is a server key.
  ClientConnection(const Context& context, const std::string& address,
                   const ConnectionLimits& limits, const ClientKeys& keys = {});

  // Sends, or holds until there is a connection. Ends that are known at once go to `ended`.
  void send(ClientRequest request, Nanos now, std::vector<Answer>& ended);
  // Takes a request back: one that was not sent ends as `cancelled`, for one that was the frontend
  // is asked to. It ends as always, then; as it would have when the frontend cannot be asked now.
  void cancel(std::int64_t id, std::vector<Answer>& ended);
  // Handles everything that has happened since the last call. Call when a poll item is ready and
  // when `wake_at` is reached.
  void pump(Nanos now, std::vector<Answer>& ended);
  // Ends everything as `unavailable`.
  void end_all(std::string_view reason, std::vector<Answer>& ended);

  std::array<PollItem, 2> poll_items() const;
  Nanos wake_at() const;
  // The hello was answered on the present connection.
  bool ready() const { return state_ == State::kReady; }
  // Requests given that have not ended.
  std::size_t outstanding() const { return in_flight_.size() + held_.size(); }
  // How a request would fail now if it were not held: why the connection is not ready.
  std::string trouble() const;
  const ConnectionCounts& counts() const { return counts_; }

 private:
  enum class State : std::uint8_t { kDown, kGreeting, kReady, kRejected };
  // Why the last handshake failed, as far as libzmq says.
  enum class Failed : std::uint8_t { kNot, kBroken, kMechanism, kKey };

  void read_events(Nanos now, std::vector<Answer>& ended);
  void handshake_failed(Failed how, Nanos now);
  std::string why_failed() const;
  void connected();
  void disconnected(Nanos now, std::vector<Answer>& ended);
  void receive(Nanos now, std::vector<Answer>& ended);
  void handle(const ServerHeader& header, Frames tensors, Nanos now, std::vector<Answer>& ended);
  void handle_hello(const ServerHeader& header, std::vector<Answer>& ended);
  void handle_error(const ServerHeader& header, Nanos now, std::vector<Answer>& ended);
  void reject(std::string message, std::vector<Answer>& ended);
  void greet();
  void flush_held(Nanos now, std::vector<Answer>& ended);
  bool transmit(const ClientRequest& request);
  void hold(ClientRequest request, Nanos now, std::vector<Answer>& ended);
  void expire(Nanos now, std::vector<Answer>& ended);
  void take_back(std::int64_t id);
  Nanos hold_end(const ClientRequest& request) const;
  bool finish(std::int64_t id);
  std::shared_ptr<const std::vector<exec::TensorSpec>> known_outputs(
      std::span<const std::byte> encoded);

  std::string address_;
  ConnectionLimits limits_;
  Socket socket_;
  Socket events_;
  State state_ = State::kDown;
  bool is_encrypted_;
  Failed failed_ = Failed::kNot;
  Nanos reconnect_at_ = kNever;  // libzmq does not by itself after some failures
  bool hello_unsent_ = false;
  std::string rejected_;  // what the frontend said about the version
  std::deque<ClientRequest> held_;
  std::unordered_map<std::int64_t, ClientRequest> in_flight_;
  Nanos next_sweep_ = kNever;  // nothing ends by time before
  // Outputs of a model look the same in every result: decoded once.
  std::unordered_map<std::string, std::shared_ptr<const std::vector<exec::TensorSpec>>> outputs_;
  ConnectionCounts counts_;
};

}  // namespace glet::net
