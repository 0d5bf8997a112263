#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glet/exec/submission.h"
#include "glet/net/protocol.h"
#include "glet/net/served_model.h"
#include "glet/net/zmq.h"
#include "glet/time.h"

// Other protocols in the frontend: a door has sockets of its own, and the frontend's one loop
// thread serves them beside its own, so that a request crosses no thread on its way to an executor.
// Everything below happens on that thread.
namespace glet::net {

class Door;

// What the core does not answer itself: FrontendLoop::take_web() and answer_web().
struct WebRequest {
  std::uint64_t door = 0;
  std::uint64_t call = 0;
  std::string protocol;  // "http" or "grpc"
  std::string method;    // "GET", "POST", ...; of gRPC empty
  std::string target;    // path?query; of gRPC "/package.Service/Method"
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // not compressed; of gRPC the bytes of the message
};

struct WebAnswer {
  int status = 0;  // of HTTP; of gRPC its status code
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// What a door asks of the frontend.
class DoorHost {
 public:
  virtual ~DoorHost() = default;
  // Apps are found like models; nullptr: not served. Valid until the loop does something else.
  virtual const ServedModel* find_model(std::string_view name) const = 0;
  // Whether a request of it can be routed now. False for a name that is not served.
  virtual bool is_ready(std::string_view name) const = 0;
  // One line that names the nearest.
  virtual std::string unknown_model(std::string_view name) const = 0;
  // While it is, a model that is not known may still turn up: it is unavailable, not unknown.
  virtual bool starting() const = 0;
  virtual bool admitting() const = 0;
  // What health checks of the whole server say.
  virtual bool server_ready() const = 0;
  // One ITEM, without the batch dimension; `frames` in signature order, of the sizes it says, or as
  // `device` says: then those of outputs follow.
  // Exactly one answered() or failed() of the door with `call` follows, maybe before this returns.
  // Without `deadline_ms` the model's SLO holds. Returns the tag to cancel by, 0 when it ended at
  // once.
  virtual std::uint64_t submit(Door& door, std::uint64_t call, std::string_view model,
                               std::vector<Message> frames, DeviceTensors device,
                               std::optional<double> deadline_ms, Nanos now) = 0;
  // The W3C `traceparent` of the requests that are submitted from now on, empty without one. Valid
  // until the next call of this.
  virtual void traced_by(std::string_view traceparent) = 0;
  // Nothing is answered for it any more. Harmless when it has ended.
  virtual void cancel(std::uint64_t tag) = 0;
  // For a request that never came to submit(): counted for the model, if that is served.
  virtual void count_refused(std::string_view model, exec::Outcome outcome) = 0;
  // One web_answer() of the door follows, unless Python is silent.
  virtual void ask_python(WebRequest request) = 0;
};

// What clients of doors are given, beyond what a door knows better itself.
struct DoorLimits {
  Nanos idle = std::chrono::seconds(75);          // of HTTP: between requests
  Nanos stall = std::chrono::seconds(30);         // of bytes either way that do not move
  std::size_t held_bytes = std::size_t{1} << 30;  // of requests and answers under way, per door
};

class Door {
 public:
  virtual ~Door() = default;
  // Once, before anything else; `number` goes into WebRequest::door.
  virtual void attach(DoorHost& host, std::uint64_t number) = 0;
  // One descriptor, an epoll's for example: readable while receive() has something to do.
  virtual int fd() const = 0;
  // Handles a bounded burst and sends what that made; true when more waits.
  virtual bool receive(Nanos now) = 0;
  // Sends what answered(), failed() and web_answer() have left to send: called after every burst.
  virtual void flush(Nanos now) = 0;
  // Slow and idle connections; some times a second.
  virtual void tick(Nanos now) = 0;
  // What these three make is sent, and what it lets go on goes on, in flush(): none of them
  // submits, cancelling is fine. `outputs` in signature order; they may be taken.
  virtual void answered(std::uint64_t call, const ServedModel& model, const ResultTimes& times,
                        std::vector<Message>& outputs, Nanos now) = 0;
  virtual void failed(std::uint64_t call, exec::Outcome outcome, std::string_view message) = 0;
  virtual void web_answer(std::uint64_t call, WebAnswer answer, Nanos now) = 0;
  // No new connections and calls; those under way are answered, then their connections close.
  virtual void stop(Nanos now) = 0;
  // Calls that were taken and whose answers are not with the system yet.
  virtual std::size_t outstanding() const = 0;
  // Memory that requests may name. After remove_shm() nothing looks at it any more.
  virtual void add_shm(const std::string& name, std::byte* address, std::size_t size) = 0;
  virtual void add_device_memory(const std::string& name, const exec::DeviceTensor& whole) = 0;
  virtual void remove_shm(const std::string& name) = 0;
};

}  // namespace glet::net
