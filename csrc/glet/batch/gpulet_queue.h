#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "glet/batch/deadline_queue.h"

namespace glet::batch {

struct ModelPlan {
  profile::LatencyTable latency;
  QueueLimits limits;
  double time_share = 1.0;  // of the gpulet's time, promised to this model by the plan, 0..1
};

struct GpuletDecision {
  ModelId model = -1;
  int batch_size = 0;      // 0 means wait
  Nanos wake_at = kNever;  // with batch_size 0: when to ask again
};

struct LateRequest {
  ModelId model;
  Request request;
};

// All queues of one gpulet. The earliest deadline goes first, unless another batch first saves one
// that would be late. Under overload
// (running one model's batch now makes another ready model late), time is shared by what the plan
// promised: the model furthest below its time_share goes first. Idle time is never wasted on
// promises: a model alone may use everything.
class GpuletQueue {
 public:
  // Throws ArgumentError when the model is there already (add) or not there (the others).
  void add(ModelId model, ModelPlan plan);
  void update(ModelId model, ModelPlan plan);
  // Removes a model; what waited is appended to `out`.
  void remove(ModelId model, std::vector<Request>& out);
  bool has(ModelId model) const;

  // `busy_until`: when the batch that runs now is expected to end (<= now when idle).
  Admit push(ModelId model, const Request& request, Nanos now, Nanos busy_until);
  void take_late(Nanos now, std::vector<LateRequest>& late);
  GpuletDecision decide(Nanos now) const;
  void take_batch(const GpuletDecision& decision, std::vector<Request>& out);
  // See DeadlineQueue::cancel; a model that is not here has nothing waiting.
  std::optional<Request> cancel(ModelId model, Nanos deadline,
                                const std::function<bool(std::uint64_t)>& is_it);
  // A batch ended: corrects the model's latency and counts its use of time.
  void observe(ModelId model, int batch, Nanos took);
  // A batch ended that ran on more than this gpulet: its use of time counts, its latency is none of
  // this share.
  void count(ModelId model, Nanos took);

  // Until when the gpulet may stand still from `now` on, so that whatever its models may be asked
  // for from now on ends in time by the predicted latencies: a whole batch of each at once now,
  // earliest deadline first. Nanos::min() when something waits or it is not known how much time a
  // model's requests have; kNever without models.
  Nanos lends_until(Nanos now) const;

  Nanos latency(ModelId model, int batch) const;
  // Without the predictor's room for jitter.
  Nanos expected(ModelId model, int batch) const;
  double correction(ModelId model) const;
  std::size_t size() const;
  std::size_t size(ModelId model) const;

 private:
  struct Entry {
    ModelId model;
    DeadlineQueue queue;
    double time_share;
    double used_ns;  // virtual: time used / time_share
  };
  // A model whose next batch is known; `latest` is when it has to start for its head to be in time.
  struct Next {
    std::size_t index;
    int batch;
    Nanos length;
    Nanos due;
    Nanos latest;
  };

  Entry& entry(ModelId model, const char* where);
  const Entry& entry(ModelId model, const char* where) const;
  std::vector<Next> next_batches(Nanos now, Nanos& wake_at) const;
  bool harmless(const Next& first, const std::vector<Next>& all, Nanos now) const;
  int harmless_part(const Next& first, const std::vector<Next>& all, Nanos now) const;
  const Next& furthest_below_share(const std::vector<Next>& all) const;

  std::vector<Entry> entries_;
};

}  // namespace glet::batch
