#pragma once

#include <optional>

#include "glet/batch/gpulet_queue.h"
#include "glet/batch/predictor.h"
#include "glet/profile/latency_table.h"
#include "glet/time.h"

// When a gpulet may run a batch on its own share and that of a neighbour that idles. Pure: the
// worker and the simulator ask the same functions.
namespace glet::batch {

// How long batches of a model take on both shares. It learns apart from the queue of the own share,
// which never sees these batches.
class WideLatency {
 public:
  // `known`: the table is of both shares. Otherwise it is of the own one, which a wider share does
  // not exceed: the first batches are trials, and the first of them scales the table.
  WideLatency(profile::LatencyTable table, int max_batch, bool known);

  // As the queue predicts: with room for what jitters. kNever for a batch that no table knows.
  Nanos at(int batch) const;
  // Whether a batch that is expected to take `own` is so much shorter here that it is worth it, or
  // is to be tried. What was not worth it is tried again after many batches, since what never runs
  // is never measured.
  bool pays(int batch, Nanos own);
  void observe(int batch, Nanos took);

 private:
  Predictor predictor_;
  bool measured_;  // the table is of both shares by now
  int trials_;     // that are left
  int passed_ = 0;
};

// Until when a batch that begins now holds the share of `lender`, or nothing when that may not be
// lent so long. `own` and `wide` are predictions of the batch on one share and on both. The caller
// knows that no batch of the lender runs.
std::optional<Nanos> loan_until(Nanos now, Nanos own, Nanos wide, const GpuletQueue& lender);

}  // namespace glet::batch
