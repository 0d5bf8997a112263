// Headers of glet's own wire, from clients and from frontends.
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "glet/error.h"
#include "glet/exec/device_tensor.h"
#include "glet/net/msgpack.h"
#include "glet/net/protocol.h"
#include "targets.h"

namespace glet::fuzz {
namespace {

bool is_same(const std::vector<exec::TensorSpec>& left,
             const std::vector<exec::TensorSpec>& right) {
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i].name != right[i].name || left[i].dtype != right[i].dtype ||
        left[i].shape != right[i].shape) {
      return false;
    }
  }
  return true;
}

void read_specs(std::span<const std::byte> bytes) {
  try {
    std::vector<bool> on_device;
    const auto specs = net::decode_specs(bytes, &on_device);
    const std::string again = net::encode_specs(specs, on_device);
    std::vector<bool> device_again;
    const auto back = net::decode_specs(std::as_bytes(std::span(again)), &device_again);
    require(is_same(back, specs) && device_again == on_device, "specs read back as the same");
  } catch (const WireError&) {
    // as it may be
  } catch (const ArgumentError&) {
    // a dtype that there is not
  }
}

}  // namespace

void msgpack(Bytes given) {
  const auto bytes = std::as_bytes(given);
  try {
    read_specs(net::read_client_header(bytes).inputs);
  } catch (const WireError&) {
    // as it may be
  }
  try {
    const net::ServerHeader header = net::read_server_header(bytes);
    net::outcome_from_code(header.error);
    read_specs(header.outputs);
  } catch (const WireError&) {
    // as it may be
  }
  read_specs(bytes);
  try {
    net::MsgpackReader reader(bytes);
    while (!reader.at_end()) require(!reader.skip().empty(), "every value has bytes");
  } catch (const WireError&) {
    // as it may be
  }
  if (const auto tensor = exec::read_device_frame(bytes)) {
    require(exec::device_frame(*tensor) == text_of(given), "a device frame reads back as the same");
  }
}

std::vector<std::string> msgpack_seeds() {
  const std::vector<exec::TensorSpec> specs = {{"image", exec::DType::kFloat32, {3, 224, 224}},
                                               {"ids", exec::DType::kInt64, {}},
                                               {"text", exec::DType::kBytes, {2}}};
  const std::string encoded = net::encode_specs(specs, {false, true, false});
  std::string result;
  net::encode_result(7, encoded, {3, Nanos(1500000), Nanos(0), Nanos(2)}, result);
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  return {encoded,
          result,
          net::encode_hello("client"),
          net::encode_infer(42, "lenet", encoded, 12.5, trace),
          net::encode_op("stats", 1),
          net::encode_error(std::nullopt, "late", "too late"),
          exec::device_frame({})};
}

}  // namespace glet::fuzz
