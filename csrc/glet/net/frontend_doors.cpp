#include <algorithm>

#include "glet/net/frontend_core.h"

// Doors in the frontend: their requests are routed, retried and counted like those of the wire.
namespace glet::net {
namespace {

constexpr double kNanosPerMilli = 1e6;
// Marks the tag of an app's run among those of requests: no table has that many slots.
constexpr std::uint64_t kRunBit = std::uint64_t{1} << 31;

}  // namespace

void FrontendCore::add_door(std::unique_ptr<Door> door) {
  door->attach(*this, doors_.size());
  doors_.push_back(std::move(door));
  descriptors_.clear();
}

void FrontendCore::answer_web(std::uint64_t door, std::uint64_t call, WebAnswer answer, Nanos now) {
  if (door < doors_.size()) doors_[door]->web_answer(call, std::move(answer), now);
}

void FrontendCore::add_shm(const std::string& name, std::byte* address, std::size_t size) {
  for (const auto& door : doors_) door->add_shm(name, address, size);
}

void FrontendCore::add_device_memory(const std::string& name, const exec::DeviceTensor& whole) {
  for (const auto& door : doors_) door->add_device_memory(name, whole);
}

void FrontendCore::remove_shm(const std::string& name) {
  for (const auto& door : doors_) door->remove_shm(name);
}

void FrontendCore::stop_admitting(Nanos now) {
  admitting_ = false;
  for (const auto& door : doors_) door->stop(now);
}

std::size_t FrontendCore::outstanding() const {
  std::size_t count = pending_.size();
  for (const auto& door : doors_) count += door->outstanding();
  return count;
}

void FrontendCore::flush_doors(Nanos now) {
  for (const auto& door : doors_) door->flush(now);
}

const ServedModel* FrontendCore::find_model(std::string_view name) const {
  const Model* model = find(name);
  return model == nullptr ? nullptr : &*model->served;
}

bool FrontendCore::is_ready(std::string_view name) const {
  const Model* model = find(name);
  if (model == nullptr) return false;
  if (!model->app) return !model->remote.empty();
  const auto& stages = model->app->stages();
  return std::all_of(stages.begin(), stages.end(), [this](const AppGraph::Stage& stage) {
    return !models_[static_cast<std::size_t>(stage.model)]->remote.empty();
  });
}

std::string FrontendCore::unknown_model(std::string_view name) const {
  std::vector<std::string> served;
  for (const auto& [known, id] : model_ids_) {
    if (models_[static_cast<std::size_t>(id)]->served) served.push_back(known);
  }
  std::string text = "no model '" + std::string(name.substr(0, 128)) + "'";
  if (const auto near = nearest_name(name, served)) return text + "; did you mean '" + *near + "'?";
  text += served.empty() ? "; none is served yet" : "; served:";
  for (const std::string& known : served) text += " " + known;
  return text;
}

std::uint64_t FrontendCore::submit(Door& door, std::uint64_t call, std::string_view name,
                                   std::vector<Message> frames, DeviceTensors device,
                                   std::optional<double> deadline_ms, Nanos now) {
  Model* model = find(name);
  if (model == nullptr) {
    door.failed(call, exec::Outcome::kUnavailable, unknown_model(name));
    return 0;
  }
  FrontendModelStats& counts = model->counters.counts;
  ++counts.received;
  const auto refused = [&](exec::Outcome outcome, std::string_view message) -> std::uint64_t {
    count(counts, outcome);
    door.failed(call, outcome, message);
    return 0;
  };
  if (model->app && device.any()) return refused(exec::Outcome::kInvalid, kAppOnDevice);
  const double budget_ms = deadline_ms.value_or(model->served->slo_ms());
  if (const auto reason = refuse_entry(*model, budget_ms)) {
    return refused(reason->first, reason->second);
  }
  const Nanos deadline = now + Nanos(static_cast<std::int64_t>(budget_ms * kNanosPerMilli));
  const batch::ModelId id = model_ids_.find(name)->second;
  Trace trace = traces_.begin(name, traceparent_);
  if (model->app) {
    const std::uint64_t run = start_app(
        *model, {{}, 0, id, now, deadline, &door, call, std::move(trace)}, std::move(frames));
    return run == 0 ? 0 : run | kRunBit;
  }
  auto [tag, pending] = pending_.take();
  pending->client.clear();
  pending->door = &door;
  pending->call = call;
  pending->model = id;
  pending->arrival = now;
  pending->deadline = deadline;
  pending->retried = pending->cancelled = false;
  pending->trace = std::move(trace);
  pending->part.reset();
  pending->device = device;
  pending->frames = std::move(frames);
  ++counts.outstanding;
  forward(tag, *pending, route::kNoGpulet, now);
  return pending_.find(tag) == nullptr ? 0 : tag;
}

void FrontendCore::cancel(std::uint64_t tag) {
  batch::ModelId id = 0;
  Nanos arrival{0};
  if ((tag & kRunBit) != 0) {
    const auto caller = apps_.cancel(tag & ~kRunBit);
    if (!caller) return;
    id = caller->app;
    arrival = caller->arrival;
    end_trace(caller->trace, *models_[static_cast<std::size_t>(id)], exec::Outcome::kCancelled,
              arrival, {}, caller->stages);
    const std::uint64_t run = tag & ~kRunBit;
    for (const std::uint64_t part : pending_.tags_where(
             [run](const Pending& pending) { return pending.part && pending.part->run == run; })) {
      send_cancel(*pending_.find(part), part);
    }
  } else {
    Pending* pending = pending_.find(tag);
    if (pending == nullptr) return;
    id = pending->model;
    arrival = pending->arrival;
    end_trace(pending->trace, *models_[static_cast<std::size_t>(id)], exec::Outcome::kCancelled,
              arrival);
    send_cancel(*pending, tag);
    router_.done(pending->model, pending->gpulet);
    pending->frames.clear();
    pending_.release(tag);
  }
  FrontendModelStats& counts = models_[static_cast<std::size_t>(id)]->counters.counts;
  --counts.outstanding;
  ++counts.cancelled;
  count_refused_since(arrival, counts);
}

void FrontendCore::count_refused(std::string_view name, exec::Outcome outcome) {
  Model* model = find(name);
  if (model == nullptr) return;
  ++model->counters.counts.received;
  count(model->counters.counts, outcome);
}

}  // namespace glet::net
