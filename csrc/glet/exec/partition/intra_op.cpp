#include "glet/exec/partition/intra_op.h"

#include <dlfcn.h>

namespace glet::exec {
namespace {

using SetThreads = void (*)(int);
using GetThreads = int (*)();

template <typename Function>
Function find(void* library, const char* symbol) {
  void* address = library != nullptr ? ::dlsym(library, symbol) : nullptr;
  if (address == nullptr) address = ::dlsym(RTLD_DEFAULT, symbol);
  return reinterpret_cast<Function>(address);
}

// A library that is loaded already, by its soname; never loads one.
class Loaded {
 public:
  explicit Loaded(const char* soname) : handle_(::dlopen(soname, RTLD_LAZY | RTLD_NOLOAD)) {}
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
  ~Loaded() {
    if (handle_ != nullptr) ::dlclose(handle_);
  }
  void* get() const { return handle_; }

 private:
  void* handle_;
};

}  // namespace

int set_intra_op_threads(int threads) {
  const Loaded torch("libtorch_cpu.so");
  const Loaded gomp("libgomp.so.1");
  // The first use of torch in a thread copies torch's process-wide count into the thread, which
  // would undo what is set here: asking for the count gets that over with. Torch's own setter is
  // left alone: it also changes the count of the whole process and the size of a shared pool.
  if (const auto torch_get = find<GetThreads>(torch.get(), "_ZN2at15get_num_threadsEv")) {
    torch_get();
  }
  // MKL keeps a count of its own per thread.
  if (const auto mkl_set = find<int (*)(int)>(torch.get(), "MKL_Set_Num_Threads_Local")) {
    mkl_set(threads);
  }
  void* const omp = torch.get() != nullptr ? torch.get() : gomp.get();
  const auto omp_set = find<SetThreads>(omp, "omp_set_num_threads");
  const auto omp_get = find<GetThreads>(omp, "omp_get_max_threads");
  if (omp_set == nullptr || omp_get == nullptr) return 1;
  omp_set(threads);
  return omp_get();
}

void run_on_intra_op_threads(void (*function)(void*), void* data) {
  const Loaded torch("libtorch_cpu.so");
  const Loaded gomp("libgomp.so.1");
  // What a compiler makes of "#pragma omp parallel"; the other OpenMP libraries offer it too. 0
  // threads: as many as are set for this thread.
  using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);
  void* const omp = torch.get() != nullptr ? torch.get() : gomp.get();
  if (const auto parallel = find<Parallel>(omp, "GOMP_parallel")) parallel(function, data, 0, 0);
}

}  // namespace glet::exec
