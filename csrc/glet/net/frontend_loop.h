#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "glet/event_fd.h"
#include "glet/net/frontend_core.h"
#include "glet/net/loop_thread.h"
#include "glet/net/mailbox.h"

namespace glet::net {

// The frontend's thread: it owns every socket of the data plane there, and runs FrontendCore under
// the machine's clock. All methods are safe from any thread. Changes made before start() wait for
// it; after close() they are dropped.
class FrontendLoop {
 public:
  // See FrontendCore.
  explicit FrontendLoop(const std::string& libzmq_path, CurveKeys keys = {},
                        bool asks_gate = false);
  ~FrontendLoop();
  FrontendLoop(const FrontendLoop&) = delete;
  FrontendLoop& operator=(const FrontendLoop&) = delete;

  // Before start(). Returns the endpoint with wildcards resolved; ConfigError when it is in use.
  std::string bind(const std::string& endpoint);
  // Of doors that are made later.
  void set_door_limits(const DoorLimits& limits) { door_limits_ = limits; }
  const DoorLimits& door_limits() const { return door_limits_; }
  const Context& context() const { return core_.context(); }
  // Before start(). Doors are numbered in this order, from 0.
  void add_door(std::unique_ptr<Door> door);
  void start();
  void close();

  // Throws ArgumentError on an SLO that is not positive.
  void set_model(const std::string& name, exec::Signature signature, double slo_ms);
  void remove_model(const std::string& name);
  // The same for an app; remove_model() removes it.
  void set_app(AppGraph graph, double slo_ms);
  void add_executor(int executor, const std::string& endpoint);
  void remove_executor(int executor);
  // Throws ArgumentError on a weight that is not positive and finite, or a gpulet named twice.
  void set_routes(const std::string& name, std::vector<RouteSpec> routes);

  // See FrontendCore; throws ArgumentError unless 0 <= part <= 1.
  void set_accept(const std::string& name, double part);

  // Readable while take_control() or take_lost() has something.
  int control_fd() const { return control_.fd(); }
  std::vector<ControlRequest> take_control();
  std::vector<int> take_lost();
  void answer(std::string client, std::string header);

  // Readable while take_web() has something.
  int web_fd() const { return web_.fd(); }
  std::vector<WebRequest> take_web();
  // Dropped when nobody waits for it any more.
  void answer_web(std::uint64_t door, std::uint64_t call, WebAnswer answer);
  // Memory that requests of doors may name; it stays valid until remove_shm() has returned.
  void add_shm(const std::string& name, std::byte* address, std::size_t size);
  // The same for device memory of a client; needs no GPU here.
  void add_device_memory(const std::string& name, const exec::DeviceTensor& whole);
  void remove_shm(const std::string& name);

  // See FrontendCore.
  void set_starting(bool starting);
  void set_ready(bool ready);
  void stop_admitting();
  std::size_t outstanding();
  std::vector<FrontendModelStats> stats();
  TraceRing& traces() { return core_.traces(); }

 private:
  void run();
  template <typename F>
  auto ask(F&& question);

  DoorLimits door_limits_;
  FrontendCore core_;  // the loop thread's alone while it runs
  Mailbox mailbox_;
  LoopThread thread_{"glet-frontend", mailbox_};
  EventFd control_;
  std::mutex control_mutex_;
  std::vector<ControlRequest> control_requests_;
  std::vector<int> lost_;
  EventFd web_;
  std::mutex web_mutex_;
  std::vector<WebRequest> web_requests_;
};

}  // namespace glet::net
