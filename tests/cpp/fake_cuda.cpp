// A libcuda.so.1 for tests: keeps books on what is alive, and refuses what the driver refuses.
// Memory and work on streams are the host's; an event's time is its number, in ms.

#include "fake_cuda.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <sstream>

#include "fake_cuda_state.h"

namespace fake_cuda {

std::mutex mutex;

namespace {

void read_environment(State& state) {
  const char* text = std::getenv("FAKE_CUDA");
  std::istringstream items(text != nullptr ? text : "");
  for (std::string item; std::getline(items, item, ',');) {
    const auto equals = item.find('=');
    const std::string name = item.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : item.substr(equals + 1);
    if (name == "hide") {
      state.hidden.insert(value);
    } else if (name == "fail") {
      const auto nth = value.find(':');
      const auto code = value.find(':', nth + 1);
      state.failures[value.substr(0, nth)] = {std::stoi(value.substr(nth + 1)),
                                              std::stoi(value.substr(code + 1))};
    } else {
      state.settings.at(name) = std::stoi(value);
    }
  }
}

}  // namespace

State& state() {
  static State* const current = [] {
    auto* fresh = new State;
    read_environment(*fresh);
    return fresh;
  }();
  return *current;
}

int setting(const char* name) {
  return state().settings.at(name);
}

namespace {

struct ErrorText {
  Result code;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
    {kInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {kNoDevice, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {kContextIsDestroyed, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {kNotReady, "CUDA_ERROR_NOT_READY", "device not ready"},
    {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {kNotSupported, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {kInvalidResourceType, "CUDA_ERROR_INVALID_RESOURCE_TYPE", "invalid resource type"},
    {kInvalidResourceConfiguration, "CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION",
     "invalid resource configuration"},
};

Result error_text(Result code, const char** text, const char* ErrorText::* field) {
  const auto* at = std::find_if(std::begin(kErrors), std::end(kErrors),
                                [code](const auto& error) { return error.code == code; });
  *text = at == std::end(kErrors) ? nullptr : at->*field;
  return at == std::end(kErrors) ? kInvalidValue : kSuccess;
}

int overlaps() {
  int count = 0;
  const auto& greens = state().greens;
  for (auto a = greens.begin(); a != greens.end(); ++a) {
    for (auto b = std::next(a); a->context.alive && b != greens.end(); ++b) {
      if (!b->context.alive) continue;
      const auto& sms = a->context.sms;
      const auto shared = [&](int sm) { return std::binary_search(sms.begin(), sms.end(), sm); };
      count += std::any_of(b->context.sms.begin(), b->context.sms.end(), shared) ? 1 : 0;
    }
  }
  return count;
}

template <typename Objects>
int alive(const Objects& objects) {
  return static_cast<int>(
      std::count_if(objects.begin(), objects.end(), [](const auto& o) { return o.alive; }));
}

}  // namespace

Result get_error_name(Result code, const char** text) {
  return error_text(code, text, &ErrorText::name);
}

Result get_error_string(Result code, const char** text) {
  return error_text(code, text, &ErrorText::text);
}

}  // namespace fake_cuda

using namespace fake_cuda;

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT Result cuGetProcAddress_v2(const char* symbol, void** address, int version,
                                  unsigned long long flags, int* status) {
  const std::lock_guard lock(mutex);
  *address = nullptr;
  if (status != nullptr) *status = 1;
  if (version > setting("driver") || flags > 3) return kInvalidValue;
  if (state().hidden.count(symbol) != 0) return kSuccess;
  const auto offer = [&](const auto& entry) {
    if (std::strcmp(entry.name, symbol) != 0) return;
    // An older prototype is another function, which glet would call wrongly.
    if (status != nullptr) *status = version < entry.since ? 2 : 0;
    if (version >= entry.since) *address = reinterpret_cast<void*>(entry.function);
  };
  table().visit_basic(offer);
  table().visit_green(offer);
  return kSuccess;
}

EXPORT void fake_cuda_reset() {
  const std::lock_guard lock(mutex);
  while (!state().memory.empty()) free_device(state().memory.begin()->first);
  for (const auto& [address, bytes] : state().pinned) std::free(reinterpret_cast<void*>(address));
  state() = State{};
  read_environment(state());
}

EXPORT int fake_cuda_set(const char* name, int value) {
  const std::lock_guard lock(mutex);
  const auto at = state().settings.find(name);
  if (at == state().settings.end()) return 0;
  at->second = value;
  return 1;
}

EXPORT void fake_cuda_fail(const char* name, int nth, int code) {
  const std::lock_guard lock(mutex);
  state().failures[name] = {nth, code};
}

EXPORT void fake_cuda_hide(const char* name) {
  const std::lock_guard lock(mutex);
  state().hidden.insert(name);
}

EXPORT int fake_cuda_count(const char* name) {
  const std::lock_guard lock(mutex);
  const auto& s = state();
  const std::string what = name;
  const auto sum = [](const auto& counts) {
    int total = 0;
    for (const auto& [key, count] : counts) total += count;
    return total;
  };
  if (what == "contexts") {
    return static_cast<int>(std::count_if(s.greens.begin(), s.greens.end(),
                                          [](const auto& green) { return green.context.alive; }));
  }
  if (what == "streams") return alive(s.streams);
  if (what == "events") return alive(s.events);
  if (what == "graphs") return alive(s.graphs);
  if (what == "memory") return static_cast<int>(s.memory.size());
  if (what == "pinned") return static_cast<int>(s.pinned.size());
  if (what == "primary") return sum(s.retained);
  if (what == "splits") return s.splits;
  if (what == "overlaps") return overlaps();
  if (what == "leaked") return s.leaked;
  if (what == "misuse") return s.misuse;
  if (what == "calls") return sum(s.calls);
  if (what == "current") {
    int total = 0;
    for (const auto& [thread, stack] : s.current) total += static_cast<int>(stack.size());
    return total;
  }
  const auto call = s.calls.find(what);
  if (call != s.calls.end()) return call->second;
  return what.rfind("cu", 0) == 0 ? 0 : -1;
}

EXPORT int fake_cuda_sms(void* context, int* ids, int capacity) {
  const std::lock_guard lock(mutex);
  const auto& sms = static_cast<ContextObject*>(context)->sms;
  const auto count = std::min(sms.size(), static_cast<std::size_t>(capacity));
  std::copy_n(sms.begin(), count, ids);
  return static_cast<int>(sms.size());
}

EXPORT int fake_cuda_priority(void* stream) {
  const std::lock_guard lock(mutex);
  return static_cast<StreamObject*>(stream)->priority;
}
