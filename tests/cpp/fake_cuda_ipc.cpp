// What the fake libcuda.so.1 does with memory of other processes: with the setting `ipc` its device
// memory is a file without a name, which others open through /proc.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "fake_cuda.h"
#include "fake_cuda_state.h"

namespace fake_cuda {

#define ENTER(name)                  \
  const std::lock_guard lock(mutex); \
  if (const Result early = enter(name)) return early

namespace {

struct Handle {
  char magic[8];
  int pid;
  int file;
  std::uint64_t bytes;
};
constexpr char kMagic[8] = "FAKEIPC";

std::uint64_t map(int file, std::size_t bytes) {
  void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  return at == MAP_FAILED ? 0 : reinterpret_cast<std::uint64_t>(at);
}

// The allocation that an address is in, or the end.
auto block_of(std::uint64_t address) {
  auto& memory = state().memory;
  auto at = memory.upper_bound(address);
  if (at == memory.begin()) return memory.end();
  --at;
  return address < at->first + at->second ? at : memory.end();
}

Result ctx_synchronize() {
  Lock lock(mutex);
  if (const Result early = enter("cuCtxSynchronize")) return early;
  if (!usable(current_context())) return kInvalidContext;
  for (auto& stream : state().streams) {
    if (stream.alive && stream.context == current_context()) finish(&stream, lock);
  }
  return kSuccess;
}

Result pointer_attribute(void* value, int which, DevicePointer address) {
  ENTER("cuPointerGetAttribute");
  const auto block = block_of(address);
  if (block == state().memory.end()) return kInvalidValue;
  if (which == kPointerDeviceOrdinal) {
    *static_cast<int*>(value) = 0;
  } else if (which == kPointerIpcCapable) {
    *static_cast<unsigned char*>(value) = state().files.count(block->first) != 0 ? 1 : 0;
  } else {
    return kInvalidValue;
  }
  return kSuccess;
}

Result address_range(DevicePointer* base, std::size_t* bytes, DevicePointer address) {
  ENTER("cuMemGetAddressRange");
  const auto block = block_of(address);
  if (block == state().memory.end()) return kInvalidValue;
  *base = block->first;
  *bytes = block->second;
  return kSuccess;
}

Result ipc_get_handle(IpcHandle* handle, DevicePointer address) {
  ENTER("cuIpcGetMemHandle");
  const auto file = state().files.find(address);
  if (file == state().files.end()) return kInvalidValue;
  Handle made{};
  std::memcpy(made.magic, kMagic, sizeof kMagic);
  made.pid = ::getpid();
  made.file = file->second;
  made.bytes = state().memory.at(address);
  *handle = IpcHandle{};
  std::memcpy(handle->bytes, &made, sizeof made);
  return kSuccess;
}

Result ipc_open_handle(DevicePointer* address, IpcHandle handle, unsigned flags) {
  ENTER("cuIpcOpenMemHandle");
  if (!usable(current_context())) return kInvalidContext;
  if (flags != kIpcLazyPeerAccess) return kInvalidValue;
  Handle given;
  std::memcpy(&given, handle.bytes, sizeof given);
  if (std::memcmp(given.magic, kMagic, sizeof kMagic) != 0) return kInvalidValue;
  if (given.pid == ::getpid() && setting("ipc") != 2) return kInvalidContext;
  const std::string path =
      "/proc/" + std::to_string(given.pid) + "/fd/" + std::to_string(given.file);
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return kInvalidValue;
  *address = map(file, given.bytes);
  ::close(file);
  if (*address == 0) return kOutOfMemory;
  state().memory[*address] = given.bytes;
  state().imports.insert(*address);
  return kSuccess;
}

Result ipc_close_handle(DevicePointer address) {
  ENTER("cuIpcCloseMemHandle");
  if (!usable(current_context())) return kInvalidContext;
  if (state().imports.count(address) == 0) {
    ++state().misuse;
    return kInvalidValue;
  }
  free_device(address);
  return kSuccess;
}

}  // namespace

std::uint64_t allocate_device(std::size_t bytes) {
  if (setting("ipc") == 0) {
    const auto address = reinterpret_cast<std::uint64_t>(std::malloc(bytes));
    state().memory[address] = bytes;
    return address;
  }
  const int file = ::memfd_create("fake-cuda", MFD_CLOEXEC);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes)) != 0) return 0;
  const std::uint64_t address = map(file, bytes);
  state().memory[address] = bytes;
  state().files[address] = file;
  return address;
}

void free_device(std::uint64_t address) {
  const std::size_t bytes = state().memory.at(address);
  state().memory.erase(address);
  const auto file = state().files.find(address);
  if (file == state().files.end() && state().imports.erase(address) == 0) {
    std::free(reinterpret_cast<void*>(address));
    return;
  }
  ::munmap(reinterpret_cast<void*>(address), bytes);
  if (file == state().files.end()) return;
  ::close(file->second);
  state().files.erase(file);
}

void add_ipc(EntryPoints& entries) {
  entries.ctx_synchronize.function = ctx_synchronize;
  entries.pointer_attribute.function = pointer_attribute;
  entries.address_range.function = address_range;
  entries.ipc_get_handle.function = ipc_get_handle;
  entries.ipc_open_handle.function = ipc_open_handle;
  entries.ipc_close_handle.function = ipc_close_handle;
}

}  // namespace fake_cuda
