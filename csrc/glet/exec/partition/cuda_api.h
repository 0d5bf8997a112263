#pragma once

#include <cstddef>
#include <cstdint>

// The part of the CUDA driver's C interface that glet uses, in glet's own words: the core is built
// without a CUDA toolkit. Values and layouts are those of CUDA 12.4 to 13.0;
// tests/cpp/cuda_header_test.cpp holds them against cuda.h where there is one.
namespace glet::exec::cuda {

using Result = int;
using Device = int;

struct ContextObject;  // the driver's, opaque
struct GreenObject;
struct StreamObject;
struct EventObject;
struct DescObject;
struct GraphObject;
using Context = ContextObject*;
using Green = GreenObject*;
using Stream = StreamObject*;
using Event = EventObject*;
using ResourceDesc = DescObject*;
using GraphExec = GraphObject*;
using DevicePointer = std::uint64_t;

inline constexpr Result kSuccess = 0;
inline constexpr Result kInvalidValue = 1;
inline constexpr Result kOutOfMemory = 2;
inline constexpr Result kNotInitialized = 3;
inline constexpr Result kStubLibrary = 34;
inline constexpr Result kNoDevice = 100;
inline constexpr Result kInvalidDevice = 101;
inline constexpr Result kInvalidContext = 201;
inline constexpr Result kEccUncorrectable = 214;
inline constexpr Result kNvlinkUncorrectable = 220;
inline constexpr Result kInvalidHandle = 400;
inline constexpr Result kNotReady = 600;
inline constexpr Result kIllegalAddress = 700;
inline constexpr Result kLaunchTimeout = 702;
inline constexpr Result kContextIsDestroyed = 709;
inline constexpr Result kAssert = 710;
inline constexpr Result kHardwareStackError = 714;
inline constexpr Result kIllegalInstruction = 715;
inline constexpr Result kMisalignedAddress = 716;
inline constexpr Result kInvalidAddressSpace = 717;
inline constexpr Result kInvalidPc = 718;
inline constexpr Result kLaunchFailed = 719;
inline constexpr Result kNotSupported = 801;
inline constexpr Result kSystemDriverMismatch = 803;
inline constexpr Result kInvalidResourceType = 914;
inline constexpr Result kInvalidResourceConfiguration = 915;

inline constexpr int kMultiprocessorCount = 16;  // device attributes
inline constexpr int kCapabilityMajor = 75;
inline constexpr int kCapabilityMinor = 76;

inline constexpr int kPointerDeviceOrdinal = 9;  // pointer attributes
inline constexpr int kPointerIpcCapable = 10;    // of the kind of handles below

inline constexpr unsigned kGreenDefaultStream = 1;      // cuGreenCtxCreate insists on it
inline constexpr unsigned kStreamNonBlocking = 1;       // cuGreenCtxStreamCreate insists on it
inline constexpr unsigned kEventBlockingSync = 1;       // who waits sleeps
inline constexpr unsigned kHostPortable = 1;            // pinned for every context
inline constexpr unsigned kIpcLazyPeerAccess = 1;       // memory of another device, where it can
inline constexpr unsigned long long kLegacyStream = 1;  // cuGetProcAddress: not the per-thread kind

inline constexpr unsigned kResourceInvalid = 0;
inline constexpr unsigned kResourceSm = 1;

struct SmResource {
  unsigned sm_count = 0;
  unsigned min_partition = 0;          // SMs; a driver before CUDA 13.0 leaves 0
  unsigned coscheduled_alignment = 0;  // SMs; likewise
};

// The driver's is a union by type. Later versions keep a pointer at the end, hence the alignment.
struct alignas(8) DevResource {
  unsigned type = kResourceInvalid;
  unsigned char internal[92] = {};
  SmResource sm;
  unsigned char external[36] = {};
};
static_assert(sizeof(DevResource) == 144 && offsetof(DevResource, sm) == 96);

// Names an allocation of another process.
struct IpcHandle {
  unsigned char bytes[64] = {};
  bool operator==(const IpcHandle&) const = default;
};

using GetProcAddress = Result (*)(const char* symbol, void** address, int version,
                                  unsigned long long flags, int* status);

// A function of the driver. `since`: the CUDA version (1000 * major + 10 * minor) that brought this
// prototype, which is what cuGetProcAddress has to be asked for: a later one may bring another.
template <typename... Args>
struct EntryPoint {
  const char* name;
  int since;
  Result (*function)(Args...) = nullptr;
};

struct EntryPoints {
  EntryPoint<unsigned> init{"cuInit", 2000};
  EntryPoint<int*> driver_get_version{"cuDriverGetVersion", 2020};
  EntryPoint<Result, const char**> get_error_name{"cuGetErrorName", 6000};
  EntryPoint<Result, const char**> get_error_string{"cuGetErrorString", 6000};
  EntryPoint<int*> device_get_count{"cuDeviceGetCount", 2000};
  EntryPoint<Device*, int> device_get{"cuDeviceGet", 2000};
  EntryPoint<char*, int, Device> device_get_name{"cuDeviceGetName", 2000};
  EntryPoint<int*, int, Device> device_get_attribute{"cuDeviceGetAttribute", 2000};
  EntryPoint<std::size_t*, Device> device_total_mem{"cuDeviceTotalMem", 3020};
  EntryPoint<Context*, Device> primary_ctx_retain{"cuDevicePrimaryCtxRetain", 7000};
  EntryPoint<Device> primary_ctx_release{"cuDevicePrimaryCtxRelease", 11000};
  EntryPoint<Context> ctx_push_current{"cuCtxPushCurrent", 4000};
  EntryPoint<Context*> ctx_pop_current{"cuCtxPopCurrent", 4000};
  EntryPoint<std::size_t*, std::size_t*> mem_get_info{"cuMemGetInfo", 3020};
  EntryPoint<Stream> stream_synchronize{"cuStreamSynchronize", 2000};
  EntryPoint<Stream> stream_destroy{"cuStreamDestroy", 4000};
  EntryPoint<Event*, unsigned> event_create{"cuEventCreate", 2000};
  EntryPoint<Event, Stream> event_record{"cuEventRecord", 2000};
  EntryPoint<Event> event_query{"cuEventQuery", 2000};
  EntryPoint<Event> event_synchronize{"cuEventSynchronize", 2000};
  EntryPoint<float*, Event, Event> event_elapsed_time{"cuEventElapsedTime", 2000};
  EntryPoint<Event> event_destroy{"cuEventDestroy", 4000};

  EntryPoint<void**, std::size_t, unsigned> host_alloc{"cuMemHostAlloc", 2020};
  EntryPoint<void*> host_free{"cuMemFreeHost", 2000};
  EntryPoint<DevicePointer*, std::size_t> mem_alloc{"cuMemAlloc", 3020};
  EntryPoint<DevicePointer> mem_free{"cuMemFree", 3020};
  EntryPoint<DevicePointer, const void*, std::size_t, Stream> copy_to_device{"cuMemcpyHtoDAsync",
                                                                             3020};
  EntryPoint<void*, DevicePointer, std::size_t, Stream> copy_to_host{"cuMemcpyDtoHAsync", 3020};
  EntryPoint<DevicePointer, DevicePointer, std::size_t, Stream> copy_on_device{"cuMemcpyDtoDAsync",
                                                                               3020};
  EntryPoint<GraphExec, Stream> graph_launch{"cuGraphLaunch", 10000};
  EntryPoint<> ctx_synchronize{"cuCtxSynchronize", 2000};
  EntryPoint<void*, int, DevicePointer> pointer_attribute{"cuPointerGetAttribute", 4000};
  EntryPoint<DevicePointer*, std::size_t*, DevicePointer> address_range{"cuMemGetAddressRange",
                                                                        3020};
  EntryPoint<IpcHandle*, DevicePointer> ipc_get_handle{"cuIpcGetMemHandle", 4010};
  EntryPoint<DevicePointer*, IpcHandle, unsigned> ipc_open_handle{"cuIpcOpenMemHandle", 11000};
  EntryPoint<DevicePointer> ipc_close_handle{"cuIpcCloseMemHandle", 4010};

  EntryPoint<Device, DevResource*, unsigned> device_get_resource{"cuDeviceGetDevResource", 12040};
  EntryPoint<Context, DevResource*, unsigned> ctx_get_resource{"cuCtxGetDevResource", 12040};
  EntryPoint<DevResource*, unsigned*, const DevResource*, DevResource*, unsigned, unsigned>
      split_by_count{"cuDevSmResourceSplitByCount", 12040};
  EntryPoint<ResourceDesc*, DevResource*, unsigned> generate_desc{"cuDevResourceGenerateDesc",
                                                                  12040};
  EntryPoint<Green*, ResourceDesc, Device, unsigned> green_create{"cuGreenCtxCreate", 12040};
  EntryPoint<Green> green_destroy{"cuGreenCtxDestroy", 12040};
  EntryPoint<Context*, Green> ctx_from_green{"cuCtxFromGreenCtx", 12040};
  EntryPoint<Stream*, Green, unsigned, int> green_stream_create{"cuGreenCtxStreamCreate", 12050};

  // What every driver of CUDA 12 has.
  template <typename Visit>
  void visit_basic(Visit visit) {
    visit(init);
    visit(driver_get_version);
    visit(get_error_name);
    visit(get_error_string);
    visit(device_get_count);
    visit(device_get);
    visit(device_get_name);
    visit(device_get_attribute);
    visit(device_total_mem);
    visit(primary_ctx_retain);
    visit(primary_ctx_release);
    visit(ctx_push_current);
    visit(ctx_pop_current);
    visit(mem_get_info);
    visit(stream_synchronize);
    visit(stream_destroy);
    visit(event_create);
    visit(event_record);
    visit(event_query);
    visit(event_synchronize);
    visit(event_elapsed_time);
    visit(event_destroy);
    visit(host_alloc);
    visit(host_free);
    visit(mem_alloc);
    visit(mem_free);
    visit(copy_to_device);
    visit(copy_to_host);
    visit(copy_on_device);
    visit(graph_launch);
    visit(ctx_synchronize);
    visit(pointer_attribute);
    visit(address_range);
    visit(ipc_get_handle);
    visit(ipc_open_handle);
    visit(ipc_close_handle);
  }

  // What green contexts need besides.
  template <typename Visit>
  void visit_green(Visit visit) {
    visit(device_get_resource);
    visit(ctx_get_resource);
    visit(split_by_count);
    visit(generate_desc);
    visit(green_create);
    visit(green_destroy);
    visit(ctx_from_green);
    visit(green_stream_create);
  }
};

}  // namespace glet::exec::cuda
