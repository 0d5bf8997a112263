#include "glet/exec/graph_runner.h"

#include <algorithm>
#include <utility>

#include "glet/error.h"

namespace glet::exec {
namespace {

std::vector<int> checked_batches(std::vector<int> batches, int max_batch) {
  if (max_batch < 1) {
    throw ArgumentError("[GraphRunner] max_batch " + std::to_string(max_batch) +
                        "; must be at least 1");
  }
  if (batches.empty()) {
    for (int batch = 1; batch < max_batch; batch *= 2) batches.push_back(batch);
    batches.push_back(max_batch);
  }
  const bool increase = std::is_sorted(batches.begin(), batches.end(), std::less_equal<>());
  if (!increase || batches.front() < 1 || batches.back() != max_batch) {
    std::string given;
    for (const int batch : batches) given += (given.empty() ? "" : ", ") + std::to_string(batch);
    throw ArgumentError("[GraphRunner] batches " + given +
                        "; they have to increase from 1 or more to " + "max_batch " +
                        std::to_string(max_batch));
  }
  return batches;
}

}  // namespace

GraphRunner::GraphRunner(std::shared_ptr<GreenDevice> device, Capture capture, Signature signature,
                         int max_batch, GraphOptions options)
    : device_(std::move(device)),
      capture_(std::move(capture)),
      signature_(std::make_shared<const Signature>(std::move(signature))),
      batches_(checked_batches(std::move(options.batches), max_batch)),
      input_pool_(device_->primary(), BlockLayout(signature_->inputs, max_batch).bytes),
      output_pool_(device_->primary(), BlockLayout(signature_->outputs, max_batch).bytes),
      inputs_(input_pool_.take()),
      transfers_(device_),
      cache_(std::make_shared<GraphCache>(options.limits)) {
  require_numeric("[GraphRunner]", *signature_);
  for (const int batch : batches_) {
    sizes_.push_back(
        {batch, BlockLayout(signature_->inputs, batch), BlockLayout(signature_->outputs, batch)});
  }
  current_ = &sizes_.back();
  device_->listen(cache_);
}

void GraphRunner::move_to(const GreenContext& context) {
  context_ = &context;
}

const GraphRunner::Size& GraphRunner::size_for(int n) const {
  return *std::find_if(sizes_.begin(), sizes_.end(),
                       [n](const Size& size) { return size.batch >= n; });
}

void GraphRunner::begin(int n) {
  current_ = &size_for(n);
}

std::byte* GraphRunner::input(std::size_t index) {
  return inputs_.data() + current_->inputs.offsets[index];
}

std::shared_ptr<const OutputBatch> GraphRunner::run(int n) {
  if (context_ == nullptr) {
    throw DeviceError("[GraphRunner] the gpulet has no SMs; graphs run on gpulets of kind green");
  }
  const Size& size = *current_;
  const auto capture = captured(size, *context_);
  return std::make_shared<PinnedBatch>(signature_, launch(*capture, size, n), size.outputs);
}

bool GraphRunner::is_ready(const GreenContext& context, int n) const {
  return cache_->find({context.id(), size_for(n).batch}) != nullptr;
}

void GraphRunner::make_ready(const GreenContext& context, int n) {
  captured(size_for(n), context);
}

std::shared_ptr<const Captured> GraphRunner::captured(const Size& size,
                                                      const GreenContext& context) {
  const GraphKey key{context.id(), size.batch};
  if (auto found = cache_->find(key)) return found;
  Captured made;
  {
    const CurrentContext current(driver(), device_->primary()->context());
    made = capture_({size.batch, context.stream(), context.id()});
  }
  check(made, size.batch);
  {
    const std::lock_guard lock(reason_mutex_);
    reason_ = made.reason;
  }
  return cache_->add(key, std::move(made));
}

void GraphRunner::check(const Captured& captured, int batch) const {
  const auto fail = [batch](const std::string& what) {
    throw ModelError("[GraphRunner] the capture of batch " + std::to_string(batch) + " gave " +
                     what);
  };
  const bool is_graph = captured.graph != nullptr;
  if (is_graph == static_cast<bool>(captured.call)) {
    fail(is_graph ? "a graph and a call; one of them is needed"
                  : "neither a graph nor a call; one of them is needed");
  }
  if (captured.inputs.size() != signature_->inputs.size()) {
    fail(std::to_string(captured.inputs.size()) + " input addresses; the model has " +
         std::to_string(signature_->inputs.size()));
  }
  if (is_graph && captured.outputs.size() != signature_->outputs.size()) {
    fail(std::to_string(captured.outputs.size()) + " output addresses; the model has " +
         std::to_string(signature_->outputs.size()));
  }
}

PinnedPool::Block GraphRunner::launch(const Captured& captured, const Size& size, int n) {
  auto outputs = output_pool_.take();
  const CurrentContext current(driver(), context_->context());
  const cuda::Stream stream = context_->stream();
  DeviceTimer& timer = context_->timer();
  try {
    timer.start(stream);
    transfers_.inputs(size.inputs, n, inputs_.data(), {captured.inputs, captured.one_block},
                      stream);
    if (captured.graph != nullptr) {
      driver().call(driver().entry().graph_launch, captured.graph, stream);
      copy_to_host(driver(), size.outputs, n, outputs.data(),
                   {captured.outputs, captured.one_block}, stream);
      transfers_.outputs(size.outputs, {captured.outputs}, stream);
    } else {
      const auto addresses = call(captured, n);
      copy_to_host(driver(), size.outputs, n, outputs.data(), {addresses}, stream);
      transfers_.outputs(size.outputs, {addresses}, stream);
    }
    timer.stop(stream);
    device_busy_ns_ += timer.wait().count();
  } catch (...) {
    // What is under way still reads and writes the blocks, which the next batch gets.
    driver().entry().stream_synchronize.function(stream);
    throw;
  }
  return outputs;
}

std::vector<cuda::DevicePointer> GraphRunner::call(const Captured& captured, int n) const {
  const CurrentContext current(driver(), device_->primary()->context());
  auto addresses = captured.call(n);
  if (addresses.size() == signature_->outputs.size()) return addresses;
  throw ModelError("[GraphRunner] the call gave " + std::to_string(addresses.size()) +
                   " output addresses; the model has " +
                   std::to_string(signature_->outputs.size()));
}

RunnerReport GraphRunner::report() const {
  RunnerReport report;
  {
    const std::lock_guard lock(reason_mutex_);
    report.reason = reason_;
  }
  report.kind = report.reason.empty() ? "graph" : "eager";
  report.graphs = cache_->graphs();
  report.graph_bytes = cache_->bytes();
  report.pinned_bytes = input_pool_.bytes() + output_pool_.bytes();
  report.device_busy = Nanos(device_busy_ns_.load());
  return report;
}

}  // namespace glet::exec
