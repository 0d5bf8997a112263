// What the fake libcuda.so.1 does on streams. Work waits on its stream until somebody waits for it:
// whoever looks too early sees what was there before.

#include <cstdlib>
#include <cstring>

#include "fake_cuda.h"
#include "fake_cuda_state.h"

namespace fake_cuda {

#define ENTER(name)                  \
  const std::lock_guard lock(mutex); \
  if (const Result early = enter(name)) return early

namespace {

// One piece of it, without the lock: it may be a Python function, which waits for the GIL.
void step(Stream stream, Lock& lock) {
  auto piece = std::move(stream->work.front());
  stream->work.pop_front();
  lock.unlock();
  piece();
  lock.lock();
}

bool inside(const std::map<std::uint64_t, std::size_t>& blocks, std::uint64_t address,
            std::size_t bytes) {
  auto at = blocks.upper_bound(address);
  if (at == blocks.begin()) return false;
  --at;
  return address + bytes <= at->first + at->second;
}

Result event_create(Event* event, unsigned flags) {
  ENTER("cuEventCreate");
  ContextObject* context = current_context();
  if (!usable(context)) return kInvalidContext;
  if (flags > kEventBlockingSync) return kInvalidValue;
  *event = &state().events.emplace_back();
  (*event)->context = context;
  return kSuccess;
}

Result event_record(Event event, Stream stream) {
  ENTER("cuEventRecord");
  if (const Result bad = stream_state(stream)) return bad;
  if (!usable(event) || event->context != stream->context) return kInvalidHandle;
  event->stream = stream;
  ++event->pending;
  stream->work.emplace_back([event] {
    const std::lock_guard relock(mutex);
    event->time_ms = ++state().clock_ms;
    --event->pending;
  });
  return kSuccess;
}

// Each look is a step of the device.
Result event_query(Event event) {
  Lock lock(mutex);
  if (const Result early = enter("cuEventQuery")) return early;
  if (!usable(event)) return kInvalidHandle;
  if (event->pending > 0 && !event->stream->work.empty()) step(event->stream, lock);
  return event->pending > 0 ? kNotReady : kSuccess;
}

Result event_synchronize(Event event) {
  Lock lock(mutex);
  if (const Result early = enter("cuEventSynchronize")) return early;
  if (!usable(event)) return kInvalidHandle;
  while (event->pending > 0 && !event->stream->work.empty()) step(event->stream, lock);
  return kSuccess;
}

Result event_elapsed_time(float* ms, Event start, Event end) {
  ENTER("cuEventElapsedTime");
  if (!usable(start) || !usable(end)) return kInvalidHandle;
  if (start->pending > 0 || end->pending > 0) return kNotReady;
  if (start->time_ms == 0 || end->time_ms == 0) return kInvalidHandle;
  *ms = static_cast<float>(end->time_ms - start->time_ms);
  return kSuccess;
}

Result event_destroy(Event event) {
  ENTER("cuEventDestroy");
  if (!usable(event)) return kInvalidHandle;
  if (!event->context->alive) ++state().misuse;
  event->alive = false;
  return kSuccess;
}

Result release_device(std::uint64_t address) {
  if (state().memory.count(address) == 0 || state().imports.count(address) != 0) {
    ++state().misuse;
    return kInvalidValue;
  }
  free_device(address);
  return kSuccess;
}

bool fits(std::size_t bytes) {
  std::size_t used = 0;
  for (const auto& [address, size] : state().memory) used += size;
  return used + bytes <= static_cast<std::size_t>(setting("memory_mb")) << 20;
}

Result host_alloc(void** memory, std::size_t bytes, unsigned flags) {
  ENTER("cuMemHostAlloc");
  if (!usable(current_context())) return kInvalidContext;
  if (bytes == 0 || flags != kHostPortable) return kInvalidValue;
  *memory = std::malloc(bytes);
  state().pinned[reinterpret_cast<std::uint64_t>(*memory)] = bytes;
  return kSuccess;
}

Result host_free(void* memory) {
  ENTER("cuMemFreeHost");
  if (!usable(current_context())) return kInvalidContext;
  if (state().pinned.erase(reinterpret_cast<std::uint64_t>(memory)) == 0) {
    ++state().misuse;
    return kInvalidValue;
  }
  std::free(memory);
  return kSuccess;
}

Result mem_alloc(DevicePointer* address, std::size_t bytes) {
  ENTER("cuMemAlloc");
  if (!usable(current_context())) return kInvalidContext;
  if (bytes == 0) return kInvalidValue;
  if (!fits(bytes)) return kOutOfMemory;
  *address = allocate_device(bytes);
  return kSuccess;
}

Result mem_free(DevicePointer address) {
  ENTER("cuMemFree");
  if (!usable(current_context())) return kInvalidContext;
  return release_device(address);
}

// Pageable memory would make the copy wait for the stream: glet never means that.
Result copy(Stream stream, std::uint64_t device, std::uint64_t host, std::size_t bytes,
            bool to_device) {
  if (!usable(current_context())) return kInvalidContext;
  if (const Result bad = stream_state(stream)) return bad;
  if (bytes == 0 || !inside(state().memory, device, bytes)) return kInvalidValue;
  if (!inside(state().pinned, host, bytes)) ++state().misuse;
  stream->work.emplace_back([=] {
    {
      const std::lock_guard relock(mutex);
      if (!inside(state().memory, device, bytes) || !inside(state().pinned, host, bytes)) {
        ++state().misuse;
        return;
      }
    }
    void* const there = reinterpret_cast<void*>(to_device ? device : host);
    std::memcpy(there, reinterpret_cast<const void*>(to_device ? host : device), bytes);
  });
  return kSuccess;
}

Result copy_to_device(DevicePointer to, const void* from, std::size_t bytes, Stream stream) {
  ENTER("cuMemcpyHtoDAsync");
  return copy(stream, to, reinterpret_cast<std::uint64_t>(from), bytes, true);
}

Result copy_to_host(void* to, DevicePointer from, std::size_t bytes, Stream stream) {
  ENTER("cuMemcpyDtoHAsync");
  return copy(stream, from, reinterpret_cast<std::uint64_t>(to), bytes, false);
}

Result copy_on_device(DevicePointer to, DevicePointer from, std::size_t bytes, Stream stream) {
  ENTER("cuMemcpyDtoDAsync");
  if (!usable(current_context())) return kInvalidContext;
  if (const Result bad = stream_state(stream)) return bad;
  const auto both = [=] {
    return inside(state().memory, to, bytes) && inside(state().memory, from, bytes);
  };
  if (bytes == 0 || !both()) return kInvalidValue;
  stream->work.emplace_back([=] {
    {
      const std::lock_guard relock(mutex);
      if (!both()) {
        ++state().misuse;
        return;
      }
    }
    std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  });
  return kSuccess;
}

Result graph_launch(GraphExec graph, Stream stream) {
  ENTER("cuGraphLaunch");
  if (!usable(current_context())) return kInvalidContext;
  if (const Result bad = stream_state(stream)) return bad;
  if (!usable(graph)) return kInvalidHandle;
  // It would run on the SMs of where it was captured, and not on those of this stream.
  if (graph->context != stream->context) ++state().misuse;
  stream->work.emplace_back([graph] { graph->function(graph->data); });
  return kSuccess;
}

}  // namespace

void finish(Stream stream, Lock& lock) {
  while (!stream->work.empty()) step(stream, lock);
}

void add_work(EntryPoints& entries) {
  entries.event_create.function = event_create;
  entries.event_record.function = event_record;
  entries.event_query.function = event_query;
  entries.event_synchronize.function = event_synchronize;
  entries.event_elapsed_time.function = event_elapsed_time;
  entries.event_destroy.function = event_destroy;
  entries.host_alloc.function = host_alloc;
  entries.host_free.function = host_free;
  entries.mem_alloc.function = mem_alloc;
  entries.mem_free.function = mem_free;
  entries.copy_to_device.function = copy_to_device;
  entries.copy_to_host.function = copy_to_host;
  entries.copy_on_device.function = copy_on_device;
  entries.graph_launch.function = graph_launch;
}

}  // namespace fake_cuda

using namespace fake_cuda;

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT unsigned long long fake_cuda_alloc(unsigned long long bytes) {
  const std::lock_guard lock(mutex);
  return fits(bytes) ? allocate_device(bytes) : 0;
}

EXPORT void fake_cuda_free(unsigned long long address) {
  const std::lock_guard lock(mutex);
  release_device(address);
}

EXPORT void* fake_cuda_graph(void* stream, int (*function)(void*), void* data) {
  const std::lock_guard lock(mutex);
  auto& graph = state().graphs.emplace_back();
  graph.context = static_cast<StreamObject*>(stream)->context;
  graph.function = function;
  graph.data = data;
  return &graph;
}

EXPORT void fake_cuda_graph_free(void* graph) {
  const std::lock_guard lock(mutex);
  auto* const object = static_cast<GraphObject*>(graph);
  if (!object->alive || !object->context->alive) ++state().misuse;
  object->alive = false;
}

EXPORT void fake_cuda_enqueue(void* stream, int (*function)(void*), void* data) {
  const std::lock_guard lock(mutex);
  auto* const object = static_cast<StreamObject*>(stream);
  if (stream_state(object) != kSuccess) return;
  object->work.emplace_back([=] { function(data); });
}
