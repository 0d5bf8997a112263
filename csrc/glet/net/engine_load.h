#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "glet/event_fd.h"
#include "glet/exec/engine.h"
#include "glet/net/load_record.h"
#include "glet/route/router.h"
#include "glet/time.h"
#include "glet/timer_fd.h"

namespace glet::net {

// Where requests of a model may go: a gpulet of an engine, under the model's number there.
struct EngineRoute {
  std::shared_ptr<exec::Engine> engine;
  exec::GpuletId gpulet = 0;
  exec::ModelId model = 0;
  double weight = 1.0;  // planned rate; > 0
};

// The input bytes of one request, in the order of the model's signature.
using StagedInputs = std::vector<std::vector<std::byte>>;

struct EngineLoadModel {
  std::vector<StagedInputs> samples;
  std::vector<std::int64_t> arrivals_ns;   // sorted, from the start of the run
  std::vector<std::int32_t> sample_order;  // one per arrival; empty: samples take turns
  Nanos deadline = kNever;                 // from a request's intended time
  Nanos slo = kNever;                      // for the live count of good answers
  std::vector<EngineRoute> routes;
};

// The open loop of LoadLoop without the wire: requests go straight into engines of this process,
// by the router that a frontend has. One thread sends, one drains; neither needs the GIL, and a
// request costs no copy of its inputs beyond the engine's. Nobody else may drain those engines
// meanwhile. One run per object.
class EngineLoad {
 public:
  // `drain` is how long to wait for answers after the last request.
  explicit EngineLoad(Nanos drain) : drain_(drain) {}
  ~EngineLoad();  // close()
  EngineLoad(const EngineLoad&) = delete;
  EngineLoad& operator=(const EngineLoad&) = delete;

  // Before start. Returns the model's number in the records. Throws ArgumentError when there is no
  // sample, arrivals are not sorted, an index points at no sample, or a route is refused.
  int add_model(EngineLoadModel model);
  // Replaces a model's routes, at any time, without any: its requests are unavailable. When it
  // returns nothing more goes to a route that was left out; what is there is still waited for.
  // The engine is one that some model had a route to before the start, otherwise ArgumentError.
  void set_routes(int model, const std::vector<EngineRoute>& routes);

  void start();
  // True when the run is over, false when `timeout` passed first.
  bool wait(Nanos timeout);
  // Sends no more; what is in flight is still waited for, up to the drain limit.
  void stop();
  // Ends the run at once and lets go of the engines. Calling it twice is harmless.
  void close();

  // By model number. Safe at any time.
  std::vector<LoadProgress> progress();
  // Every request that was sent, in the order of its intended time. Throws ArgumentError before
  // the run is over.
  const std::vector<LoadRecord>& records() const;
  // When the first batch that this gpulet ran for the model began to run, on exec::now()'s clock;
  // kNever while there was none that is answered.
  Nanos first_batch(int model, const exec::Engine* engine, exec::GpuletId gpulet) const;

 private:
  struct Model {
    EngineLoadModel given;
    std::vector<std::shared_ptr<const StagedInputs>> samples;
    LoadCounters counters;
  };
  // A (engine, gpulet, model) that requests were or may be sent to; its index is the router's id.
  struct Target {
    std::size_t engine;
    exec::GpuletId gpulet;
    exec::ModelId engine_model;
    int model;
    Nanos first_batch = kNever;
  };

  void check(int model, const char* method) const;
  void route(int model, const std::vector<EngineRoute>& routes, bool may_add);
  std::size_t engine_number(const EngineRoute& route, bool may_add);
  void lay_out();
  void send_all();
  void send_due(std::size_t& next, Nanos now);
  void drain_all();
  void take(const std::vector<exec::Completion>& done, Nanos now);
  void answer_unrouted(LoadRecord& record, Nanos now);
  bool finished(Nanos now) const;

  const Nanos drain_;
  std::vector<std::unique_ptr<Model>> models_;
  std::vector<LoadRecord> records_;
  std::vector<std::int32_t> targets_of_;  // by record: its target, for the draining thread
  std::vector<std::shared_ptr<exec::Engine>> engines_;
  Nanos start_{0};
  std::vector<std::vector<exec::Submission>> bursts_;  // the sender's, by engine

  std::mutex sending_;        // a burst between its routing and its submission
  mutable std::mutex mutex_;  // after sending_; guards what follows
  route::Router router_;
  std::vector<Target> targets_;
  std::size_t sent_ = 0;
  std::size_t answered_ = 0;
  bool all_sent_ = false;
  Nanos give_up_at_ = kNever;
  bool started_ = false;
  bool over_ = false;
  std::condition_variable over_cv_;

  std::atomic<bool> stop_{false};  // send no more
  std::atomic<bool> end_{false};   // at once
  EventFd wake_sender_;
  EventFd wake_drainer_;
  TimerFd send_timer_;
  TimerFd drain_timer_;
  std::mutex join_mutex_;
  std::thread sender_;
  std::thread drainer_;
};

}  // namespace glet::net
