#pragma once

#include <deque>

#include "glet/batch/predictor.h"
#include "glet/batch/request.h"

namespace glet::batch {

// What lies ahead for one queue on a free gpulet: pure functions of the queue and a start time.
struct Lookahead {
  const std::deque<Request>& waiting;  // by deadline
  const Predictor& latency;
  int max_batch;
  Nanos margin;
  double
      worth_per_ns;  // requests that a nanosecond of the gpulet's time is worth beyond this queue

  // When the request at `index` has to be finished.
  Nanos due(std::size_t index) const { return earlier_by(waiting[index].deadline, margin); }

  // First request that can still finish when a batch of one starts at `start`.
  std::size_t first_alive(Nanos start) const { return first_in_time(0, start, 1, 0); }

  // First request that can be part of the largest batch that there is to run at `start` from it on,
  // with one newcomer behind all.
  std::size_t first_with_newcomer(Nanos start) const {
    return first_in_time(0, start, max_batch, 1);
  }

  // Largest batch that starts at `start` with the request at `index`, ahead of all behind it, and
  // ends in time for it.
  int fitting(std::size_t index, Nanos start) const;

  // Largest batch that there is to run from `index` on, in time or not.
  int whole(std::size_t index) const;

  // How many of the earliest deadlines to give up at `start`, so that most requests are served.
  // Those that are late even alone always; and when the deadline of the next would force a smaller
  // batch than there is to run, each batch size that giving up further heads allows is played to
  // the end of the queue, and the one that serves most wins (fewest given up among equals), less
  // what the time that it takes is worth to requests still to come. Nexus (SOSP 2019) drops until a
  // whole batch fits; here that is one of the futures looked at, taken only where it pays.
  std::size_t to_give_up(Nanos start) const;

  // What is gained when to_give_up(start) are given up: requests, less the worth of their time.
  double gain(Nanos start) const { return best(start).gain; }

  // Requests that finish in time when `first` run at `start` and whole batches follow, and nobody
  // is given up.
  int in_time(int first, Nanos start) const;

 private:
  struct Future {
    std::size_t given_up;
    double gain;
  };
  Future best(Nanos start) const;
  std::size_t first_in_time(std::size_t index, Nanos start, int cap, std::size_t newcomers) const;
  double gain_from(std::size_t index, Nanos start, int cap) const;
  double gain_of(int batch) const;
};

}  // namespace glet::batch
