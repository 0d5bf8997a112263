#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "glet/exec/partition/green_device.h"

namespace glet::exec {

// What a capture made for one batch size on one stream: a CUDA graph, or, where a model cannot be
// captured, a function that launches its work each time.
struct Captured {
  cuda::GraphExec graph = nullptr;
  // Instead of a graph: launches the work for what is in `inputs` on the stream of the capture,
  // for the first `n` items, and returns where the outputs are. Throws ModelError, DeviceError.
  std::function<std::vector<cuda::DevicePointer>(int n)> call;
  std::string reason;  // why there is no graph

  std::vector<cuda::DevicePointer> inputs;   // read by each launch
  std::vector<cuda::DevicePointer> outputs;  // written by each launch of the graph
  bool one_block = false;       // so are the inputs, and so are the outputs; see DeviceTensors
  std::size_t bytes = 0;        // device memory that goes with it
  std::shared_ptr<void> owner;  // of all that; released on any thread
};

struct GraphLimits {
  std::size_t max_graphs = 64;
  std::size_t max_bytes = SIZE_MAX;
};

struct GraphKey {
  std::uint64_t context_id = 0;
  int batch = 0;
  bool operator==(const GraphKey&) const = default;
};

// The captures of one model on one gpulet, by context and batch size; the least recently used go
// when there are too many. Those of a context go before it does.
class GraphCache : public ContextListener {
 public:
  explicit GraphCache(GraphLimits limits) : limits_(limits) {}

  // Null when it is not there.
  std::shared_ptr<const Captured> find(const GraphKey& key);
  // The newest is kept even if it alone is beyond the limits.
  std::shared_ptr<const Captured> add(const GraphKey& key, Captured captured);
  void context_ends(std::uint64_t context_id) noexcept override;

  std::size_t graphs() const { return graphs_; }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    GraphKey key;
    std::shared_ptr<const Captured> captured;
  };
  using Entries = std::list<Entry>;
  void count();  // with the lock

  const GraphLimits limits_;
  std::mutex mutex_;  // never held while captures are released: that may need the GIL
  Entries entries_;   // most recently used first
  std::atomic<std::size_t> graphs_ = 0;
  std::atomic<std::size_t> bytes_ = 0;
};

}  // namespace glet::exec
