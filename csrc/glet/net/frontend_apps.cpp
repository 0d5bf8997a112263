#include "glet/net/frontend_core.h"

// Apps in the frontend: their requests are requests of models like any other, only that the answers
// go to the app that asked.
namespace glet::net {

void FrontendCore::set_app(AppGraph graph, double slo_ms) {
  ServedModel served(graph.name(), graph.signature(), slo_ms);
  for (std::size_t i = 0; i < graph.stages().size(); ++i) {
    graph.set_model(i, intern(graph.stages()[i].spec.model));
  }
  const batch::ModelId id = intern(graph.name());
  Model& model = *models_[static_cast<std::size_t>(id)];
  router_.remove_model(id);
  model.remote.clear();
  model.served = std::move(served);
  model.app = std::make_shared<const AppGraph>(std::move(graph));
}

std::uint64_t FrontendCore::start_app(Model& app, AppCaller caller, std::vector<Message> inputs) {
  ++app.counters.counts.outstanding;
  const AppCaller asked = caller;
  const auto run = apps_.start(app.app, std::move(caller), std::move(inputs), asked.arrival);
  if (!run) {
    app_failed(asked, exec::Outcome::kFull,
               "the frontend holds as many tensors of apps as it may; try again later");
  }
  return run && apps_.running(*run) ? *run : 0;
}

void FrontendCore::send_part(const AppPart& part, batch::ModelId model, std::vector<Message> frames,
                             Nanos deadline, Nanos now) {
  auto [tag, pending] = pending_.take();
  pending->model = model;
  pending->arrival = now;
  pending->deadline = deadline;
  pending->retried = pending->cancelled = false;
  pending->trace = nullptr;
  pending->part = part;
  pending->device = {};
  pending->frames = std::move(frames);
  FrontendModelStats& counts = models_[static_cast<std::size_t>(model)]->counters.counts;
  ++counts.received;
  ++counts.outstanding;
  forward(tag, *pending, route::kNoGpulet, now);
}

void FrontendCore::on_part(const DataReply& reply, Pending& pending, Model& model, Nanos now) {
  model.counters.answered(pending.arrival, pending.deadline, times_of(reply), now);
  const AppPart part = *pending.part;
  pending.frames.clear();
  pending_.release(reply.tag);
  std::vector<Message> outputs;
  std::swap(outputs, frames_);
  apps_.part_done(part, std::move(outputs), times_of(reply), now);
}

void FrontendCore::app_done(const AppCaller& caller, const AppGraph& graph,
                            std::vector<Message>& outputs, const ResultTimes& times, Nanos now) {
  Model& app = *models_[static_cast<std::size_t>(caller.app)];
  Counters& counters = app.counters;
  if (caller.door != nullptr) {
    if (!app.served) return app_failed(caller, exec::Outcome::kUnavailable, "the app was removed");
    counters.answered(caller.arrival, caller.deadline, times, now);
    end_trace(caller.trace, app, exec::Outcome::kOk, caller.arrival, times, caller.stages);
    return caller.door->answered(caller.call, *app.served, times, outputs, now);
  }
  encode_result(caller.id, graph.encoded_outputs(), times, scratch_);
  if (!send_to_client(caller.client, scratch_, &outputs)) ++counters.counts.unsent;
  counters.answered(caller.arrival, caller.deadline, times, now);
  end_trace(caller.trace, app, exec::Outcome::kOk, caller.arrival, times, caller.stages);
}

void FrontendCore::app_failed(const AppCaller& caller, exec::Outcome outcome,
                              const std::string& message) {
  Model& app = *models_[static_cast<std::size_t>(caller.app)];
  --app.counters.counts.outstanding;
  count_refused_since(caller.arrival, app.counters.counts);
  end_trace(caller.trace, app, outcome, caller.arrival, {}, caller.stages);
  if (caller.door != nullptr) {
    count(app.counters.counts, outcome);
    return caller.door->failed(caller.call, outcome, message);
  }
  refuse(&app, caller.client, caller.id, outcome_code(outcome), message);
}

}  // namespace glet::net
