#include "glet/net/app_graph.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "glet/error.h"
#include "glet/net/protocol.h"

namespace glet::net {

AppGraph::AppGraph(std::string name, exec::Signature signature, std::vector<AppStageSpec> stages,
                   std::vector<int> outputs)
    : name_(std::move(name)),
      signature_(std::move(signature)),
      encoded_outputs_(encode_specs(signature_.outputs)),
      outputs_(std::move(outputs)) {
  if (stages.empty() || stages.size() > kMostAppStages) {
    refuse(std::to_string(stages.size()) + " stages; valid is 1 to " +
           std::to_string(kMostAppStages));
  }
  for (const exec::TensorSpec& spec : signature_.inputs) {
    if (spec.is_bytes()) refuse("input '" + spec.name + "' is bytes, which apps do not hand on");
    values_.push_back({spec.bytes(), -1, 0, 0});
  }
  for (AppStageSpec& spec : stages) add(std::move(spec));
  check_outputs();
  for (const Value& value : values_) {
    // Rows that are gathered exist twice for a moment.
    for (int copy = 0; copy < (value.pieces > 0 ? 2 : 1); ++copy) {
      if (value.bytes > kMostAppBytes || (bytes_ += value.bytes) > kMostAppBytes) {
        refuse("one request holds more than " + std::to_string(kMostAppBytes >> 20) +
               " MiB of tensors");
      }
    }
  }
  measure_tails();
}

void AppGraph::refuse(const std::string& what) const {
  throw ArgumentError("[AppGraph] app '" + name_ + "': " + what);
}

void AppGraph::add(AppStageSpec spec) {
  const auto number = static_cast<int>(stages_.size());
  const std::string where = "stage '" + spec.name + "' ";
  if (spec.each < 0 || spec.each > kMostAppRows) {
    refuse(where + "splits " + std::to_string(spec.each) + " rows; valid is 1 to " +
           std::to_string(kMostAppRows));
  }
  if (!std::isfinite(spec.budget_ms) || spec.budget_ms <= 0) {
    refuse(where + "has a budget of " + std::to_string(spec.budget_ms) +
           " ms; a positive number is valid");
  }
  std::set<int> before;
  bool is_split = false;
  for (const AppSource& source : spec.inputs) {
    if (source.value < 0 || source.value >= static_cast<int>(values_.size())) {
      refuse(where + "takes from value " + std::to_string(source.value) +
             ", which no stage before it makes");
    }
    Value& value = values_[static_cast<std::size_t>(source.value)];
    if (source.split && (spec.each == 0 || value.bytes % static_cast<std::size_t>(spec.each) != 0 ||
                         (value.rows != 0 && value.rows != spec.each))) {
      refuse(where + "cannot split value " + std::to_string(source.value) + " into " +
             std::to_string(spec.each) + " rows");
    }
    if (source.split) value.rows = spec.each;
    is_split |= source.split;
    if (value.stage >= 0) before.insert(value.stage);
  }
  if (spec.inputs.empty() || spec.outputs.empty() || is_split != (spec.each > 0)) {
    refuse(where + "needs inputs and outputs, and with `each` an input that is split");
  }
  Stage stage;
  stage.parts = std::max(spec.each, 1);
  parts_ += stage.parts;
  if (parts_ > kMostAppParts) {
    refuse("more than " + std::to_string(kMostAppParts) + " requests in all stages");
  }
  stage.first_value = static_cast<int>(values_.size());
  for (const exec::TensorSpec& output : spec.outputs) {
    if (output.is_bytes()) {
      refuse(where + "has an output '" + output.name + "' of bytes, which apps do not hand on");
    }
    const std::size_t bytes = output.bytes();
    if (bytes > kMostAppBytes) refuse(where + "has an output that is too large");
    stage.output_bytes.push_back(bytes);
    values_.push_back(
        {bytes * static_cast<std::size_t>(stage.parts), number, spec.each, spec.each});
  }
  for (const int earlier : before) {
    stages_[static_cast<std::size_t>(earlier)].unblocks.push_back(number);
  }
  stage.needs = static_cast<int>(before.size());
  stage.spec = std::move(spec);
  stages_.push_back(std::move(stage));
}

void AppGraph::check_outputs() const {
  const auto& wanted = signature_.outputs;
  bool fits = wanted.size() == outputs_.size() && !wanted.empty();
  for (std::size_t i = 0; fits && i < wanted.size(); ++i) {
    const int value = outputs_[i];
    fits = value >= 0 && value < static_cast<int>(values_.size()) &&
           values_[static_cast<std::size_t>(value)].bytes == wanted[i].bytes();
  }
  if (!fits) refuse("its outputs do not fit what its stages make");
}

void AppGraph::measure_tails() {
  for (std::size_t number = stages_.size(); number-- > 0;) {
    Stage& stage = stages_[number];
    double after_ms = 0;
    for (const int later : stage.unblocks) {
      after_ms = std::max(after_ms, stages_[static_cast<std::size_t>(later)].tail_ms);
    }
    stage.tail_ms = stage.spec.budget_ms + after_ms;
  }
}

}  // namespace glet::net
