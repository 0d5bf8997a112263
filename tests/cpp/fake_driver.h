#pragma once

#include <dlfcn.h>

#include <memory>
#include <string>
#include <vector>

#include "fake_cuda.h"
#include "glet/exec/partition/cuda_driver.h"

// The fake libcuda.so.1 and its controls. It stays loaded, so this process finds it under that
// name.
class FakeDriver {
 public:
  FakeDriver() : library_(::dlopen(GLET_FAKE_CUDA, RTLD_NOW)) {
    find("fake_cuda_reset", reset_);
    find("fake_cuda_set", set_);
    find("fake_cuda_fail", fail_);
    find("fake_cuda_hide", hide_);
    find("fake_cuda_count", count_);
    find("fake_cuda_sms", sms_);
    find("fake_cuda_priority", priority_);
    find("fake_cuda_alloc", alloc);
    find("fake_cuda_free", free);
    find("fake_cuda_graph", graph);
    find("fake_cuda_graph_free", graph_free);
    find("fake_cuda_enqueue", enqueue);
    reset_();
  }

  std::shared_ptr<const glet::exec::CudaDriver> open() const {
    return glet::exec::CudaDriver::open(GLET_FAKE_CUDA);
  }
  FakeDriver& set(const char* name, int value) {
    if (set_(name, value) == 0) throw std::string("no setting ") + name;
    return *this;
  }
  void fail(const char* call, int nth, int code) { fail_(call, nth, code); }
  void hide(const char* call) { hide_(call); }
  int count(const char* what) const {
    const int count = count_(what);
    if (count < 0) throw std::string("no count ") + what;
    return count;
  }
  std::vector<int> sms(glet::exec::cuda::Context context) const {
    std::vector<int> ids(1024);
    ids.resize(static_cast<std::size_t>(sms_(context, ids.data(), 1024)));
    return ids;
  }
  int priority(glet::exec::cuda::Stream stream) const { return priority_(stream); }

  // Nothing alive, nothing done that the driver leaves undefined.
  bool clean() const {
    int left = 0;
    for (const char* what : {"contexts", "streams", "events", "graphs", "memory", "pinned",
                             "primary", "current", "leaked", "misuse"}) {
      left += count(what);
    }
    return left == 0;
  }

  // See fake_cuda.h.
  decltype(&fake_cuda_alloc) alloc = nullptr;
  decltype(&fake_cuda_free) free = nullptr;
  decltype(&fake_cuda_graph) graph = nullptr;
  decltype(&fake_cuda_graph_free) graph_free = nullptr;
  decltype(&fake_cuda_enqueue) enqueue = nullptr;

 private:
  template <typename Function>
  void find(const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(library_, name));
    if (function == nullptr) throw std::string("the fake has no ") + name;
  }

  void* library_;
  decltype(&fake_cuda_reset) reset_ = nullptr;
  decltype(&fake_cuda_set) set_ = nullptr;
  decltype(&fake_cuda_fail) fail_ = nullptr;
  decltype(&fake_cuda_hide) hide_ = nullptr;
  decltype(&fake_cuda_count) count_ = nullptr;
  decltype(&fake_cuda_sms) sms_ = nullptr;
  decltype(&fake_cuda_priority) priority_ = nullptr;
};
