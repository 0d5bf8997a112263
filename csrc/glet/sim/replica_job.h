#pragma once

#include <cstdint>
#include <vector>

#include "glet/sim/arrivals.h"
#include "glet/sim/distribution.h"
#include "glet/sim/ledger.h"
#include "glet/sim/random.h"
#include "glet/sim/ring.h"
#include "glet/time.h"

namespace glet::sim {

enum class Dispatch {
  kShared,  // one queue; the next replica in turn that has fewer than `in_flight`
  kBlind,   // the next replica in turn whatever it has, which refuses when its own queue is long
};

struct JobSettings {
  Distribution router;   // a visit to the router; zero: there is none
  Distribution service;  // of one request on one replica
  Distribution start;    // of a replica that is new
  Nanos hot_start{0};    // of one whose place was kept
  Dispatch dispatch = Dispatch::kShared;
  int in_flight = 4;      // kShared: at a replica, the one that runs included
  int queue_limit = 50;   // a request that finds more waiting is refused
  int tokens = 0;         // kBlind: requests that a replica takes per window, 0 for any number
  Nanos token_window{0};  // a window begins with all tokens; what is left of the last is lost
  Nanos objective{0};
  double percentile = 0.99;
  // Refused requests count into the look-back's mean latency with the time that they were here, as
  // the simulator of Faro (EuroSys 2025) has it.
  bool refused_in_mean = false;
  int units = 1;     // that a replica takes of the quota
  int replicas = 1;  // that serve when it begins
};

// What the last seconds brought.
struct Lookback {
  double mean_ms = 0.0;  // NaN without any
  std::uint64_t arrived = 0;
  std::uint64_t answered = 0;
  std::uint64_t late = 0;
  std::uint64_t refused = 0;
  double busy_s = 0.0;  // of all replicas
};

// Requests of one job through its router and replicas.
//
//   arrivals --> router (one server, FIFO) --> queue --> replicas (FIFO each) --> router -->
//   answered
//                                                \--> refused
//
// A job by itself: which replicas there are is the fleet's business. Every queue is FIFO with times
// that only grow, so a visit's end is known when it begins, and the only heap is that of the
// requests on replicas. Pure: no thread, lock or clock.
class ReplicaJob {
 public:
  // Throws ArgumentError for settings that are out of range.
  ReplicaJob(const JobSettings& settings, Arrivals arrivals, Nanos interval, Nanos lookback,
             std::uint64_t seed, std::uint64_t number);

  // Everything before `until` happens.
  void run(Nanos until);
  // Nothing new comes, and what is outstanding ends, but for what waits without a replica.
  void finish();

  // A replica begins to serve, and its number; numbers are used again.
  int open(Nanos now);
  // It gets no requests any more; those it has, it runs to their end.
  void close(int replica);
  // When the last request of a closed replica ended; kNever while there are any.
  Nanos idle_since(int replica) const;
  // A closed replica without requests is no more.
  void remove(int replica);

  void set_accept(double part);
  double accept() const { return accept_; }
  Nanos start_time() { return settings_.start.sample(control_); }
  std::uint64_t outstanding() const { return outstanding_; }
  std::uint64_t arrived() const { return arrived_; }
  Lookback lookback(Nanos now) const;

  const JobSettings& settings() const { return settings_; }
  Ledger& ledger() { return ledger_; }
  const Ledger& ledger() const { return ledger_; }

 private:
  struct Visit {
    Nanos at;
    Nanos arrival;
    bool out;
  };
  struct Running {
    Nanos at;
    std::uint64_t sequence;
    Nanos arrival;
    Nanos service;
    int replica;
    bool operator>(const Running& other) const {
      return at != other.at ? at > other.at : sequence > other.sequence;
    }
  };
  struct Replica {
    Nanos free_at{0};
    int in_flight = 0;
    int tokens = 0;
    std::int64_t window = -1;
    Nanos ended{0};
    bool open = false;
    bool there = false;
  };
  struct Second {
    std::int64_t number = -1;
    std::uint32_t arrived = 0;
    std::uint32_t answered = 0;
    std::uint32_t late = 0;
    std::uint32_t refused = 0;
    double sum_ms = 0.0;
    double busy_s = 0.0;
  };

  Second& second(Nanos now) {
    if (now >= second_end_) next_second(now);
    return *second_;
  }
  void next_second(Nanos now);
  void arrive(Nanos now);
  void visit_router(Nanos arrival, Nanos now, bool out);
  void queue(Nanos arrival, Nanos now);
  void dispatch(Nanos now);
  void run_blind(Nanos arrival, Nanos now);
  void start(int replica, Nanos arrival, Nanos now);
  void end_service();
  void refuse(Nanos arrival, Nanos now);
  void answer(Nanos arrival, Nanos now);
  void shuffle();

  JobSettings settings_;
  Arrivals arrivals_;
  Ledger ledger_;
  Random router_random_;
  Random service_random_;
  Random accept_random_;
  Random control_;
  double accept_ = 1.0;
  bool has_router_;

  Ring<Visit> router_;
  Nanos router_free_{0};
  Ring<Nanos> waiting_;
  std::vector<Running> running_;
  std::uint64_t sequence_ = 0;
  std::vector<Replica> replicas_;
  std::vector<int> turn_;  // open replicas in the order of their turns
  std::size_t cursor_ = 0;
  int room_ = 0;  // requests that open replicas could still take
  std::uint64_t outstanding_ = 0;
  std::uint64_t arrived_ = 0;

  std::vector<Second> seconds_;
  Second* second_ = nullptr;
  Nanos second_end_{0};
};

}  // namespace glet::sim
