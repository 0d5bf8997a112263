#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "glet/exec/engine.h"
#include "glet/net/zmq.h"

// One function per area; no logic in this room.
namespace glet::bind {

// CURVE keys as Python gives them, in Z85: (public, secret) of its own, and of clients the public
// key of whom they connect to. Empty: nothing is encrypted.
using KeyPair = std::pair<std::string, std::string>;
using ClientKeyTexts = std::tuple<std::string, std::string, std::string>;

inline net::CurveKeys curve_keys(const KeyPair& pair) {
  return {pair.first, pair.second};
}

inline net::ClientKeys client_keys(const ClientKeyTexts& texts) {
  return {{std::get<0>(texts), std::get<1>(texts)}, std::get<2>(texts)};
}

// Throws ArgumentError for an unknown kind, and for "green" without a placement.
exec::PartitionSpec partition_spec(const std::string& kind, int share_pct, std::vector<int> cores,
                                   int device, const std::optional<exec::Placement>& placement);

void bind_errors(pybind11::module_& m);
void bind_curve(pybind11::module_& m);
void bind_client(pybind11::module_& m);
void bind_load(pybind11::module_& m);
void bind_engine_load(pybind11::module_& m);
void bind_batch(pybind11::module_& m);
void bind_route(pybind11::module_& m);
void bind_partition(pybind11::module_& m);
void bind_exec(pybind11::module_& m);
void bind_cuda(pybind11::module_& m);
void bind_completion(pybind11::module_& m);
void bind_graph(pybind11::module_& m);
void bind_engine(pybind11::module_& m);
void bind_net(pybind11::module_& m);
void bind_web_grpc(pybind11::module_& m);
void bind_web_guard(pybind11::module_& m);
void bind_web_http(pybind11::module_& m);
void bind_sim(pybind11::module_& m);

// The core's engine behind a Python Engine. Throws ArgumentError when it is closed.
std::shared_ptr<exec::Engine> engine_of(const pybind11::object& engine);

}  // namespace glet::bind
