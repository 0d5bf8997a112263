#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "glet/batch/stats.h"
#include "glet/net/app_engine.h"
#include "glet/net/app_frames.h"
#include "glet/net/door.h"
#include "glet/net/protocol.h"
#include "glet/net/served_model.h"
#include "glet/net/slot_table.h"
#include "glet/net/time_sums.h"
#include "glet/net/trace_ring.h"
#include "glet/net/zmq.h"
#include "glet/route/admission.h"
#include "glet/route/router.h"

namespace glet::net {

// One way to a model: the executor (our number for one life of a process), the gpulet and the
// model by the executor's own numbers, and the planned weight.
struct RouteSpec {
  int executor;
  std::int32_t gpulet;
  std::int32_t model;
  double weight;
};

struct FrontendModelStats {
  std::string model;
  bool is_app = false;
  std::uint64_t received = 0, ok = 0, late = 0, full = 0, failed = 0, unavailable = 0, invalid = 0,
                cancelled = 0;
  std::uint64_t good = 0;                 // ok, answered by the deadline
  std::uint64_t retried = 0, unsent = 0;  // unsent: the client had gone, or did not read
  std::size_t outstanding = 0;
  double p50_ms = 0, p95_ms = 0, p99_ms = 0;                    // arrival to answer, of ok
  std::vector<std::pair<std::int64_t, std::uint64_t>> latency;  // Histogram::filled() of the same
  double ok_ns = 0;                                             // its sum
  double refused_ns = 0;                                        // the same of all others
  TimeSums times;                                               // of ok
};

// A request that the loop does not answer itself.
struct ControlRequest {
  std::string client;
  std::string op;
  std::optional<std::int64_t> id;
  std::string header;
};

// What the frontend does with messages: check, stamp the deadline, route, forward, answer. It has
// sockets but no thread and no clock: frontend_loop.h drives it and passes `now`.
//
//   client ROUTER --> on_client_message --> router --> link DEALER --> executor
//         <-- reply <-- pending slot <-- on_executor_message <--
class FrontendCore : private AppEngine<Message, AppFrames>::Host, private DoorHost {
 public:
  // With keys everything over tcp is encrypted; `asks_gate`: see Socket::serve_curve.
  explicit FrontendCore(const std::string& libzmq_path, CurveKeys keys = {},
                        bool asks_gate = false);

  std::string bind(const std::string& endpoint);
  const Context& context() const { return context_; }

  void set_model(const std::string& name, exec::Signature signature, double slo_ms);
  // Also of an app.
  void remove_model(const std::string& name);
  // Served under its name like a model; its stages' models are found by theirs. Throws
  // ArgumentError unless slo_ms is finite and > 0.
  void set_app(AppGraph graph, double slo_ms);
  void add_executor(int executor, const std::string& endpoint, Nanos now);
  // Its outstanding requests are retried once elsewhere, or answered unavailable.
  void remove_executor(int executor, Nanos now);
  void set_routes(const std::string& name, const std::vector<RouteSpec>& routes);
  // The part of the requests of a model or an app that is let in; the others are answered `full`.
  // Requests that apps make of a model are not refused by it: an app is let in or not as a whole.
  // Throws ArgumentError unless 0 <= part <= 1.
  void set_accept(const std::string& name, double part);
  // While it is, a model that is not known may still turn up: it is answered `unavailable`.
  void set_starting(bool starting) { starting_ = starting; }
  // Whether doors call the server ready, as long as it neither starts nor stops.
  void set_ready(bool ready) { ready_ = ready; }
  void stop_admitting(Nanos now);
  void answer(const std::string& client, const std::string& header);

  // Before the first receive(). Its descriptor is among descriptors().
  void add_door(std::unique_ptr<Door> door);
  void answer_web(std::uint64_t door, std::uint64_t call, WebAnswer answer, Nanos now);
  void add_shm(const std::string& name, std::byte* address, std::size_t size);
  void add_device_memory(const std::string& name, const exec::DeviceTensor& whole);
  void remove_shm(const std::string& name);

  // Descriptors of all sockets, to wait on after receive() said false; changes when executors come
  // and go.
  const std::vector<pollfd>& descriptors();
  // Handles a bounded burst from every socket; false when nothing waits anywhere.
  bool receive(Nanos now);
  // Pings, lost executors and overdue requests; call some times a second, after receive(). True
  // when something was sent, so that receive() has to come again before waiting.
  bool tick(Nanos now);

  // Requests, and answers of doors that are not sent yet.
  std::size_t outstanding() const;
  std::vector<FrontendModelStats> stats() const;
  TraceRing& traces() { return traces_; }

  std::function<void(ControlRequest)> on_control;
  std::function<void(int)> on_lost;
  std::function<void(WebRequest)> on_web;

 private:
  static constexpr int kNobody = -1;
  static constexpr std::size_t kLeastTargets = 64;
  static constexpr std::string_view kAppOnDevice =
      "an app takes host arrays: what its stages hand on is in the frontend; its models can be "
      "asked with device memory";

  struct Counters {
    FrontendModelStats counts;
    batch::Histogram latency;

    void answered(Nanos arrival, Nanos deadline, const ResultTimes& times, Nanos now) {
      ++counts.ok;
      counts.times.add(times, now);
      if (now <= deadline) ++counts.good;
      --counts.outstanding;
      latency.record(now - arrival);
    }
  };
  struct Model {
    std::optional<ServedModel> served;    // empty: removed; its number stays, late answers find it
    std::shared_ptr<const AppGraph> app;  // set: it is an app
    std::map<route::GpuletId, std::int32_t> remote;  // gpulet -> the executor's number for us
    Counters counters;
    route::Admission admission;
  };
  struct Link {
    std::unique_ptr<Socket> socket;
    std::uint64_t pings = 0;
    Nanos next_ping{0};
    Nanos silent_since = kNever;  // sending time of the first ping not answered
  };
  struct Target {
    int executor = kNobody;  // kNobody: the number is free
    std::int32_t gpulet = 0;
  };
  struct Pending {
    std::string client;
    std::int64_t id = 0;
    Door* door = nullptr;  // set: it asked, under `call`, and no client of the wire
    std::uint64_t call = 0;
    batch::ModelId model = 0;
    route::GpuletId gpulet = 0;
    Nanos arrival{0};
    Nanos deadline{0};
    bool retried = false;
    bool cancelled = false;       // nobody wants it: sent nowhere again
    DeviceTensors device;         // of an app's part none
    Trace trace;                  // of an app's part none: the app has it
    std::optional<AppPart> part;  // set: an app asked, not the client
    std::vector<Message> frames;  // shared with what was sent, for the retry
  };
  struct Client {
    Nanos last_seen{0};
    std::shared_ptr<std::atomic<std::size_t>> unread;  // bytes of answers that the socket has
  };

  void on_client_message(Nanos now);
  void on_hello(const std::string& client, const ClientHeader& header, Nanos now);
  void on_infer(const std::string& client, const ClientHeader& header, Nanos now);
  void on_executor_message(int executor, Link& link, Nanos now);
  void on_reply(const DataReply& reply, Nanos now);
  void forward(std::uint64_t tag, Pending& pending, route::GpuletId exclude, Nanos now);
  bool send_request(std::uint64_t tag, Pending& pending, Nanos now);
  void retry_or_refuse(std::uint64_t tag, Nanos now);
  void finish(std::uint64_t tag, exec::Outcome outcome, std::string_view message);
  void refuse(Model* model, const std::string& client, std::optional<std::int64_t> id,
              std::string_view code, std::string_view message);
  void lose(int executor, Nanos now);
  route::GpuletId target(int executor, std::int32_t gpulet);
  void free_unused_targets();
  static void count(FrontendModelStats& counts, exec::Outcome outcome);
  // Of a request that was let in and ends without a result.
  void count_refused_since(Nanos arrival, FrontendModelStats& counts) const;
  void end_trace(const Trace& trace, const Model& model, exec::Outcome outcome, Nanos arrival,
                 const ResultTimes& times = {}, const std::vector<StageTrace>& stages = {});
  void give_up_overdue(Nanos now);
  // frontend_clients.cpp
  void forget_idle_clients(Nanos now);
  bool send_to_client(const std::string& client, std::string_view header,
                      std::vector<Message>* frames);
  // frontend_cancel.cpp
  void on_cancel(const std::string& client, const ClientHeader& header);
  void cancel_asked();
  void send_cancel(Pending& pending, std::uint64_t tag);
  // frontend_apps.cpp
  // The run, 0 when it has ended at once.
  std::uint64_t start_app(Model& app, AppCaller caller, std::vector<Message> inputs);
  void on_part(const DataReply& reply, Pending& pending, Model& model, Nanos now);
  void send_part(const AppPart& part, batch::ModelId model, std::vector<Message> frames,
                 Nanos deadline, Nanos now) override;
  void app_done(const AppCaller& caller, const AppGraph& graph, std::vector<Message>& outputs,
                const ResultTimes& times, Nanos now) override;
  void app_failed(const AppCaller& caller, exec::Outcome outcome,
                  const std::string& message) override;

  // frontend_doors.cpp
  const ServedModel* find_model(std::string_view name) const override;
  bool is_ready(std::string_view name) const override;
  std::string unknown_model(std::string_view name) const override;
  bool starting() const override { return starting_; }
  bool admitting() const override { return admitting_; }
  bool server_ready() const override { return ready_ && !starting_ && admitting_; }
  std::uint64_t submit(Door& door, std::uint64_t call, std::string_view model,
                       std::vector<Message> frames, DeviceTensors device,
                       std::optional<double> deadline_ms, Nanos now) override;
  void traced_by(std::string_view traceparent) override { traceparent_ = traceparent; }
  void cancel(std::uint64_t tag) override;
  void count_refused(std::string_view model, exec::Outcome outcome) override;
  void ask_python(WebRequest request) override { on_web(std::move(request)); }
  void flush_doors(Nanos now);

  // Of a request that is not let in: the outcome and one line.
  std::optional<std::pair<exec::Outcome, std::string>> refuse_entry(Model& model,
                                                                    double deadline_ms);
  const Model* find(std::string_view name) const;
  Model* find(std::string_view name);
  batch::ModelId intern(const std::string& name);

  Context context_;
  CurveKeys keys_;
  bool asks_gate_;
  Socket clients_socket_;
  std::map<int, Link> links_;
  std::vector<std::unique_ptr<Model>> models_;  // index is the ModelId
  std::map<std::string, batch::ModelId, std::less<>> model_ids_;
  std::vector<Target> targets_;  // index is the GpuletId
  std::vector<route::GpuletId> free_targets_;
  std::size_t free_at_ = kLeastTargets;  // so many targets make it worth looking for unused ones
  route::Router router_;
  std::vector<pollfd> descriptors_;  // empty when out of date
  SlotTable<Pending> pending_;
  AppEngine<Message, AppFrames> apps_;
  std::vector<std::unique_ptr<Door>> doors_;
  std::unordered_map<std::string, Client> clients_;
  std::vector<Message> frames_;  // of the message at hand
  std::string client_;           // who sent it
  std::string scratch_;
  std::set<std::pair<std::int64_t, std::string>> cancels_;  // (id, client) of this burst
  std::set<std::string> gone_;                              // clients that nothing can be sent to
  TraceRing traces_;
  std::string traceparent_;  // of doors' requests
  Nanos now_{0};             // of the burst at hand
  bool starting_ = false;
  bool ready_ = true;
  bool admitting_ = true;
  bool forwarded_ = false;
  Nanos next_sweep_{0};
};

}  // namespace glet::net
