#pragma once

// The books of the fake libcuda.so.1: what its calls (fake_cuda_calls.cpp) and its controls
// (fake_cuda.cpp) share.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "glet/exec/partition/cuda_api.h"

namespace glet::exec::cuda {

struct DescObject {
  std::vector<int> sms;
};
struct ContextObject {
  bool alive = true;
  bool green = false;
  Device device = 0;
  std::vector<int> sms;
  std::set<std::thread::id> current;
};
struct GreenObject {
  ContextObject context;
};
struct StreamObject {
  bool alive = true;
  ContextObject* context = nullptr;
  int priority = 0;
  std::deque<std::function<void()>> work;  // not done yet
};
struct EventObject {
  bool alive = true;
  ContextObject* context = nullptr;
  int time_ms = 0;
  int pending = 0;  // records that its stream has not reached
  StreamObject* stream = nullptr;
};
struct GraphObject {
  bool alive = true;
  ContextObject* context = nullptr;
  int (*function)(void*) = nullptr;
  void* data = nullptr;
};

}  // namespace glet::exec::cuda

namespace fake_cuda {

using namespace glet::exec::cuda;

// What the driver hides in a resource: where it comes from.
struct Origin {
  enum Kind : int { kNone, kDevice, kSplit, kContext } kind = kNone;
  int split = 0;  // which call made it
  int first = 0;  // SMs first .. first + count - 1 of the device
  int count = 0;
};

struct Failure {
  int nth = 0;
  int code = 0;
};

// Dead objects stay, so that a handle is never given out again and its late use is seen.
struct State {
  std::map<std::string, int> settings{{"sms", 132},          {"unit", 8},        {"align", 8},
                                      {"rest", 12},          {"refuse", 0},      {"give", 0},
                                      {"uneven", 0},         {"driver", 13000},  {"devices", 1},
                                      {"memory_mb", 143771}, {"capability", 90}, {"ipc", 0}};
  std::map<std::string, Failure> failures;
  std::map<std::string, int> calls;
  std::set<std::string> hidden;
  bool initialised = false;
  int splits = 0;
  int leaked = 0;
  int misuse = 0;
  int clock_ms = 0;
  std::map<Device, int> retained;
  std::map<Device, ContextObject> primary;
  std::map<std::thread::id, std::vector<ContextObject*>> current;
  std::deque<DescObject> descs;
  std::deque<GreenObject> greens;
  std::deque<StreamObject> streams;
  std::deque<EventObject> events;
  std::deque<GraphObject> graphs;
  std::map<std::uint64_t, std::size_t> memory;  // address to bytes, of the device
  std::map<std::uint64_t, int> files;           // of memory that others can open
  std::set<std::uint64_t> imports;              // memory of others
  std::map<std::uint64_t, std::size_t> pinned;  // and of the host
};

using Lock = std::unique_lock<std::mutex>;

// Held by whoever looks at state().
extern std::mutex mutex;
State& state();
int setting(const char* name);
Result get_error_name(Result code, const char** text);
Result get_error_string(Result code, const char** text);
// The entry points with their functions.
EntryPoints& table();

// For the entry points, under the lock. Every one starts with enter(): it counts, fails on demand,
// wants cuInit first.
Result enter(const char* name, bool needs_init = true);
ContextObject* current_context();
Result stream_state(Stream stream);
// Does everything that the stream still has to do; the lock is open meanwhile.
void finish(Stream stream, Lock& lock);
// Of fake_cuda_work.cpp.
void add_work(EntryPoints& entries);
// Of fake_cuda_ipc.cpp. Device memory, in the books; freed memory has to be in them.
std::uint64_t allocate_device(std::size_t bytes);
void free_device(std::uint64_t address);
void add_ipc(EntryPoints& entries);

template <typename Object>
bool usable(Object* object) {
  if (object == nullptr) return false;
  if (!object->alive) ++state().misuse;
  return object->alive;
}

}  // namespace fake_cuda
