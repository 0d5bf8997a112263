#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glet/exec/submission.h"
#include "glet/net/app_graph.h"
#include "glet/net/protocol.h"
#include "glet/net/slot_table.h"
#include "glet/net/trace_ring.h"
#include "glet/time.h"

namespace glet::net {

// One request of a model on behalf of an app.
struct AppPart {
  std::uint64_t run = 0;
  std::uint32_t stage = 0;
  std::uint32_t item = 0;
};

class Door;

// Who asked for an app: a client of the wire, or a door for its call `call`.
struct AppCaller {
  std::string client;
  std::int64_t id = 0;
  batch::ModelId app = 0;
  Nanos arrival{0};
  Nanos deadline{0};
  Door* door = nullptr;
  std::uint64_t call = 0;
  Trace trace = nullptr;
  std::vector<StageTrace> stages = {};  // of a run that is traced, when it has ended
};

// Runs app requests as graphs of model requests: a stage begins when all that it takes from is
// there, its requests go out together, the first failure ends the run at once, and what comes in
// for a run that has ended is dropped. Exactly one app_done() or app_failed() per start() that
// returned true. No thread, no clock, no socket.
//
// A stage that begins has of the time that is left the part that its budget is of the longest way
// to the end (AppGraph::Stage::tail_ms): on time it gets its budget, what earlier stages saved or
// lost is shared by all that follow, and a stage with nothing behind it has all that is left.
//
// `Frame` is a movable handle of bytes with size() and share(); `Frames::rows(frame, n)` cuts one
// into n equal ones without copying, `Frames::join(frames, bytes)` makes one of many.
template <typename Frame, typename Frames>
class AppEngine {
 public:
  // What the engine asks of its owner. send_part() may answer with part_failed() before it returns.
  class Host {
   public:
    virtual ~Host() = default;
    virtual void send_part(const AppPart& part, batch::ModelId model, std::vector<Frame> frames,
                           Nanos deadline, Nanos now) = 0;
    virtual void app_done(const AppCaller& caller, const AppGraph& graph,
                          std::vector<Frame>& outputs, const ResultTimes& times, Nanos now) = 0;
    virtual void app_failed(const AppCaller& caller, exec::Outcome outcome,
                            const std::string& message) = 0;
  };

  // Runs hold at most `most_bytes` of tensors together.
  AppEngine(Host& host, std::size_t most_bytes) : host_(host), most_bytes_(most_bytes) {}

  // The run, to cancel by; nothing when it would hold too much: nothing was begun. `inputs` are in
  // signature order, of the sizes that the signature says.
  std::optional<std::uint64_t> start(std::shared_ptr<const AppGraph> graph, AppCaller caller,
                                     std::vector<Frame> inputs, Nanos now) {
    if (graph->bytes() > most_bytes_ - held_bytes_) return std::nullopt;
    auto [tag, run] = runs_.take();
    held_bytes_ += graph->bytes();
    run->caller = std::move(caller);
    run->values.resize(graph->values().size());
    for (std::size_t i = 0; i < inputs.size(); ++i) run->values[i].set(std::move(inputs[i]));
    for (const AppGraph::Stage& stage : graph->stages()) {
      Progress& progress = run->stages.emplace_back();
      progress.needs = stage.needs;
      progress.parts_left = stage.parts;
    }
    run->stages_left = static_cast<int>(graph->stages().size());
    run->graph = std::move(graph);
    std::vector<int> ready;
    for (std::size_t i = 0; i < run->stages.size(); ++i) {
      if (run->stages[i].needs == 0) ready.push_back(static_cast<int>(i));
    }
    begin(tag, ready, now);
    return tag;
  }

  // Who asked; the run ends without an answer. Nothing when it has ended already.
  std::optional<AppCaller> cancel(std::uint64_t tag) {
    Run* run = runs_.find(tag);
    if (run == nullptr) return std::nullopt;
    return release(tag, *run);
  }

  // Runs whose caller `wanted` accepts.
  template <typename F>
  std::vector<std::uint64_t> runs_where(F&& wanted) const {
    return runs_.tags_where([&wanted](const Run& run) { return wanted(run.caller); });
  }

  bool running(std::uint64_t run) { return runs_.find(run) != nullptr; }
  std::size_t size() const { return runs_.size(); }
  std::size_t held_bytes() const { return held_bytes_; }

  // `outputs` of one request of the stage's model.
  void part_done(const AppPart& part, std::vector<Frame> outputs, const ResultTimes& times,
                 Nanos now) {
    Run* run = runs_.find(part.run);
    if (run == nullptr) return;
    const AppGraph::Stage& stage = run->graph->stages()[part.stage];
    if (!fits(stage, outputs)) {
      return part_failed(part, exec::Outcome::kFailed,
                         "model '" + stage.spec.model + "' has other outputs than the app expects");
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const std::size_t number = static_cast<std::size_t>(stage.first_value) + i;
      Value& value = run->values[number];
      if (stage.spec.each == 0) {
        value.set(std::move(outputs[i]));
      } else {
        value.rows.resize(static_cast<std::size_t>(stage.parts));
        value.rows[part.item] = std::move(outputs[i]);
      }
    }
    Progress& progress = run->stages[part.stage];
    if (--progress.parts_left > 0) return;
    progress.ended = now;
    progress.last = times;
    progress.path = sum(progress.path, times);
    const std::vector<int> ready = unblocked(*run, stage, progress.path);
    if (--run->stages_left == 0) return finish(part.run, *run, progress.path, now);
    begin(part.run, ready, now);
  }

  void part_failed(const AppPart& part, exec::Outcome outcome, std::string_view message) {
    Run* run = runs_.find(part.run);
    if (run == nullptr) return;
    const std::string text = "app '" + run->graph->name() + "', stage '" +
                             run->graph->stages()[part.stage].spec.name +
                             "': " + std::string(message);
    // What a stage calls invalid, the app made: the client's own inputs were checked.
    if (outcome == exec::Outcome::kInvalid) outcome = exec::Outcome::kFailed;
    run->stages[part.stage].outcome = outcome;
    const AppCaller caller = release(part.run, *run);
    host_.app_failed(caller, outcome, text);
  }

 private:
  struct Value {
    void set(Frame frame) {
      whole = std::move(frame);
      is_whole = true;
    }
    Frame whole;
    bool is_whole = false;
    std::vector<Frame> rows;
  };
  struct Progress {
    int needs = 0;
    int parts_left = 0;
    ResultTimes path;  // along the way that ended last, up to and with this stage when it ended
    // For traces:
    Nanos began{kNever};
    Nanos ended{kNever};
    ResultTimes last;
    exec::Outcome outcome = exec::Outcome::kOk;
  };
  struct Run {
    std::shared_ptr<const AppGraph> graph;
    AppCaller caller;
    std::vector<Value> values;
    std::vector<Progress> stages;
    int stages_left = 0;
  };

  static bool fits(const AppGraph::Stage& stage, const std::vector<Frame>& outputs) {
    return std::equal(outputs.begin(), outputs.end(), stage.output_bytes.begin(),
                      stage.output_bytes.end(),
                      [](const Frame& frame, std::size_t bytes) { return frame.size() == bytes; });
  }

  static ResultTimes sum(const ResultTimes& a, const ResultTimes& b) {
    return {b.batch, a.queued + b.queued, a.batched + b.batched, a.executed + b.executed};
  }

  static std::vector<int> unblocked(Run& run, const AppGraph::Stage& stage,
                                    const ResultTimes& path) {
    std::vector<int> ready;
    for (const int later : stage.unblocks) {
      Progress& next = run.stages[static_cast<std::size_t>(later)];
      next.path = path;
      if (--next.needs == 0) ready.push_back(later);
    }
    return ready;
  }

  // Sends all requests of these stages, unless one of them ends the run.
  void begin(std::uint64_t tag, const std::vector<int>& ready, Nanos now) {
    for (const int number : ready) {
      Run* run = runs_.find(tag);
      if (run == nullptr) return;
      const auto graph = run->graph;
      const AppGraph::Stage& stage = graph->stages()[static_cast<std::size_t>(number)];
      const Nanos left = run->caller.deadline - now;
      AppPart part{tag, static_cast<std::uint32_t>(number), 0};
      run->stages[static_cast<std::size_t>(number)].began = now;
      if (left <= Nanos{0}) {
        return part_failed(part, exec::Outcome::kLate, "no time was left to begin it");
      }
      const double share = stage.spec.budget_ms / stage.tail_ms;
      const Nanos given(static_cast<Nanos::rep>(static_cast<double>(left.count()) * share));
      for (int item = 0; item < stage.parts; ++item) {
        Run* going = runs_.find(tag);
        if (going == nullptr) return;
        part.item = static_cast<std::uint32_t>(item);
        host_.send_part(part, stage.model, frames_of(*going, stage, part.item), now + given, now);
      }
    }
  }

  static std::vector<Frame> frames_of(Run& run, const AppGraph::Stage& stage, std::uint32_t item) {
    std::vector<Frame> frames;
    frames.reserve(stage.spec.inputs.size());
    for (const AppSource& source : stage.spec.inputs) {
      Value& value = run.values[static_cast<std::size_t>(source.value)];
      if (source.split) {
        if (value.rows.empty()) {
          value.rows = Frames::rows(value.whole, static_cast<std::size_t>(stage.parts));
        }
        frames.push_back(value.rows[item].share());
      } else {
        frames.push_back(whole(run, source.value));
      }
    }
    return frames;
  }

  static Frame whole(Run& run, int number) {
    Value& value = run.values[static_cast<std::size_t>(number)];
    if (!value.is_whole) {
      value.set(
          Frames::join(value.rows, run.graph->values()[static_cast<std::size_t>(number)].bytes));
    }
    return value.whole.share();
  }

  void finish(std::uint64_t tag, Run& run, const ResultTimes& times, Nanos now) {
    std::vector<Frame> outputs;
    for (const int value : run.graph->outputs()) outputs.push_back(whole(run, value));
    const auto graph = run.graph;
    const AppCaller caller = release(tag, run);
    host_.app_done(caller, *graph, outputs, times, now);
  }

  AppCaller release(std::uint64_t tag, Run& run) {
    held_bytes_ -= run.graph->bytes();
    AppCaller caller = std::move(run.caller);
    if (caller.trace != nullptr) caller.stages = traced(run);
    run.values.clear();
    run.stages.clear();
    run.graph.reset();
    runs_.release(tag);
    return caller;
  }

  static std::vector<StageTrace> traced(const Run& run) {
    std::vector<StageTrace> traces;
    for (std::size_t i = 0; i < run.stages.size(); ++i) {
      const Progress& progress = run.stages[i];
      if (progress.began == kNever) continue;
      const AppGraph::Stage& stage = run.graph->stages()[i];
      exec::Outcome outcome = progress.outcome;
      if (progress.ended == kNever && outcome == exec::Outcome::kOk) {
        outcome = exec::Outcome::kCancelled;
      }
      traces.push_back({stage.spec.name, stage.spec.model, stage.parts, outcome, progress.began,
                        progress.ended, progress.last});
    }
    return traces;
  }

  Host& host_;
  std::size_t most_bytes_;
  std::size_t held_bytes_ = 0;
  SlotTable<Run> runs_;
};

}  // namespace glet::net
