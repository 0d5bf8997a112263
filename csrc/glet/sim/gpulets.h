#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "glet/batch/gpulet_queue.h"
#include "glet/batch/loan.h"
#include "glet/batch/stats.h"
#include "glet/profile/latency_table.h"
#include "glet/route/admission.h"
#include "glet/route/router.h"
#include "glet/sim/arrivals.h"
#include "glet/sim/ledger.h"
#include "glet/time.h"

namespace glet::sim {

// What became of a model's requests since it was last asked.
struct ModelWindow {
  std::uint64_t offered = 0;
  std::uint64_t ok = 0;
  std::uint64_t good = 0;  // ok, answered by the deadline
  std::uint64_t late = 0;
  std::uint64_t full = 0;
  std::uint64_t unavailable = 0;
  batch::Histogram latency;  // of ok ones, arrival to answer
};

struct TenantWindow {
  std::uint64_t served = 0;
  std::uint64_t batches = 0;
  std::uint64_t borrowed = 0;  // of those, on a neighbour's share, too
  Nanos busy{0};
};

// A neighbour whose share a gpulet may borrow, and how long batches take alone on both.
struct Leave {
  route::GpuletId lender;
  std::vector<std::pair<batch::ModelId, profile::LatencyTable>> latency;
};

// Gpulets with their queues behind a router, in virtual time: the queue and the router are those
// that serve live (batch/, route/), and this is the worker's loop (exec/worker_loop.cpp) without
// its thread: give up what is late, decide, run, observe.
//
//   arrivals --> router --> gpulet: queue --> batch of real latency x slowdown --> answered
class Gpulets {
 public:
  explicit Gpulets(Nanos interval);

  // Its number. Throws ArgumentError after time has passed.
  batch::ModelId add_model(Nanos slo, Arrivals arrivals, double percentile);

  // Loads a model on a gpulet (which begins with its first model) or changes its plan there.
  // `real` is how long batches take alone, `plan.latency` what the queue believes.
  void load(route::GpuletId gpulet, batch::ModelId model, batch::ModelPlan plan,
            profile::LatencyTable real, double slowdown);
  // Takes a model from a gpulet; what waits goes to another gpulet of its routes, once.
  void unload(route::GpuletId gpulet, batch::ModelId model);
  // In place of those before. As exec/worker_loans.cpp.
  void set_loans(route::GpuletId gpulet, const std::vector<Leave>& loans);
  void set_routes(batch::ModelId model, std::span<const route::Route> routes);
  // The part of the model's requests that is let in, as the frontend does; the others are full.
  void set_accept(batch::ModelId model, double part);

  void advance(Nanos until);
  // Arrivals end, everything outstanding ends, ledgers are settled.
  void finish();

  Nanos now() const { return now_; }
  int models() const { return static_cast<int>(models_.size()); }
  std::uint64_t outstanding(batch::ModelId model) const;
  // Since the last call.
  ModelWindow take_window(batch::ModelId model);
  TenantWindow take_window(route::GpuletId gpulet, batch::ModelId model);
  double correction(route::GpuletId gpulet, batch::ModelId model) const;
  std::size_t waiting(route::GpuletId gpulet, batch::ModelId model) const;
  Ledger& ledger(batch::ModelId model);
  void hold(double units, Nanos from, Nanos to, batch::ModelId model);

 private:
  struct Model {
    Nanos slo;
    Arrivals arrivals;
    Ledger ledger;
    ModelWindow window;
    std::uint64_t outstanding = 0;
    route::Admission admission;
  };
  struct Tenant {
    batch::ModelId model;
    profile::LatencyTable real;
    double slowdown;
    TenantWindow window;
    bool leaves = false;  // once the batch that runs now has ended
  };
  struct Wide {
    profile::LatencyTable real;
    batch::WideLatency believed;
  };
  struct Loan {
    route::GpuletId lender;
    std::map<batch::ModelId, Wide> latency;
  };
  struct Gpulet {
    batch::GpuletQueue queue;
    std::vector<Tenant> tenants;
    std::vector<Loan> loans;
    route::GpuletId lender = route::kNoGpulet;  // on whose share its batch runs, too
    Nanos wide{0};                              // how long that batch takes there, alone
    bool lent = false;
    std::vector<batch::Request> running;
    batch::ModelId runs = -1;
    Nanos began{0};
    Nanos ends = kNever;        // of the batch that runs
    Nanos expected{0};          // as the queue believes
    std::uint64_t version = 0;  // of its next event; others in the heap are void
  };
  struct Event {
    Nanos at;
    std::uint64_t sequence;
    std::uint64_t version;
    std::int32_t gpulet;  // -1: an arrival of `model`
    batch::ModelId model;
    bool operator>(const Event& other) const {
      return at != other.at ? at > other.at : sequence > other.sequence;
    }
  };

  Model& model_at(batch::ModelId model);
  const Model& model_at(batch::ModelId model) const;
  Gpulet& gpulet_at(route::GpuletId gpulet);
  const Gpulet& gpulet_at(route::GpuletId gpulet) const;
  static Tenant* tenant_of(Gpulet& gpulet, batch::ModelId model);
  void schedule(Nanos at, std::int32_t gpulet, batch::ModelId model, std::uint64_t version);
  void schedule_arrival(batch::ModelId model);
  void arrive(batch::ModelId model);
  void submit(batch::ModelId model, const batch::Request& request, route::GpuletId exclude);
  void wake(route::GpuletId number);
  void step(route::GpuletId number, Gpulet& gpulet);
  void end_batch(route::GpuletId number, Gpulet& gpulet);
  // Whether a neighbour lends its share for this batch, which is about to begin.
  bool borrow(Gpulet& gpulet, const batch::GpuletDecision& decision);
  void take_back(route::GpuletId lender);
  static void learn_wide(Gpulet& gpulet, route::GpuletId lender, batch::ModelId model, int n,
                         Nanos took);
  void drop(Gpulet& gpulet, batch::ModelId model);

  Nanos interval_;
  std::vector<Model> models_;
  std::vector<Gpulet> gpulets_;
  route::Router router_;
  std::vector<Event> events_;
  std::uint64_t sequence_ = 0;
  std::uint64_t requests_ = 0;
  Nanos now_{0};
  std::vector<batch::LateRequest> late_;
};

}  // namespace glet::sim
