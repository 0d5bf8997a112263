#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "glet/batch/request.h"
#include "glet/exec/tensor.h"

namespace glet::net {

// What an app may be at most: a request of it holds memory and occupies queues for all of this.
inline constexpr std::size_t kMostAppStages = 32;
inline constexpr int kMostAppRows = 64;                               // requests of one stage
inline constexpr int kMostAppParts = 256;                             // requests of all stages
inline constexpr std::size_t kMostAppBytes = std::size_t{256} << 20;  // tensors of one app request

// Where an input of a stage comes from. Values are numbered: the app's inputs, then the outputs of
// each stage in turn. `split`: each request of the stage takes its own row of the first axis.
struct AppSource {
  int value = 0;
  bool split = false;
};

struct AppStageSpec {
  std::string name;
  std::string model;
  int each = 0;                   // 0: one request; n: one per row, outputs gathered in order
  double budget_ms = 0;           // its part of the app's SLO, as the planner split it; in any unit
  std::vector<AppSource> inputs;  // in the order of the model's signature
  std::vector<exec::TensorSpec> outputs;  // of ONE request of the model
};

// An app as a graph of requests: what the frontend needs to run one. Stages are in an order in
// which each takes only from the app's inputs and from stages before it, so there is no cycle.
class AppGraph {
 public:
  struct Stage {
    AppStageSpec spec;
    batch::ModelId model = 0;  // the frontend's own number, set before the graph is used
    int parts = 1;
    int first_value = 0;
    int needs = 0;              // stages that end before it begins
    std::vector<int> unblocks;  // stages that wait for it
    double tail_ms = 0;         // the longest way from its begin to the end of the app, in budgets
    std::vector<std::size_t> output_bytes;
  };
  struct Value {
    std::size_t bytes = 0;  // of the whole
    int stage = -1;         // that makes it; -1: an input of the app
    int pieces = 0;         // 0: comes as a whole; n: in n rows
    int rows = 0;           // into which it is cut, or in which it comes
  };

  // Throws ArgumentError: a stage that takes from a later one, rows that do not fit, a limit.
  AppGraph(std::string name, exec::Signature signature, std::vector<AppStageSpec> stages,
           std::vector<int> outputs);

  const std::string& name() const { return name_; }
  const exec::Signature& signature() const { return signature_; }
  const std::string& encoded_outputs() const { return encoded_outputs_; }
  const std::vector<Stage>& stages() const { return stages_; }
  const std::vector<Value>& values() const { return values_; }
  const std::vector<int>& outputs() const { return outputs_; }
  // Of all tensors of one request.
  std::size_t bytes() const { return bytes_; }

  void set_model(std::size_t stage, batch::ModelId model) { stages_[stage].model = model; }

 private:
  void add(AppStageSpec spec);
  void check_outputs() const;
  void measure_tails();
  [[noreturn]] void refuse(const std::string& what) const;

  std::string name_;
  exec::Signature signature_;
  std::string encoded_outputs_;
  std::vector<Stage> stages_;
  std::vector<Value> values_;
  std::vector<int> outputs_;
  std::size_t bytes_ = 0;
  int parts_ = 0;
};

}  // namespace glet::net
