#include "glet/net/frontend_core.h"

#include <algorithm>
#include <utility>

#include "glet/error.h"
#include "glet/net/frame.h"

namespace glet::net {
namespace {

constexpr Nanos kPingEvery = std::chrono::milliseconds(500);
constexpr Nanos kSilence = std::chrono::seconds(2);
constexpr Nanos kOverdue = std::chrono::seconds(10);
constexpr Nanos kSweepEvery = std::chrono::seconds(1);
constexpr double kNanosPerMilli = 1e6;
constexpr std::size_t kMostHeldByApps = std::size_t{1} << 30;

SocketOptions router_options() {
  SocketOptions options;
  options.mandatory = true;
  // Larger answers are counted by their bytes, see send_to_client().
  options.high_water_mark = 1 << 15;
  return options;
}

}  // namespace

FrontendCore::FrontendCore(const std::string& libzmq_path, CurveKeys keys, bool asks_gate)
    : context_(libzmq_path),
      keys_(std::move(keys)),
      asks_gate_(asks_gate),
      clients_socket_(context_, SocketType::kRouter, router_options()),
      apps_(*this, kMostHeldByApps) {}

std::string FrontendCore::bind(const std::string& endpoint) {
  if (!keys_.empty() && crosses_network(endpoint)) clients_socket_.serve_curve(keys_, asks_gate_);
  return clients_socket_.bind(endpoint);
}

// ---- what the plan says ----

const FrontendCore::Model* FrontendCore::find(std::string_view name) const {
  const auto found = model_ids_.find(name);
  if (found == model_ids_.end()) return nullptr;
  const Model* model = models_[static_cast<std::size_t>(found->second)].get();
  return model->served ? model : nullptr;
}

FrontendCore::Model* FrontendCore::find(std::string_view name) {
  return const_cast<Model*>(std::as_const(*this).find(name));
}

batch::ModelId FrontendCore::intern(const std::string& name) {
  const auto [entry, fresh] =
      model_ids_.try_emplace(name, static_cast<batch::ModelId>(models_.size()));
  if (fresh) {
    models_.push_back(std::make_unique<Model>());
    models_.back()->counters.counts.model = name;
  }
  return entry->second;
}

void FrontendCore::set_model(const std::string& name, exec::Signature signature, double slo_ms) {
  ServedModel served(name, std::move(signature), slo_ms);
  Model& model = *models_[static_cast<std::size_t>(intern(name))];
  model.served = std::move(served);
  model.app.reset();
}

void FrontendCore::remove_model(const std::string& name) {
  if (Model* model = find(name)) {
    router_.remove_model(model_ids_.find(name)->second);
    model->remote.clear();
    model->served.reset();
    model->app.reset();
  }
}

void FrontendCore::set_routes(const std::string& name, const std::vector<RouteSpec>& routes) {
  const batch::ModelId id = intern(name);
  free_unused_targets();
  std::vector<route::Route> chosen;
  std::map<route::GpuletId, std::int32_t> remote;
  for (const RouteSpec& spec : routes) {
    if (!links_.contains(spec.executor)) continue;  // lost while the plan was on its way
    const route::GpuletId gpulet = target(spec.executor, spec.gpulet);
    chosen.push_back({gpulet, spec.weight});
    remote[gpulet] = spec.model;
  }
  router_.set_routes(id, chosen);
  models_[static_cast<std::size_t>(id)]->remote = std::move(remote);
}

void FrontendCore::set_accept(const std::string& name, double part) {
  models_[static_cast<std::size_t>(intern(name))]->admission.set_part(part);
}

route::GpuletId FrontendCore::target(int executor, std::int32_t gpulet) {
  const auto known = std::find_if(targets_.begin(), targets_.end(), [&](const Target& target) {
    return target.executor == executor && target.gpulet == gpulet;
  });
  if (known != targets_.end()) return static_cast<route::GpuletId>(known - targets_.begin());
  if (free_targets_.empty()) {
    free_targets_.push_back(static_cast<route::GpuletId>(targets_.size()));
    targets_.emplace_back();
  }
  const route::GpuletId number = free_targets_.back();
  free_targets_.pop_back();
  targets_[static_cast<std::size_t>(number)] = {executor, gpulet};
  return number;
}

// Plans make gpulets and executors under new numbers for as long as the frontend lives. Looked for
// when their number has doubled, because every request in flight is looked at.
void FrontendCore::free_unused_targets() {
  if (!free_targets_.empty() || targets_.size() < free_at_) return;
  std::vector<bool> used(targets_.size());
  for (const auto& model : models_) {
    for (const auto& [gpulet, number] : model->remote)
      used[static_cast<std::size_t>(gpulet)] = true;
  }
  pending_.tags_where([&](const Pending& pending) {
    used[static_cast<std::size_t>(pending.gpulet)] = true;
    return false;
  });
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    if (used[i]) continue;
    const auto number = static_cast<route::GpuletId>(i);
    targets_[i] = Target{};
    router_.set_up(number, true);  // it may be another executor's next
    free_targets_.push_back(number);
  }
  free_at_ = std::max(kLeastTargets, 2 * (targets_.size() - free_targets_.size()));
}

void FrontendCore::add_executor(int executor, const std::string& endpoint, Nanos now) {
  if (links_.contains(executor)) return;
  auto socket = std::make_unique<Socket>(context_, SocketType::kDealer);
  if (!keys_.empty() && crosses_network(endpoint)) socket->use_curve(keys_, keys_.public_key);
  socket->connect(endpoint);
  Message hello = pack(hello_of_frontend());
  socket->send(hello, false);
  Link& link = links_[executor];
  link.socket = std::move(socket);
  descriptors_.clear();
  link.next_ping = now;
}

void FrontendCore::remove_executor(int executor, Nanos now) {
  now_ = now;
  if (links_.contains(executor)) lose(executor, now);
}

void FrontendCore::lose(int executor, Nanos now) {
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    if (targets_[i].executor == executor) router_.set_up(static_cast<route::GpuletId>(i), false);
  }
  links_.erase(executor);
  descriptors_.clear();
  const auto stranded = pending_.tags_where([&](const Pending& pending) {
    return targets_[static_cast<std::size_t>(pending.gpulet)].executor == executor;
  });
  for (const std::uint64_t tag : stranded) {
    if (pending_.find(tag) != nullptr) retry_or_refuse(tag, now);  // a door may cancel others
  }
}

void FrontendCore::answer(const std::string& client, const std::string& header) {
  send_to_client(client, header, nullptr);
}

const std::vector<pollfd>& FrontendCore::descriptors() {
  if (descriptors_.empty()) {
    descriptors_.push_back({clients_socket_.fd(), POLLIN, 0});
    for (const auto& [number, link] : links_) {
      descriptors_.push_back({link.socket->fd(), POLLIN, 0});
    }
    for (const auto& door : doors_) descriptors_.push_back({door->fd(), POLLIN, 0});
  }
  return descriptors_;
}

// ---- time ----

bool FrontendCore::tick(Nanos now) {
  now_ = now;
  forwarded_ = false;
  bool sent = false;
  std::vector<int> silent;
  for (auto& [number, link] : links_) {
    if (link.silent_since != kNever && now - link.silent_since > kSilence) silent.push_back(number);
    if (now < link.next_ping) continue;
    DataPing ping;
    ping.count = ++link.pings;
    Message frame = pack(ping);
    link.socket->send(frame, false);
    sent = true;
    link.next_ping = now + kPingEvery;
    if (link.silent_since == kNever) link.silent_since = now;
  }
  for (const int number : silent) {
    lose(number, now);
    on_lost(number);
  }
  if (now >= next_sweep_) {
    next_sweep_ = now + kSweepEvery;
    give_up_overdue(now);
    forget_idle_clients(now);
    sent = true;
  }
  for (const auto& door : doors_) door->tick(now);
  flush_doors(now);
  return sent || forwarded_ || !silent.empty();
}

void FrontendCore::give_up_overdue(Nanos now) {
  const auto overdue = pending_.tags_where(
      [now](const Pending& pending) { return now > pending.deadline + kOverdue; });
  for (const std::uint64_t tag : overdue) {
    const Pending* pending = pending_.find(tag);
    if (pending == nullptr) continue;  // its door has cancelled it since
    router_.done(pending->model, pending->gpulet);
    finish(tag, exec::Outcome::kUnavailable, "its executor did not answer");
  }
}

std::vector<FrontendModelStats> FrontendCore::stats() const {
  std::vector<FrontendModelStats> all;
  for (const auto& model : models_) {
    if (!model->served && model->counters.counts.received == 0) continue;
    FrontendModelStats stats = model->counters.counts;
    stats.is_app = model->app != nullptr;
    const batch::Histogram& latency = model->counters.latency;
    const auto quantile_ms = [&latency](double q) {
      return static_cast<double>(latency.quantile(q).count()) / kNanosPerMilli;
    };
    stats.p50_ms = quantile_ms(0.5);
    stats.p95_ms = quantile_ms(0.95);
    stats.p99_ms = quantile_ms(0.99);
    stats.latency = latency.filled();
    stats.ok_ns = latency.sum_ns();
    all.push_back(std::move(stats));
  }
  return all;
}

}  // namespace glet::net
