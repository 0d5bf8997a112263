#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "glet/sim/replica_job.h"

namespace glet::sim {

struct FleetSettings {
  int quota = 1;                       // units of all jobs together
  Nanos interval{60'000'000'000};      // of ledgers
  Nanos lookback{30'000'000'000};      // whole seconds
  Nanos retry{5'000'000'000};          // a replica without a unit asks again
  Nanos idle_timeout{30'000'000'000};  // then the place of a closed replica is given up
  Nanos monitor{5'000'000'000};        // how often that is looked at
  std::uint64_t seed = 42;
};

// Replicas of a job: `serving`, `starting` (those that wait for a unit included), what was asked
// for, and how many units are held.
struct Counts {
  int serving = 0;
  int starting = 0;
  int target = 0;
  int units = 0;
};

// Jobs with replicas under one quota, in virtual time. A replica's place is a worker: asked for, it
// waits for units, starts, serves; given up, it drains, stays idle for a while, in which it can be
// taken again sooner than a new one, and goes. Workers are few and change rarely, so requests never
// look at them, and jobs run by themselves from one such change to the next.
class Fleet {
 public:
  // Throws ArgumentError for settings out of range.
  explicit Fleet(const FleetSettings& settings);

  // Its number. The first replicas serve at once. Throws ArgumentError beyond the quota, or after
  // time has passed.
  int add(const JobSettings& settings, Arrivals arrivals);
  // The streams that a job's arrivals are drawn from, by the job's number.
  Random arrivals_random(int job) const;

  // Replicas that job shall have from now on. Newest first when there are fewer.
  void set_target(int job, int replicas);
  void set_accept(int job, double part);

  // Everything before `until` happens.
  void advance(Nanos until);
  // Arrivals end, what is outstanding is answered where there are replicas, ledgers are settled.
  void finish();

  Nanos now() const { return now_; }
  Counts counts(int job) const;
  // Units held by all jobs.
  int units() const;
  const ReplicaJob& job(int job) const;
  int jobs() const { return static_cast<int>(jobs_.size()); }

 private:
  enum class State { kWaiting, kStarting, kServing, kDraining, kIdle };
  struct Worker {
    State state;
    Nanos at;  // when its state changes, or since when it is given up or idle
    int replica = -1;
  };
  struct Entry {
    std::unique_ptr<ReplicaJob> job;
    std::vector<Worker> workers;  // oldest first
    int target = 0;
    Nanos held_since{0};
  };

  Entry& entry(int job);
  const Entry& entry(int job) const;
  Nanos next_change() const;
  void change(Nanos now);
  void place(Entry& entry, Worker& worker, Nanos now);
  void rest(Entry& entry);
  void grow(Entry& entry);
  void shrink(Entry& entry);
  void account(Entry& entry, Nanos now);
  static int held(const Entry& entry);
  static int wanted(const Entry& entry);

  FleetSettings settings_;
  std::vector<Entry> jobs_;
  Nanos now_{0};
  Nanos monitor_at_;
};

}  // namespace glet::sim
