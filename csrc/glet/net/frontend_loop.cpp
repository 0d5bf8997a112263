#include "glet/net/frontend_loop.h"

#include <cmath>
#include <set>
#include <utility>

#include "glet/error.h"

namespace glet::net {
namespace {

constexpr int kTickMs = 50;

}  // namespace

FrontendLoop::FrontendLoop(const std::string& libzmq_path, CurveKeys keys, bool asks_gate)
    : core_(libzmq_path, std::move(keys), asks_gate) {
  core_.on_control = [this](ControlRequest request) {
    {
      const std::lock_guard lock(control_mutex_);
      control_requests_.push_back(std::move(request));
    }
    control_.notify();
  };
  core_.on_lost = [this](int executor) {
    {
      const std::lock_guard lock(control_mutex_);
      lost_.push_back(executor);
    }
    control_.notify();
  };
  core_.on_web = [this](WebRequest request) {
    {
      const std::lock_guard lock(web_mutex_);
      web_requests_.push_back(std::move(request));
    }
    web_.notify();
  };
}

FrontendLoop::~FrontendLoop() {
  close();
}

std::string FrontendLoop::bind(const std::string& endpoint) {
  return thread_.held([&](bool running) {
    if (running) throw ArgumentError("[FrontendLoop.bind] the loop runs already");
    return core_.bind(endpoint);
  });
}

void FrontendLoop::add_door(std::unique_ptr<Door> door) {
  thread_.held([&](bool running) {
    if (running) throw ArgumentError("[FrontendLoop.add_door] the loop runs already");
    core_.add_door(std::move(door));
  });
}

void FrontendLoop::start() {
  thread_.start([this] { run(); });
}

void FrontendLoop::close() {
  thread_.close();
}

void FrontendLoop::run() {
  std::vector<pollfd> waited;
  bool more = false;
  while (!thread_.stopping()) {
    waited = core_.descriptors();
    waited.push_back({mailbox_.fd(), POLLIN, 0});
    wait(waited, more ? 0 : kTickMs);
    if (waited.back().revents != 0) mailbox_.run();
    more = core_.receive(exec::now());
    more |= core_.tick(exec::now());
  }
  mailbox_.run();
}

// Runs `question` on the loop thread and returns its answer; at once when the loop does not run.
template <typename F>
auto FrontendLoop::ask(F&& question) {
  return thread_.held([&](bool running) {
    if (!running) return question();
    std::promise<decltype(question())> promise;
    auto answer = promise.get_future();
    mailbox_.post([&] { promise.set_value(question()); });
    return answer.get();
  });
}

void FrontendLoop::set_model(const std::string& name, exec::Signature signature, double slo_ms) {
  const ServedModel checked(name, signature, slo_ms);
  mailbox_.post([this, name, signature = std::move(signature), slo_ms] {
    core_.set_model(name, signature, slo_ms);
  });
}

void FrontendLoop::remove_model(const std::string& name) {
  mailbox_.post([this, name] { core_.remove_model(name); });
}

void FrontendLoop::set_app(AppGraph graph, double slo_ms) {
  const ServedModel checked(graph.name(), graph.signature(), slo_ms);
  mailbox_.post([this, graph = std::move(graph), slo_ms]() mutable {
    core_.set_app(std::move(graph), slo_ms);
  });
}

void FrontendLoop::add_executor(int executor, const std::string& endpoint) {
  mailbox_.post([this, executor, endpoint] {
    try {
      core_.add_executor(executor, endpoint, exec::now());
    } catch (const ConfigError&) {
      core_.on_lost(executor);  // an endpoint that cannot be connected to is an executor lost
    }
  });
}

void FrontendLoop::remove_executor(int executor) {
  mailbox_.post([this, executor] { core_.remove_executor(executor, exec::now()); });
}

void FrontendLoop::set_routes(const std::string& name, std::vector<RouteSpec> routes) {
  std::set<std::pair<int, std::int32_t>> seen;
  for (const RouteSpec& route : routes) {
    if (!std::isfinite(route.weight) || route.weight <= 0) {
      throw ArgumentError("[FrontendLoop.set_routes] model '" + name + "': weight " +
                          std::to_string(route.weight) + "; a positive number is valid");
    }
    if (!seen.emplace(route.executor, route.gpulet).second) {
      throw ArgumentError("[FrontendLoop.set_routes] model '" + name + "': gpulet " +
                          std::to_string(route.gpulet) + " of executor " +
                          std::to_string(route.executor) + " is named twice");
    }
  }
  mailbox_.post([this, name, routes = std::move(routes)] { core_.set_routes(name, routes); });
}

void FrontendLoop::set_accept(const std::string& name, double part) {
  route::Admission::check(part);
  mailbox_.post([this, name, part] { core_.set_accept(name, part); });
}

std::vector<ControlRequest> FrontendLoop::take_control() {
  control_.clear();
  const std::lock_guard lock(control_mutex_);
  return std::exchange(control_requests_, {});
}

std::vector<int> FrontendLoop::take_lost() {
  const std::lock_guard lock(control_mutex_);
  return std::exchange(lost_, {});
}

void FrontendLoop::answer(std::string client, std::string header) {
  mailbox_.post([this, client = std::move(client), header = std::move(header)] {
    core_.answer(client, header);
  });
}

std::vector<WebRequest> FrontendLoop::take_web() {
  web_.clear();
  const std::lock_guard lock(web_mutex_);
  return std::exchange(web_requests_, {});
}

void FrontendLoop::answer_web(std::uint64_t door, std::uint64_t call, WebAnswer answer) {
  mailbox_.post([this, door, call, answer = std::move(answer)]() mutable {
    core_.answer_web(door, call, std::move(answer), exec::now());
  });
}

void FrontendLoop::add_shm(const std::string& name, std::byte* address, std::size_t size) {
  mailbox_.post([this, name, address, size] { core_.add_shm(name, address, size); });
}

void FrontendLoop::add_device_memory(const std::string& name, const exec::DeviceTensor& whole) {
  mailbox_.post([this, name, whole] { core_.add_device_memory(name, whole); });
}

void FrontendLoop::remove_shm(const std::string& name) {
  ask([this, &name] {
    core_.remove_shm(name);
    return true;
  });
}

void FrontendLoop::set_starting(bool starting) {
  mailbox_.post([this, starting] { core_.set_starting(starting); });
}

void FrontendLoop::set_ready(bool ready) {
  mailbox_.post([this, ready] { core_.set_ready(ready); });
}

void FrontendLoop::stop_admitting() {
  mailbox_.post([this] { core_.stop_admitting(exec::now()); });
}

std::size_t FrontendLoop::outstanding() {
  return ask([this] { return core_.outstanding(); });
}

std::vector<FrontendModelStats> FrontendLoop::stats() {
  return ask([this] { return core_.stats(); });
}

}  // namespace glet::net
