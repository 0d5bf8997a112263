#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "glet/event_fd.h"
#include "glet/net/client_connection.h"
#include "glet/net/load_peer.h"
#include "glet/net/load_record.h"
#include "glet/net/zmq.h"
#include "glet/time.h"
#include "glet/timer_fd.h"

namespace glet::net {

struct LoadOptions {
  int connections = 1;                      // over the wire
  Nanos connect{std::chrono::seconds(10)};  // how long to wait for the first connection
  Nanos drain{std::chrono::seconds(10)};    // how long to wait for answers after the last request
  Nanos give_up = kNever;  // open loop: from a request's intended time; `unavailable` then
  ClientKeys keys;         // of connections over the wire
};

struct ClosedLoop {
  int in_flight = 1;                  // per model
  Nanos duration = kNever;            // stop sending after
  std::int64_t requests = INT64_MAX;  // per model, at most
};

// Sends requests and records what became of each. In the open loop every request leaves at its
// intended time whatever happened to those before, and its latency counts from that time, so that
// a server that stalls is not spared the requests that would have come ("coordinated omission",
// G. Tene). In the closed loop a fixed number is in flight. One run per object.
class LoadLoop {
 public:
  // Throws ConfigError on a malformed address.
  LoadLoop(const std::string& address, const LoadOptions& options);
  // Over another protocol than the wire.
  LoadLoop(std::unique_ptr<LoadPeer> peer, const LoadOptions& options);
  ~LoadLoop();  // close()
  LoadLoop(const LoadLoop&) = delete;
  LoadLoop& operator=(const LoadLoop&) = delete;

  // Before start. Returns the model's number in the records. Throws ArgumentError when there is no
  // sample, arrivals are not sorted, or an index points at no sample.
  int add_model(LoadModel model);
  void start_open();
  void start_closed(const ClosedLoop& closed);

  // True when the run is over, false when `timeout` passed first. Throws PeerLostError when no
  // connection could be had.
  bool wait(Nanos timeout);
  // Sends no more; what is in flight is still waited for, up to the drain limit.
  void stop();
  // Ends the run at once. Calling it twice is harmless.
  void close();

  // By model number. Safe at any time.
  std::vector<LoadProgress> progress();
  // Every request that was sent, in the order of its intended time. Throws ArgumentError before
  // the run is over.
  const std::vector<LoadRecord>& records() const;

 private:
  enum Stop : int { kGoOn, kSendNoMore, kEnd };

  void watch(std::unique_ptr<LoadPeer> peer);
  void claim();
  void run();
  void connect();
  void serve_open();
  void serve_closed();
  void send(std::size_t index, Nanos now);
  bool send_next(int model);
  void pump();
  void record_answer(const Answer& answer, Nanos now);
  bool drained(Nanos now);
  void wait_until(Nanos until);
  std::size_t outstanding() const;
  void finish(std::string failure);

  LoadOptions options_;
  Context context_;
  std::vector<std::unique_ptr<LoadPeer>> peers_;  // the thread's, as all below
  std::vector<PollItem> polled_;
  TimerFd timer_;
  EventFd wake_;
  std::vector<LoadModel> models_;
  std::vector<std::unique_ptr<LoadCounters>> counters_;
  std::vector<LoadRecord> records_;
  std::vector<Answer> ended_;
  Nanos start_{0};
  Nanos drain_until_ = kNever;
  bool closed_loop_ = false;
  ClosedLoop closed_;
  std::vector<std::int64_t> sent_;  // closed loop: requests so far, per model
  std::vector<int> refill_;         // closed loop: models whose request ended

  std::atomic<int> stop_{kGoOn};
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable over_cv_;
  bool started_ = false;
  bool over_ = false;
  std::string failure_;
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace glet::net
