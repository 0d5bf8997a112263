#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "glet/exec/engine.h"
#include "glet/exec/tensor.h"
#include "glet/time.h"

// What crosses a socket, byte by byte: python/glet/wire/README.md. This file is its C++ side.
namespace glet::net {

inline constexpr std::int64_t kProtocolVersion = 1;

// ---- client <-> frontend: a msgpack map, then one frame of raw bytes per tensor ----

// A header from a client. Views point into the frame it was read from.
struct ClientHeader {
  std::string_view op;
  std::optional<std::int64_t> id;
  std::optional<std::int64_t> version;
  std::string_view role;
  std::string_view model;
  std::optional<double> deadline_ms;
  std::string_view traceparent;
  std::span<const std::byte> inputs;  // the msgpack value, read only when it is not the usual one
};

// Throws WireError unless `frame` is one msgpack map with string keys, an `op`, and known fields
// of the right types. Fields that are not known are skipped: a later client may say more.
ClientHeader read_client_header(std::span<const std::byte> frame);

// [[name, dtype, [shape...]], ...] as msgpack, in the form every writer of ours produces. Those
// whose place in `on_device` is true are [name, dtype, [shape...], "cuda"].
std::string encode_specs(const std::vector<exec::TensorSpec>& specs,
                         const std::vector<bool>& on_device = {});

// Throws WireError unless `bytes` is such a list, with at most 64 tensors of at most 16 dimensions.
// A dtype that does not exist throws ArgumentError. Elements of `bytes` tensors may have any
// length. One on a device is malformed without `on_device`.
std::vector<exec::TensorSpec> decode_specs(std::span<const std::byte> bytes,
                                           std::vector<bool>* on_device = nullptr);

std::string encode_hello(std::string_view role);
std::string encode_infer(std::int64_t id, std::string_view model, std::string_view encoded_inputs,
                         std::optional<double> deadline_ms, std::string_view traceparent = {});

// An op without inputs: models, stats, cancel. `fields`: one more key each and its value, in
// msgpack.
std::string encode_op(std::string_view op, std::int64_t id,
                      const std::vector<std::string>& fields = {});

struct ResultTimes {
  int batch = 0;
  Nanos queued{0};
  Nanos batched{0};
  Nanos executed{0};
};

// Writes into `out` (cleared first), so that a loop reuses one buffer.
void encode_result(std::int64_t id, std::string_view encoded_outputs, const ResultTimes& times,
                   std::string& out);
// `id` is nil on the wire when the request's own could not be read.
std::string encode_error(std::optional<std::int64_t> id, std::string_view code,
                         std::string_view message);

// A header from the frontend, as a client reads it.
struct ServerHeader {
  std::string_view op;  // "hello", "result", "error", or the op that is answered
  std::optional<std::int64_t> id;
  std::optional<std::int64_t> version;
  std::string_view error;
  std::string_view message;
  std::span<const std::byte> outputs;
  std::span<const std::byte> body;  // of models and stats, msgpack
  ResultTimes times;
};
ServerHeader read_server_header(std::span<const std::byte> frame);

// Wire code of an outcome that is not kOk: "late", "full", "failed", "unavailable",
// "invalid_input", "cancelled".
std::string_view outcome_code(exec::Outcome outcome);
// The reverse, for a client's own counts; kFailed for codes that are none of those.
exec::Outcome outcome_from_code(std::string_view code);

// ---- frontend <-> executor: a fixed little-endian struct, then the tensor frames ----

enum class DataKind : std::uint8_t {
  kHello = 0,
  kRequest = 1,
  kReply = 2,
  kPing = 3,
  kPong = 4,
  kCancel = 5,
};

struct DataHello {
  DataKind kind = DataKind::kHello;
  std::uint8_t role = 0;  // 1 frontend, 2 executor
  std::uint16_t version = static_cast<std::uint16_t>(kProtocolVersion);
  char magic[4] = {'G', 'L', 'E', 'T'};
};
static_assert(sizeof(DataHello) == 8);

inline DataHello hello_of_frontend() {
  DataHello hello;
  hello.role = 1;
  return hello;
}

// Which tensors of a request are in device memory: bit i is input or output i of the signature. The
// frame of such an input is an exec::device_frame(); those of outputs follow the inputs, one per
// bit, and the frames of these outputs in the reply are empty.
struct DeviceTensors {
  static constexpr std::size_t kMost = 16;  // tensors beyond are on the host
  std::uint16_t inputs = 0;
  std::uint16_t outputs = 0;
  static bool has(std::uint16_t set, std::size_t i) { return i < kMost && (set >> i & 1) != 0; }
  bool any() const { return inputs != 0 || outputs != 0; }
};

struct DataRequest {
  DataKind kind = DataKind::kRequest;
  std::uint8_t reserved[3] = {};
  std::int32_t gpulet = 0;
  std::int32_t model = 0;
  DeviceTensors device;
  std::uint64_t tag = 0;
  std::int64_t budget_ns = 0;  // time left until the deadline when this was sent
};
static_assert(sizeof(DataRequest) == 32);

struct DataReply {
  DataKind kind = DataKind::kReply;
  exec::Outcome outcome = exec::Outcome::kOk;
  std::uint16_t reserved = 0;
  std::uint32_t batch = 0;
  std::uint64_t tag = 0;
  std::int64_t queue_ns = 0;
  std::int64_t batch_ns = 0;
  std::int64_t execute_ns = 0;
};
static_assert(sizeof(DataReply) == 40);

inline ResultTimes times_of(const DataReply& reply) {
  return {static_cast<int>(reply.batch), Nanos(reply.queue_ns), Nanos(reply.batch_ns),
          Nanos(reply.execute_ns)};
}

struct DataPing {
  DataKind kind = DataKind::kPing;  // kPong carries the same count back
  std::uint8_t reserved[7] = {};
  std::uint64_t count = 0;
};
static_assert(sizeof(DataPing) == 16);

struct DataCancel {
  DataKind kind = DataKind::kCancel;
  std::uint8_t reserved[7] = {};
  std::uint64_t tag = 0;  // of the request that is not wanted any more
};
static_assert(sizeof(DataCancel) == 16);

}  // namespace glet::net
