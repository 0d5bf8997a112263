// Built only where a CUDA toolkit is: glet's own words for the driver against the driver's header.
#include <cudaTypedefs.h>
#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <type_traits>

#include "glet/exec/partition/cuda_api.h"

namespace cuda = glet::exec::cuda;

namespace {

// Two types that a caller and a callee may disagree about without noticing.
template <typename Ours, typename Theirs>
constexpr bool same_value() {
  if constexpr (std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>) {
    using OursTo = std::remove_pointer_t<Ours>;
    using TheirsTo = std::remove_pointer_t<Theirs>;
    if constexpr (requires { sizeof(OursTo); } && requires { sizeof(TheirsTo); }) {
      if constexpr (std::is_pointer_v<OursTo>) return same_value<OursTo, TheirsTo>();
      return sizeof(OursTo) == sizeof(TheirsTo) &&
             std::is_floating_point_v<OursTo> == std::is_floating_point_v<TheirsTo>;
    }
    return true;  // opaque handles
  } else {
    return sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs> &&
           std::is_floating_point_v<Ours> == std::is_floating_point_v<Theirs>;
  }
}

template <typename Ours, typename Theirs>
struct SameCall : std::false_type {};
template <typename... Ours, typename... Theirs>
  requires(sizeof...(Ours) == sizeof...(Theirs))
struct SameCall<cuda::Result (*)(Ours...), CUresult (*)(Theirs...)>
    : std::bool_constant<(same_value<Ours, Theirs>() && ...)> {};

int checked = 0;

}  // namespace

#define CHECK_ENTRY(member, symbol, version)                                                     \
  static_assert(                                                                                 \
      SameCall<decltype(cuda::EntryPoints::member.function), PFN_##symbol##_v##version>::value); \
  CHECK(cuda::EntryPoints{}.member.name == std::string(#symbol));                                \
  CHECK(cuda::EntryPoints{}.member.since == version);                                            \
  ++checked

TEST_CASE("every entry point has the name, version and prototype of the header") {
  static_assert(SameCall<cuda::GetProcAddress, PFN_cuGetProcAddress_v12000>::value);
  CHECK_ENTRY(init, cuInit, 2000);
  CHECK_ENTRY(driver_get_version, cuDriverGetVersion, 2020);
  CHECK_ENTRY(get_error_name, cuGetErrorName, 6000);
  CHECK_ENTRY(get_error_string, cuGetErrorString, 6000);
  CHECK_ENTRY(device_get_count, cuDeviceGetCount, 2000);
  CHECK_ENTRY(device_get, cuDeviceGet, 2000);
  CHECK_ENTRY(device_get_name, cuDeviceGetName, 2000);
  CHECK_ENTRY(device_get_attribute, cuDeviceGetAttribute, 2000);
  CHECK_ENTRY(device_total_mem, cuDeviceTotalMem, 3020);
  CHECK_ENTRY(primary_ctx_retain, cuDevicePrimaryCtxRetain, 7000);
  CHECK_ENTRY(primary_ctx_release, cuDevicePrimaryCtxRelease, 11000);
  CHECK_ENTRY(ctx_push_current, cuCtxPushCurrent, 4000);
  CHECK_ENTRY(ctx_pop_current, cuCtxPopCurrent, 4000);
  CHECK_ENTRY(mem_get_info, cuMemGetInfo, 3020);
  CHECK_ENTRY(stream_synchronize, cuStreamSynchronize, 2000);
  CHECK_ENTRY(stream_destroy, cuStreamDestroy, 4000);
  CHECK_ENTRY(event_create, cuEventCreate, 2000);
  CHECK_ENTRY(event_record, cuEventRecord, 2000);
  CHECK_ENTRY(event_query, cuEventQuery, 2000);
  CHECK_ENTRY(event_synchronize, cuEventSynchronize, 2000);
  CHECK_ENTRY(event_elapsed_time, cuEventElapsedTime, 2000);
  CHECK_ENTRY(event_destroy, cuEventDestroy, 4000);
  CHECK_ENTRY(host_alloc, cuMemHostAlloc, 2020);
  CHECK_ENTRY(host_free, cuMemFreeHost, 2000);
  CHECK_ENTRY(mem_alloc, cuMemAlloc, 3020);
  CHECK_ENTRY(mem_free, cuMemFree, 3020);
  CHECK_ENTRY(copy_to_device, cuMemcpyHtoDAsync, 3020);
  CHECK_ENTRY(copy_to_host, cuMemcpyDtoHAsync, 3020);
  CHECK_ENTRY(copy_on_device, cuMemcpyDtoDAsync, 3020);
  CHECK_ENTRY(ctx_synchronize, cuCtxSynchronize, 2000);
  CHECK_ENTRY(pointer_attribute, cuPointerGetAttribute, 4000);
  CHECK_ENTRY(address_range, cuMemGetAddressRange, 3020);
  CHECK_ENTRY(ipc_get_handle, cuIpcGetMemHandle, 4010);
  CHECK_ENTRY(ipc_open_handle, cuIpcOpenMemHandle, 11000);
  CHECK_ENTRY(ipc_close_handle, cuIpcCloseMemHandle, 4010);
  CHECK_ENTRY(graph_launch, cuGraphLaunch, 10000);
  CHECK_ENTRY(device_get_resource, cuDeviceGetDevResource, 12040);
  CHECK_ENTRY(ctx_get_resource, cuCtxGetDevResource, 12040);
  CHECK_ENTRY(split_by_count, cuDevSmResourceSplitByCount, 12040);
  CHECK_ENTRY(generate_desc, cuDevResourceGenerateDesc, 12040);
  CHECK_ENTRY(green_create, cuGreenCtxCreate, 12040);
  CHECK_ENTRY(green_destroy, cuGreenCtxDestroy, 12040);
  CHECK_ENTRY(ctx_from_green, cuCtxFromGreenCtx, 12040);
  CHECK_ENTRY(green_stream_create, cuGreenCtxStreamCreate, 12050);

  int known = 0;
  const auto count = [&known](const auto&) { ++known; };
  cuda::EntryPoints all;
  all.visit_basic(count);
  all.visit_green(count);
  CHECK(checked == known);
}

TEST_CASE("a resource has the layout of the header") {
  static_assert(sizeof(cuda::DevResource) == sizeof(CUdevResource));
  static_assert(offsetof(cuda::DevResource, type) == offsetof(CUdevResource, type));
  static_assert(offsetof(cuda::DevResource, sm) == offsetof(CUdevResource, sm));
  CUdevResource theirs{};
  theirs.type = CU_DEV_RESOURCE_TYPE_SM;
  theirs.sm.smCount = 132;
  cuda::DevResource ours;
  __builtin_memcpy(&ours, &theirs, sizeof(ours));
  CHECK(ours.type == cuda::kResourceSm);
  CHECK(ours.sm.sm_count == 132);
#if CUDA_VERSION >= 13000
  theirs.sm.minSmPartitionSize = 8;
  theirs.sm.smCoscheduledAlignment = 4;
  __builtin_memcpy(&ours, &theirs, sizeof(ours));
  CHECK(ours.sm.min_partition == 8);
  CHECK(ours.sm.coscheduled_alignment == 4);
#endif
}

TEST_CASE("numbers are those of the header") {
  static_assert(cuda::kSuccess == CUDA_SUCCESS);
  static_assert(cuda::kInvalidValue == CUDA_ERROR_INVALID_VALUE);
  static_assert(cuda::kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
  static_assert(cuda::kNotInitialized == CUDA_ERROR_NOT_INITIALIZED);
  static_assert(cuda::kStubLibrary == CUDA_ERROR_STUB_LIBRARY);
  static_assert(cuda::kNoDevice == CUDA_ERROR_NO_DEVICE);
  static_assert(cuda::kInvalidDevice == CUDA_ERROR_INVALID_DEVICE);
  static_assert(cuda::kInvalidContext == CUDA_ERROR_INVALID_CONTEXT);
  static_assert(cuda::kInvalidHandle == CUDA_ERROR_INVALID_HANDLE);
  static_assert(cuda::kContextIsDestroyed == CUDA_ERROR_CONTEXT_IS_DESTROYED);
  static_assert(cuda::kEccUncorrectable == CUDA_ERROR_ECC_UNCORRECTABLE);
  static_assert(cuda::kNvlinkUncorrectable == CUDA_ERROR_NVLINK_UNCORRECTABLE);
  static_assert(cuda::kNotReady == CUDA_ERROR_NOT_READY);
  static_assert(cuda::kIllegalAddress == CUDA_ERROR_ILLEGAL_ADDRESS);
  static_assert(cuda::kLaunchTimeout == CUDA_ERROR_LAUNCH_TIMEOUT);
  static_assert(cuda::kAssert == CUDA_ERROR_ASSERT);
  static_assert(cuda::kHardwareStackError == CUDA_ERROR_HARDWARE_STACK_ERROR);
  static_assert(cuda::kIllegalInstruction == CUDA_ERROR_ILLEGAL_INSTRUCTION);
  static_assert(cuda::kMisalignedAddress == CUDA_ERROR_MISALIGNED_ADDRESS);
  static_assert(cuda::kInvalidAddressSpace == CUDA_ERROR_INVALID_ADDRESS_SPACE);
  static_assert(cuda::kInvalidPc == CUDA_ERROR_INVALID_PC);
  static_assert(cuda::kLaunchFailed == CUDA_ERROR_LAUNCH_FAILED);
  static_assert(cuda::kHostPortable == CU_MEMHOSTALLOC_PORTABLE);
  static_assert(cuda::kNotSupported == CUDA_ERROR_NOT_SUPPORTED);
  static_assert(cuda::kSystemDriverMismatch == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
  static_assert(cuda::kInvalidResourceType == CUDA_ERROR_INVALID_RESOURCE_TYPE);
  static_assert(cuda::kInvalidResourceConfiguration == CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
  static_assert(cuda::kMultiprocessorCount == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  static_assert(cuda::kCapabilityMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  static_assert(cuda::kCapabilityMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  static_assert(cuda::kPointerDeviceOrdinal == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
  static_assert(cuda::kPointerIpcCapable == CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE);
  static_assert(cuda::kIpcLazyPeerAccess == CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
  static_assert(sizeof(cuda::IpcHandle) == sizeof(CUipcMemHandle));
  static_assert(cuda::kGreenDefaultStream == CU_GREEN_CTX_DEFAULT_STREAM);
  static_assert(cuda::kStreamNonBlocking == CU_STREAM_NON_BLOCKING);
  static_assert(cuda::kEventBlockingSync == CU_EVENT_BLOCKING_SYNC);
  static_assert(cuda::kLegacyStream == CU_GET_PROC_ADDRESS_LEGACY_STREAM);
  static_assert(cuda::kResourceInvalid == CU_DEV_RESOURCE_TYPE_INVALID);
  static_assert(cuda::kResourceSm == CU_DEV_RESOURCE_TYPE_SM);
  CHECK(CUDA_VERSION >= 12050);
}
