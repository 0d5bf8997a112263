// A backend of Triton that answers with its one input: what its front ends can do at most.
//
// Of tritonbackend.h only what is called, declared here: PyTriton's wheel has no headers. Triton
// looks for TRITONBACKEND_ModelInstanceExecute in libtriton_identity.so; it has made the batch.

#include <cstdint>
#include <cstring>

extern "C" {

struct TRITONSERVER_Error;
struct TRITONBACKEND_Input;
struct TRITONBACKEND_ModelInstance;
struct TRITONBACKEND_Output;
struct TRITONBACKEND_Request;
struct TRITONBACKEND_Response;

TRITONSERVER_Error* TRITONSERVER_ErrorNew(int code, const char* message);
void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error);
TRITONSERVER_Error* TRITONBACKEND_RequestInputByIndex(TRITONBACKEND_Request* request,
                                                      std::uint32_t index,
                                                      TRITONBACKEND_Input** input);
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request,
                                                 std::uint32_t flags);
TRITONSERVER_Error* TRITONBACKEND_InputProperties(TRITONBACKEND_Input* input, const char** name,
                                                  int* datatype, const std::int64_t** shape,
                                                  std::uint32_t* dims, std::uint64_t* bytes,
                                                  std::uint32_t* buffers);
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(TRITONBACKEND_Input* input, std::uint32_t index,
                                              const void** buffer, std::uint64_t* bytes,
                                              int* memory_type, std::int64_t* memory_id);
TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response,
                                              TRITONBACKEND_Request* request);
TRITONSERVER_Error* TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response* response,
                                                 TRITONBACKEND_Output** output, const char* name,
                                                 int datatype, const std::int64_t* shape,
                                                 std::uint32_t dims);
TRITONSERVER_Error* TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output* output, void** buffer,
                                               std::uint64_t bytes, int* memory_type,
                                               std::int64_t* memory_id);
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response* response,
                                               std::uint32_t flags, TRITONSERVER_Error* error);

}  // extern "C"

namespace {

constexpr std::uint32_t kFinal = 1;       // the only response
constexpr std::uint32_t kReleaseAll = 1;  // nothing of the request is needed any more
constexpr int kInternal = 1;              // TRITONSERVER_ERROR_INTERNAL
constexpr int kCpu = 0;                   // TRITONSERVER_MEMORY_CPU

// Copies the input, which may lie in several buffers, into the output `y`.
TRITONSERVER_Error* answer(TRITONBACKEND_Request* request, TRITONBACKEND_Response* response) {
  TRITONBACKEND_Input* input = nullptr;
  if (auto* error = TRITONBACKEND_RequestInputByIndex(request, 0, &input)) return error;
  const char* name = nullptr;
  const std::int64_t* shape = nullptr;
  int datatype = 0;
  std::uint32_t dims = 0;
  std::uint32_t buffers = 0;
  std::uint64_t bytes = 0;
  if (auto* error =
          TRITONBACKEND_InputProperties(input, &name, &datatype, &shape, &dims, &bytes, &buffers)) {
    return error;
  }
  TRITONBACKEND_Output* output = nullptr;
  if (auto* error = TRITONBACKEND_ResponseOutput(response, &output, "y", datatype, shape, dims)) {
    return error;
  }
  void* to = nullptr;
  int memory_type = kCpu;
  std::int64_t memory_id = 0;
  if (auto* error = TRITONBACKEND_OutputBuffer(output, &to, bytes, &memory_type, &memory_id)) {
    return error;
  }
  auto* at = static_cast<char*>(to);
  for (std::uint32_t i = 0; i < buffers; ++i) {
    const void* from = nullptr;
    std::uint64_t size = 0;
    memory_type = kCpu;
    if (auto* error = TRITONBACKEND_InputBuffer(input, i, &from, &size, &memory_type, &memory_id)) {
      return error;
    }
    if (memory_type != kCpu) return TRITONSERVER_ErrorNew(kInternal, "an input beyond the CPU");
    std::memcpy(at, from, size);
    at += size;
  }
  return nullptr;
}

void forget(TRITONSERVER_Error* error) {
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) TRITONSERVER_Error*
TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance*, TRITONBACKEND_Request** requests,
                                   const std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    TRITONBACKEND_Response* response = nullptr;
    auto* const none = TRITONBACKEND_ResponseNew(&response, requests[i]);
    if (none == nullptr) {
      auto* const error = answer(requests[i], response);
      forget(TRITONBACKEND_ResponseSend(response, kFinal, error));
      forget(error);
    }
    forget(none);
    forget(TRITONBACKEND_RequestRelease(requests[i], kReleaseAll));
  }
  return nullptr;
}
