#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "glet/web/grpc_body.h"
#include "glet/web/oip_call.h"

// Messages of inference.GRPCInferenceService that the core reads and writes itself; field numbers
// are those of the Open Inference Protocol's grpc_service.proto.
namespace glet::web {

// Fills `request`, which was empty, from a ModelInferRequest. `keep` owns the message, or is
// nothing: then rows of its tensors are copied. At most 64 inputs and outputs of at most 16
// dimensions, and `longest` bytes of decoded contents. Throws WireError, one line; model and id are
// in `request` then as well, as far as they were read.
void read_infer(std::span<const std::byte> message, const std::shared_ptr<const void>& keep,
                std::size_t longest, OipRequest& request);

// A ModelInferResponse with its gRPC head; outputs go into raw_output_contents. `stream`: inside a
// ModelStreamInferResponse.
void write_response(OipResponse& response, bool stream, OutBody& out);

// A ModelStreamInferResponse that says what went wrong, with its gRPC head.
void write_stream_error(std::string_view model, std::string_view id, std::string_view message,
                        OutBody& out);

// {bool live|ready = 1}, with its gRPC head.
void write_flag(bool value, OutBody& out);

// Any message of at most 4 GiB, with its gRPC head.
void write_message(std::string_view message, OutBody& out);

// Moves one message with its gRPC head from `plain` to `out`, compressed where that makes it
// smaller.
void pack_message(OutBody& plain, OutBody& out);

struct GrpcModelReady {
  std::string_view name;
  std::string_view version;
};
// Throws WireError.
GrpcModelReady read_model_ready(std::span<const std::byte> message);

}  // namespace glet::web
