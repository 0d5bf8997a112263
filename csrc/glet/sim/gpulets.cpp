#include "glet/sim/gpulets.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "glet/error.h"

namespace glet::sim {

Gpulets::Gpulets(Nanos interval) : interval_(interval) {
  if (interval <= Nanos{0}) {
    throw ArgumentError("[sim.Gpulets] an interval of " + std::to_string(interval.count()) +
                        " ns; valid: above 0");
  }
}

batch::ModelId Gpulets::add_model(Nanos slo, Arrivals arrivals, double percentile) {
  if (slo <= Nanos{0} || now_ > Nanos{0}) {
    throw ArgumentError("[sim.Gpulets.add_model] an objective of " + std::to_string(slo.count()) +
                        " ns at " + std::to_string(now_.count()) +
                        " ns; valid: above 0, before time passes");
  }
  models_.push_back({slo, std::move(arrivals), Ledger(interval_, percentile), {}, 0, {}});
  const auto model = static_cast<batch::ModelId>(models_.size()) - 1;
  schedule_arrival(model);
  return model;
}

Gpulets::Model& Gpulets::model_at(batch::ModelId model) {
  return const_cast<Model&>(std::as_const(*this).model_at(model));
}

const Gpulets::Model& Gpulets::model_at(batch::ModelId model) const {
  if (model < 0 || model >= models()) {
    throw ArgumentError("[sim.Gpulets] model " + std::to_string(model) + "; valid: 0.." +
                        std::to_string(models() - 1));
  }
  return models_[static_cast<std::size_t>(model)];
}

Gpulets::Gpulet& Gpulets::gpulet_at(route::GpuletId gpulet) {
  return const_cast<Gpulet&>(std::as_const(*this).gpulet_at(gpulet));
}

const Gpulets::Gpulet& Gpulets::gpulet_at(route::GpuletId gpulet) const {
  if (gpulet < 0 || static_cast<std::size_t>(gpulet) >= gpulets_.size()) {
    throw ArgumentError("[sim.Gpulets] gpulet " + std::to_string(gpulet) +
                        " is not here; load a model on it first");
  }
  return gpulets_[static_cast<std::size_t>(gpulet)];
}

Gpulets::Tenant* Gpulets::tenant_of(Gpulet& gpulet, batch::ModelId model) {
  for (Tenant& tenant : gpulet.tenants) {
    if (tenant.model == model) return &tenant;
  }
  return nullptr;
}

void Gpulets::load(route::GpuletId number, batch::ModelId model, batch::ModelPlan plan,
                   profile::LatencyTable real, double slowdown) {
  constexpr route::GpuletId kMost = 1'000'000;
  model_at(model);
  if (number < 0 || number >= kMost || !(slowdown > 0.0 && slowdown <= 1e6)) {
    throw ArgumentError("[sim.Gpulets.load] gpulet " + std::to_string(number) + ", slowdown " +
                        std::to_string(slowdown) + "; valid: 0..999999, and above 0");
  }
  if (plan.limits.max_batch > real.max_batch()) {
    throw ArgumentError("[sim.Gpulets.load] a batch of " + std::to_string(plan.limits.max_batch) +
                        " was not measured; the table ends at " + std::to_string(real.max_batch()));
  }
  if (static_cast<std::size_t>(number) >= gpulets_.size()) {
    gpulets_.resize(static_cast<std::size_t>(number) + 1);
  }
  Gpulet& gpulet = gpulets_[static_cast<std::size_t>(number)];
  Tenant* found = tenant_of(gpulet, model);
  if (found != nullptr) {
    gpulet.queue.update(model, std::move(plan));
    found->real = std::move(real);
    found->slowdown = slowdown;
    found->leaves = false;
  } else {
    gpulet.queue.add(model, std::move(plan));
    gpulet.tenants.push_back({model, std::move(real), slowdown, {}, false});
  }
  wake(number);
}

void Gpulets::unload(route::GpuletId number, batch::ModelId model) {
  Gpulet& gpulet = gpulet_at(number);
  Tenant* found = tenant_of(gpulet, model);
  if (found == nullptr) {
    throw ArgumentError("[sim.Gpulets.unload] model " + std::to_string(model) +
                        " is not on gpulet " + std::to_string(number));
  }
  std::vector<batch::Request> waits;
  gpulet.queue.remove(model, waits);
  if (gpulet.runs == model) {
    found->leaves = true;
  } else {
    drop(gpulet, model);
  }
  for (const batch::Request& request : waits) {
    router_.done(model, number);
    submit(model, request, number);
  }
  wake(number);
}

void Gpulets::set_loans(route::GpuletId number, const std::vector<Leave>& loans) {
  Gpulet& gpulet = gpulet_at(number);
  std::vector<Loan> made;
  for (const Leave& leave : loans) {
    gpulet_at(leave.lender);
    if (leave.lender == number) {
      throw ArgumentError("[sim.Gpulets.set_loans] gpulet " + std::to_string(number) +
                          " cannot lend to itself");
    }
    made.push_back({leave.lender, {}});
    for (const auto& [model, real] : leave.latency) {
      made.back().latency.try_emplace(model,
                                      Wide{real, batch::WideLatency(real, real.max_batch(), true)});
    }
  }
  gpulet.loans = std::move(made);
}

bool Gpulets::borrow(Gpulet& gpulet, const batch::GpuletDecision& decision) {
  const batch::ModelId model = decision.model;
  const int n = decision.batch_size;
  const Nanos own = gpulet.queue.latency(model, n);
  for (Loan& loan : gpulet.loans) {
    Gpulet& lender = gpulet_at(loan.lender);
    const auto wide = loan.latency.find(model);
    if (wide == loan.latency.end() || lender.lent || lender.runs >= 0) continue;
    if (!wide->second.believed.pays(n, gpulet.queue.expected(model, n))) continue;
    const auto until = batch::loan_until(now_, own, wide->second.believed.at(n), lender.queue);
    if (!until) continue;
    lender.lent = true;
    lender.expected = gpulet.expected = *until;
    gpulet.lender = loan.lender;
    gpulet.wide = wide->second.real.at(n);
    return true;
  }
  return false;
}

void Gpulets::take_back(route::GpuletId number) {
  Gpulet& lender = gpulet_at(number);
  lender.lent = false;
  step(number, lender);
}

void Gpulets::drop(Gpulet& gpulet, batch::ModelId model) {
  std::erase_if(gpulet.tenants, [&](const Tenant& tenant) { return tenant.model == model; });
}

void Gpulets::set_routes(batch::ModelId model, std::span<const route::Route> routes) {
  model_at(model);
  router_.set_routes(model, routes);
}

void Gpulets::set_accept(batch::ModelId model, double part) {
  model_at(model).admission.set_part(part);
}

void Gpulets::schedule(Nanos at, std::int32_t gpulet, batch::ModelId model, std::uint64_t version) {
  if (at == kNever) return;
  events_.push_back({at, sequence_++, version, gpulet, model});
  std::push_heap(events_.begin(), events_.end(), std::greater<>());
}

void Gpulets::schedule_arrival(batch::ModelId model) {
  schedule(model_at(model).arrivals.next(), -1, model, 0);
}

void Gpulets::advance(Nanos until) {
  while (!events_.empty() && events_.front().at < until) {
    std::pop_heap(events_.begin(), events_.end(), std::greater<>());
    const Event event = events_.back();
    events_.pop_back();
    now_ = event.at;
    if (event.gpulet < 0) {
      arrive(event.model);
      continue;
    }
    Gpulet& gpulet = gpulets_[static_cast<std::size_t>(event.gpulet)];
    if (event.version != gpulet.version) continue;
    if (gpulet.runs >= 0) end_batch(event.gpulet, gpulet);
    step(event.gpulet, gpulet);
  }
  if (until != kNever) {
    now_ = std::max(now_, until);
    for (Model& model : models_) model.ledger.settle(until);
  }
}

void Gpulets::finish() {
  for (Model& model : models_) model.arrivals = Arrivals(std::vector<Nanos>{});
  std::erase_if(events_, [](const Event& event) { return event.gpulet < 0; });
  std::make_heap(events_.begin(), events_.end(), std::greater<>());
  advance(kNever);
  for (Model& model : models_) model.ledger.settle(kNever);
}

void Gpulets::arrive(batch::ModelId number) {
  Model& model = models_[static_cast<std::size_t>(number)];
  model.arrivals.pop();
  schedule_arrival(number);
  ++model.window.offered;
  model.ledger.arrive(now_);
  if (!model.admission.admit()) {
    ++model.window.full;
    model.ledger.refuse(now_);
    return;
  }
  ++model.outstanding;
  submit(number, {requests_++, now_, now_ + model.slo}, route::kNoGpulet);
}

void Gpulets::submit(batch::ModelId number, const batch::Request& request,
                     route::GpuletId exclude) {
  Model& model = models_[static_cast<std::size_t>(number)];
  const route::GpuletId target = router_.pick(number, exclude);
  const auto refuse = [&](std::uint64_t& count) {
    ++count;
    --model.outstanding;
    model.ledger.refuse(request.arrival);
  };
  if (target == route::kNoGpulet) {
    refuse(model.window.unavailable);
    return;
  }
  Gpulet& gpulet = gpulets_[static_cast<std::size_t>(target)];
  const bool idle = gpulet.runs < 0;
  if (!gpulet.queue.has(number)) {
    router_.done(number, target);
    refuse(model.window.unavailable);
    return;
  }
  const batch::Admit admit =
      gpulet.queue.push(number, request, now_, idle && !gpulet.lent ? Nanos{0} : gpulet.expected);
  if (admit == batch::Admit::kAccepted) {
    if (idle) step(target, gpulet);
    return;
  }
  router_.done(number, target);
  refuse(admit == batch::Admit::kFull ? model.window.full : model.window.late);
}

void Gpulets::wake(route::GpuletId number) {
  Gpulet& gpulet = gpulet_at(number);
  if (gpulet.runs < 0) step(number, gpulet);
}

// As exec/worker_loop.cpp, for a gpulet that runs nothing.
void Gpulets::step(route::GpuletId number, Gpulet& gpulet) {
  if (gpulet.lent) return;  // take_back() comes
  late_.clear();
  gpulet.queue.take_late(now_, late_);
  for (const batch::LateRequest& late : late_) {
    Model& model = models_[static_cast<std::size_t>(late.model)];
    ++model.window.late;
    --model.outstanding;
    model.ledger.refuse(late.request.arrival);
    router_.done(late.model, number);
  }
  ++gpulet.version;
  const batch::GpuletDecision decision = gpulet.queue.decide(now_);
  if (decision.batch_size == 0) {
    schedule(decision.wake_at, number, -1, gpulet.version);
    return;
  }
  gpulet.running.clear();
  gpulet.queue.take_batch(decision, gpulet.running);
  const Tenant& tenant = *tenant_of(gpulet, decision.model);
  gpulet.runs = decision.model;
  gpulet.began = now_;
  gpulet.expected = now_ + gpulet.queue.latency(decision.model, decision.batch_size);
  const bool wide = borrow(gpulet, decision);
  const Nanos real = wide ? gpulet.wide : tenant.real.at(decision.batch_size);
  const auto alone = static_cast<double>(real.count());
  gpulet.ends = now_ + Nanos{static_cast<Nanos::rep>(alone * tenant.slowdown)};
  schedule(gpulet.ends, number, -1, gpulet.version);
}

void Gpulets::end_batch(route::GpuletId number, Gpulet& gpulet) {
  const batch::ModelId runs = std::exchange(gpulet.runs, -1);
  Model& model = models_[static_cast<std::size_t>(runs)];
  Tenant& tenant = *tenant_of(gpulet, runs);
  const Nanos took = now_ - gpulet.began;
  for (const batch::Request& request : gpulet.running) {
    const Nanos latency = now_ - request.arrival;
    const bool good = now_ <= request.deadline;
    model.ledger.complete(request.arrival, latency, good);
    model.window.good += good;
    model.window.latency.record(latency);
    router_.done(runs, number);
  }
  model.window.ok += gpulet.running.size();
  model.outstanding -= gpulet.running.size();
  tenant.window.served += gpulet.running.size();
  ++tenant.window.batches;
  tenant.window.busy += took;
  const auto count = static_cast<int>(gpulet.running.size());
  const route::GpuletId lender = std::exchange(gpulet.lender, route::kNoGpulet);
  tenant.window.borrowed += lender != route::kNoGpulet;
  if (gpulet.queue.has(runs)) {
    if (lender == route::kNoGpulet) {
      gpulet.queue.observe(runs, count, took);
    } else {
      gpulet.queue.count(runs, took);
      learn_wide(gpulet, lender, runs, count, took);
    }
  }
  if (tenant.leaves) drop(gpulet, runs);
  if (lender != route::kNoGpulet) take_back(lender);
}

void Gpulets::learn_wide(Gpulet& gpulet, route::GpuletId lender, batch::ModelId model, int n,
                         Nanos took) {
  for (Loan& loan : gpulet.loans) {
    const auto wide = loan.latency.find(model);
    if (loan.lender == lender && wide != loan.latency.end()) {
      wide->second.believed.observe(n, took);
    }
  }
}

std::uint64_t Gpulets::outstanding(batch::ModelId model) const {
  return model_at(model).outstanding;
}

ModelWindow Gpulets::take_window(batch::ModelId model) {
  return std::exchange(model_at(model).window, {});
}

TenantWindow Gpulets::take_window(route::GpuletId number, batch::ModelId model) {
  Tenant* found = tenant_of(gpulet_at(number), model);
  return found == nullptr ? TenantWindow{} : std::exchange(found->window, {});
}

double Gpulets::correction(route::GpuletId number, batch::ModelId model) const {
  const Gpulet& gpulet = gpulet_at(number);
  return gpulet.queue.has(model) ? gpulet.queue.correction(model) : 1.0;
}

std::size_t Gpulets::waiting(route::GpuletId number, batch::ModelId model) const {
  const Gpulet& gpulet = gpulet_at(number);
  return gpulet.queue.has(model) ? gpulet.queue.size(model) : 0;
}

Ledger& Gpulets::ledger(batch::ModelId model) {
  return model_at(model).ledger;
}

void Gpulets::hold(double units, Nanos from, Nanos to, batch::ModelId model) {
  ledger(model).hold(units, from, to);
}

}  // namespace glet::sim
