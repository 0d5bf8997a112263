#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>

#include "glet/net/load_record.h"
#include "glet/time.h"

// What Python sees of a load run, over the wire or straight into engines.
namespace glet::bind {

using ArrivalsNs =
    pybind11::array_t<std::int64_t, pybind11::array::c_style | pybind11::array::forcecast>;
using SampleOrder =
    pybind11::array_t<std::int32_t, pybind11::array::c_style | pybind11::array::forcecast>;

inline Nanos seconds(double value) {
  constexpr double kForever_s = 1e6;
  return Nanos(static_cast<std::int64_t>(std::clamp(value, 0.0, kForever_s) * 1e9));
}

template <typename Load>
bool wait_for_load(Load& load, double timeout_s) {
  const pybind11::gil_scoped_release release;
  return load.wait(seconds(timeout_s));
}

template <typename Load>
pybind11::list load_progress(Load& load) {
  using namespace pybind11::literals;
  pybind11::list list;
  for (const net::LoadProgress& p : load.progress()) {
    const pybind11::bytes error(p.first_error);
    list.append(pybind11::dict(
        "sent"_a = p.sent, "ok"_a = p.ok, "good"_a = p.good, "late"_a = p.late, "full"_a = p.full,
        "failed"_a = p.failed, "unavailable"_a = p.unavailable, "cancelled"_a = p.cancelled,
        "p50_ms"_a = p.p50_ms, "p99_ms"_a = p.p99_ms, "mean_batch"_a = p.mean_batch,
        "first_error"_a = error.attr("decode")("utf-8", "replace")));
  }
  return list;
}

template <typename Load>
pybind11::array load_records(const Load& load) {
  const auto& all = load.records();
  return pybind11::array_t<net::LoadRecord>(static_cast<pybind11::ssize_t>(all.size()), all.data());
}

}  // namespace glet::bind
