#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "glet/event_fd.h"
#include "glet/net/client_connection.h"
#include "glet/net/zmq.h"
#include "glet/time.h"

namespace glet::net {

struct ClientOptions {
  Nanos timeout{std::chrono::seconds(60)};  // of a request that names no deadline
  // What a request with a deadline is given on top of it: the frontend says `late` itself, this
  // is for one that says nothing.
  Nanos grace{std::chrono::seconds(5)};
  ConnectionLimits limits;
  // True: ended requests are announced on completion_fd and taken with drain(). False: with wait().
  bool announce = false;
  ClientKeys keys;
};

// A thread that owns a ClientConnection, so that any number of threads share it. Every submitted
// request ends exactly once. All methods are thread-safe.
class ClientLoop {
 public:
  // Throws ConfigError on a malformed address.
  ClientLoop(const std::string& address, const ClientOptions& options);
  ~ClientLoop();
  ClientLoop(const ClientLoop&) = delete;
  ClientLoop& operator=(const ClientLoop&) = delete;

  // Sends an infer and returns its id. `encoded_inputs` is encode_specs' form, a frame per input.
  // Throws PeerLostError after close().
  std::int64_t submit(std::string_view model, std::string_view encoded_inputs, Frames tensors,
                      std::optional<double> deadline_ms, std::string_view traceparent = {});
  // The same for ops without inputs: models, stats. Each of `fields` is one more key of the header
  // and its value, encoded.
  std::int64_t submit_op(std::string_view op, const std::vector<std::string>& fields = {});

  // The end of a request of this loop, or nothing when `timeout` passed first. Throws
  // ArgumentError for an id that is not waited for (any more).
  std::optional<Answer> wait(std::int64_t id, Nanos timeout);
  // It is not wanted any more: ends as `cancelled` when it has not been sent or still waits in a
  // queue, else as it would have. Harmless when it has ended.
  void cancel(std::int64_t id);
  // Nobody will wait for it.
  void forget(std::int64_t id);

  // Everything that has ended; completion_fd is readable while something has.
  std::vector<Answer> drain();
  int completion_fd() const { return completion_.fd(); }

  const ConnectionCounts& counts() const { return connection_.counts(); }
  // Ends what is outstanding as `unavailable`, stops the thread. Calling it twice is harmless.
  void close();

 private:
  struct Slot {
    std::condition_variable ended_cv;
    std::optional<Answer> answer;
  };

  std::int64_t enqueue(ClientRequest request);
  void run();
  void serve(std::vector<Answer>& ended);
  void take_submitted(std::vector<ClientRequest>& burst, std::vector<std::int64_t>& cancelled);
  void deliver(std::vector<Answer>& ended);

  ClientOptions options_;
  Context context_;
  ClientConnection connection_;  // the thread's, except for counts
  EventFd wake_;
  EventFd completion_;

  std::mutex mutex_;  // guards what follows
  std::int64_t next_id_ = 1;
  bool closing_ = false;
  std::string failure_;  // why the thread ended before it was told to
  std::vector<ClientRequest> submitted_;
  std::vector<std::int64_t> cancelled_;  // asked for after what is in submitted_
  std::unordered_map<std::int64_t, std::shared_ptr<Slot>> slots_;
  std::vector<Answer> announced_;

  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace glet::net
