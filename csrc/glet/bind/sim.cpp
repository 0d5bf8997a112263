#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <utility>
#include <vector>

#include "glet/bind/bind.h"
#include "glet/bind/nanos.h"
#include "glet/sim/fleet.h"
#include "glet/sim/gpulets.h"

namespace py = pybind11;
using namespace py::literals;

namespace glet::bind {

using sim::Distribution;
using sim::Fleet;
using sim::FleetSettings;
using sim::Gpulets;
using sim::JobSettings;
using sim::LedgerRow;

namespace {

Nanos from_s(double s) {
  return Nanos{static_cast<Nanos::rep>(s * 1e9 + 0.5)};
}
double to_s(Nanos time) {
  return static_cast<double>(time.count()) * 1e-9;
}

template <typename Read>
py::array_t<double> column(const std::vector<LedgerRow>& rows, Read read) {
  py::array_t<double> out(static_cast<py::ssize_t>(rows.size()));
  auto view = out.mutable_unchecked<1>();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    view(static_cast<py::ssize_t>(i)) = static_cast<double>(read(rows[i]));
  }
  return out;
}

py::dict columns(const sim::Ledger& ledger) {
  const std::vector<LedgerRow> rows = ledger.rows();
  py::dict out;
  const auto put = [&](const char* name, auto member) {
    out[name] = column(rows, [member](const LedgerRow& row) { return row.*member; });
  };
  put("offered", &LedgerRow::offered);
  put("within", &LedgerRow::within);
  put("answered", &LedgerRow::answered);
  put("refused", &LedgerRow::refused);
  put("sum_ms", &LedgerRow::sum_ms);
  put("longest_ms", &LedgerRow::longest_ms);
  put("p50_ms", &LedgerRow::p50_ms);
  put("p90_ms", &LedgerRow::p90_ms);
  put("p95_ms", &LedgerRow::p95_ms);
  put("p99_ms", &LedgerRow::p99_ms);
  put("served_ms", &LedgerRow::served_ms);
  put("objective_ms", &LedgerRow::objective_ms);
  put("unit_s", &LedgerRow::unit_s);
  return out;
}

void bind_distribution(py::module_& m) {
  py::enum_<sim::Spacing>(m, "Spacing")
      .value("GAPS", sim::Spacing::kGaps)
      .value("POISSON", sim::Spacing::kPoisson)
      .value("EVEN", sim::Spacing::kEven);
  py::class_<Distribution>(m, "Distribution")
      .def_static(
          "fixed", [](double ms) { return Distribution{sim::Shape::kFixed, ms, 0.0, 0.0}; }, "ms"_a)
      .def_static(
          "uniform",
          [](double low_ms, double high_ms) {
            return Distribution{sim::Shape::kUniform, low_ms, high_ms, 0.0};
          },
          "low_ms"_a, "high_ms"_a)
      .def_static(
          "lognormal",
          [](double location_ms, double scale_ms, double sigma) {
            return Distribution{sim::Shape::kLognormal, location_ms, scale_ms, sigma};
          },
          "location_ms"_a, "scale_ms"_a, "sigma"_a)
      .def_property_readonly("mean_ms", &Distribution::mean_ms);
  py::class_<sim::Arrivals>(m, "SimArrivals")
      .def_static(
          "given",
          [](const std::vector<double>& times_s) {
            std::vector<Nanos> times;
            times.reserve(times_s.size());
            for (const double time : times_s) times.push_back(from_s(time));
            return sim::Arrivals(std::move(times));
          },
          "times_s"_a)
      .def_static(
          "counted",
          [](std::vector<double> counts, double interval_s, sim::Spacing spacing,
             std::uint64_t seed, std::uint64_t stream, double tick_ms) {
            return sim::Arrivals(std::move(counts), from_s(interval_s), spacing,
                                 sim::Random(seed, stream), from_s(tick_ms * 1e-3));
          },
          "counts"_a, "interval_s"_a, "spacing"_a, py::kw_only(), "seed"_a, "stream"_a,
          "tick_ms"_a = 0.0)
      .def(
          "times_s",
          [](sim::Arrivals self) {
            std::vector<double> times;
            for (; self.next() != kNever; self.pop()) times.push_back(to_s(self.next()));
            return py::array_t<double>(static_cast<py::ssize_t>(times.size()), times.data());
          },
          "All of them that are still to come, in seconds.");
}

void bind_settings(py::module_& m) {
  py::class_<JobSettings>(m, "JobSettings")
      .def(py::init<>())
      .def_readwrite("router", &JobSettings::router)
      .def_readwrite("service", &JobSettings::service)
      .def_readwrite("start", &JobSettings::start)
      .def_property(
          "hot_start_s", [](const JobSettings& s) { return to_s(s.hot_start); },
          [](JobSettings& s, double value) { s.hot_start = from_s(value); })
      .def_property(
          "blind", [](const JobSettings& s) { return s.dispatch == sim::Dispatch::kBlind; },
          [](JobSettings& s, bool blind) {
            s.dispatch = blind ? sim::Dispatch::kBlind : sim::Dispatch::kShared;
          })
      .def_readwrite("in_flight", &JobSettings::in_flight)
      .def_readwrite("queue_limit", &JobSettings::queue_limit)
      .def_readwrite("tokens", &JobSettings::tokens)
      .def_property(
          "token_window_s", [](const JobSettings& s) { return to_s(s.token_window); },
          [](JobSettings& s, double value) { s.token_window = from_s(value); })
      .def_property(
          "objective_ms", [](const JobSettings& s) { return to_s(s.objective) * 1e3; },
          [](JobSettings& s, double value) { s.objective = from_s(value * 1e-3); })
      .def_readwrite("percentile", &JobSettings::percentile)
      .def_readwrite("refused_in_mean", &JobSettings::refused_in_mean)
      .def_readwrite("units", &JobSettings::units)
      .def_readwrite("replicas", &JobSettings::replicas);
}

py::dict job_state(const Fleet& self, int job) {
  const sim::Counts counts = self.counts(job);
  const sim::ReplicaJob& found = self.job(job);
  const sim::Lookback last = found.lookback(self.now());
  py::dict out;
  out["serving"] = counts.serving;
  out["starting"] = counts.starting;
  out["target"] = counts.target;
  out["units"] = counts.units;
  out["outstanding"] = found.outstanding();
  out["accept"] = found.accept();
  out["mean_ms"] = last.mean_ms;
  out["arrived"] = last.arrived;
  out["answered"] = last.answered;
  out["late"] = last.late;
  out["refused"] = last.refused;
  out["busy_s"] = last.busy_s;
  return out;
}

void bind_fleet(py::module_& m) {
  py::class_<Fleet>(m, "Fleet")
      .def(py::init([](int quota, std::uint64_t seed, double interval_s, double lookback_s,
                       double retry_s, double idle_timeout_s, double monitor_s) {
             FleetSettings settings;
             settings.quota = quota;
             settings.seed = seed;
             settings.interval = from_s(interval_s);
             settings.lookback = from_s(lookback_s);
             settings.retry = from_s(retry_s);
             settings.idle_timeout = from_s(idle_timeout_s);
             settings.monitor = from_s(monitor_s);
             return Fleet(settings);
           }),
           py::kw_only(), "quota"_a, "seed"_a, "interval_s"_a = 60.0, "lookback_s"_a = 30.0,
           "retry_s"_a = 5.0, "idle_timeout_s"_a = 30.0, "monitor_s"_a = 5.0)
      .def("add", &Fleet::add, "settings"_a, "arrivals"_a)
      .def("set_target", &Fleet::set_target, "job"_a, "replicas"_a)
      .def("set_accept", &Fleet::set_accept, "job"_a, "part"_a)
      .def(
          "advance", [](Fleet& self, double until_s) { self.advance(from_s(until_s)); },
          "until_s"_a, py::call_guard<py::gil_scoped_release>())
      .def("finish", &Fleet::finish, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("now_s", [](const Fleet& self) { return to_s(self.now()); })
      .def_property_readonly("units", &Fleet::units)
      .def("state", &job_state, "job"_a)
      .def(
          "offered",
          [](const Fleet& self, int job, std::size_t first) {
            return self.job(job).ledger().offered(first);
          },
          "job"_a, "first"_a = 0)
      .def(
          "ledger", [](const Fleet& self, int job) { return columns(self.job(job).ledger()); },
          "job"_a);
}

py::dict window_of(Gpulets& self, batch::ModelId model) {
  const sim::ModelWindow window = self.take_window(model);
  py::dict out;
  out["offered"] = window.offered;
  out["ok"] = window.ok;
  out["good"] = window.good;
  out["late"] = window.late;
  out["full"] = window.full;
  out["unavailable"] = window.unavailable;
  out["latency"] = window.latency.filled();
  return out;
}

void bind_gpulets(py::module_& m) {
  py::class_<Gpulets>(m, "Gpulets")
      .def(py::init([](double interval_s) { return Gpulets(from_s(interval_s)); }),
           "interval_s"_a = 60.0)
      .def(
          "add_model",
          [](Gpulets& self, double slo_ms, const sim::Arrivals& arrivals, double percentile) {
            return self.add_model(from_s(slo_ms * 1e-3), arrivals, percentile);
          },
          "slo_ms"_a, "arrivals"_a, "percentile"_a = 0.99)
      .def("load", &Gpulets::load, "gpulet"_a, "model"_a, "plan"_a, "real"_a, "slowdown"_a = 1.0)
      .def("unload", &Gpulets::unload, "gpulet"_a, "model"_a)
      .def(
          "set_routes",
          [](Gpulets& self, batch::ModelId model,
             const std::vector<std::pair<route::GpuletId, double>>& pairs) {
            std::vector<route::Route> routes;
            for (const auto& [gpulet, weight] : pairs) routes.push_back({gpulet, weight});
            self.set_routes(model, routes);
          },
          "model"_a, "routes"_a)
      .def(
          "set_loans",
          [](Gpulets& self, route::GpuletId gpulet,
             std::vector<std::pair<route::GpuletId,
                                   std::vector<std::pair<batch::ModelId, profile::LatencyTable>>>>
                 loans) {
            std::vector<sim::Leave> leaves;
            for (auto& [lender, latency] : loans) leaves.push_back({lender, std::move(latency)});
            self.set_loans(gpulet, leaves);
          },
          "gpulet"_a, "loans"_a)
      .def("set_accept", &Gpulets::set_accept, "model"_a, "part"_a)
      .def(
          "advance", [](Gpulets& self, double until_s) { self.advance(from_s(until_s)); },
          "until_s"_a, py::call_guard<py::gil_scoped_release>())
      .def("finish", &Gpulets::finish, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("now_s", [](const Gpulets& self) { return to_s(self.now()); })
      .def("outstanding", &Gpulets::outstanding, "model"_a)
      .def("take_window", &window_of, "model"_a)
      .def(
          "take_tenant_window",
          [](Gpulets& self, route::GpuletId gpulet, batch::ModelId model) {
            const sim::TenantWindow window = self.take_window(gpulet, model);
            return py::make_tuple(window.served, window.batches, to_s(window.busy),
                                  window.borrowed);
          },
          "gpulet"_a, "model"_a)
      .def("correction", &Gpulets::correction, "gpulet"_a, "model"_a)
      .def("waiting", &Gpulets::waiting, "gpulet"_a, "model"_a)
      .def(
          "hold",
          [](Gpulets& self, batch::ModelId model, double units, double from_time_s,
             double until_s) { self.hold(units, from_s(from_time_s), from_s(until_s), model); },
          "model"_a, "units"_a, "from_s"_a, "until_s"_a)
      .def(
          "ledger", [](Gpulets& self, batch::ModelId model) { return columns(self.ledger(model)); },
          "model"_a);
}

}  // namespace

void bind_sim(py::module_& m) {
  bind_distribution(m);
  bind_settings(m);
  bind_fleet(m);
  bind_gpulets(m);
}

}  // namespace glet::bind
