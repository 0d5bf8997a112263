#include "glet/web/grpc_stream.h"

#include <algorithm>
#include <array>

namespace glet::web {
namespace {

constexpr std::string_view kService = "/inference.GRPCInferenceService/";
constexpr std::string_view kHealth = "/grpc.health.v1.Health/Check";
constexpr std::array<std::string_view, 15> kPythonMethods{
    "ServerMetadata",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
};
// Those of them that only read.
constexpr std::array<std::string_view, 7> kReads{
    "ServerMetadata",         "ModelMetadata",   "ModelConfig",
    "ModelStatistics",        "RepositoryIndex", "SystemSharedMemoryStatus",
    "CudaSharedMemoryStatus",
};

}  // namespace

GrpcMethod grpc_method(std::string_view path) {
  if (!path.starts_with(kService)) {
    return path == kHealth ? GrpcMethod::kPython : GrpcMethod::kUnknown;
  }
  const std::string_view name = path.substr(kService.size());
  if (name == "ModelInfer") return GrpcMethod::kModelInfer;
  if (name == "ModelStreamInfer") return GrpcMethod::kModelStreamInfer;
  if (name == "ServerLive") return GrpcMethod::kServerLive;
  if (name == "ServerReady") return GrpcMethod::kServerReady;
  if (name == "ModelReady") return GrpcMethod::kModelReady;
  const bool known = std::ranges::find(kPythonMethods, name) != kPythonMethods.end();
  return known ? GrpcMethod::kPython : GrpcMethod::kUnknown;
}

Need grpc_need(GrpcMethod method, std::string_view path) {
  switch (method) {
    case GrpcMethod::kServerLive:
    case GrpcMethod::kServerReady:
      return Need::kNothing;
    case GrpcMethod::kPython:
      break;
    default:
      return Need::kUse;
  }
  if (!path.starts_with(kService)) return Need::kNothing;  // grpc.health.v1
  const bool reads = std::ranges::find(kReads, path.substr(kService.size())) != kReads.end();
  return reads ? Need::kUse : Need::kAdmin;
}

void GrpcStream::reuse() {
  remote_ended = answered = ended = closed = false;
  out.clear();
  status = 0;
  status_message.clear();
  method = GrpcMethod::kUnknown;
  encoding = GrpcEncoding::kIdentity;
  is_post = is_grpc = accepts_gzip = has_headers = has_message = bad_timeout = false;
  is_paused = is_queued = false;
  right = Right::kNone;
  path.clear();
  traceparent.clear();
  headers.clear();
  header_bytes = 0;
  timeout = deadline = kNever;
  in.clear();
  held_bytes = unconsumed_bytes = 0;
  calls.clear();
  arriving.end();
  leaving.end();
}

}  // namespace glet::web
