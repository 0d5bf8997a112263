#pragma once

#include <atomic>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "glet/exec/engine.h"
#include "glet/net/loop_thread.h"
#include "glet/net/mailbox.h"
#include "glet/net/protocol.h"
#include "glet/net/slot_table.h"
#include "glet/net/zmq.h"

namespace glet::net {

// The executor's thread: requests from frontends go to the engine in bursts, its completions go
// back. It owns the data socket. The engine has to outlive it, and belongs to it alone as far as
// completions are concerned.
class ExecutorLoop {
 public:
  // With keys frontends have to speak CURVE over tcp, and a ZapGate of the context says which.
  ExecutorLoop(const std::string& libzmq_path, exec::Engine& engine, CurveKeys keys = {});
  ~ExecutorLoop();
  ExecutorLoop(const ExecutorLoop&) = delete;
  ExecutorLoop& operator=(const ExecutorLoop&) = delete;

  // Before start(). Returns the endpoint with wildcards resolved; ConfigError when it is in use.
  std::string bind(const std::string& endpoint);
  const Context& context() const { return context_; }
  void start();
  void close();
  // Requests are answered unavailable from now on (the frontend tries elsewhere).
  void stop_admitting() { admitting_ = false; }
  // Requests admitted and not answered yet.
  std::size_t outstanding() const { return outstanding_.load(); }

 private:
  struct Origin {
    std::string frontend;
    std::uint64_t tag = 0;
    std::int32_t gpulet = 0;
    std::int32_t model = 0;
    Nanos deadline{0};
    DeviceTensors device;
  };

  void run();
  bool receive();
  void on_message(const std::string& frontend, std::vector<Message>& frames);
  void on_request(const std::string& frontend, std::vector<Message>& frames);
  void cancel_asked();
  void answer_completions();
  void send(const std::string& frontend, Message head, std::vector<Message>* rest);

  Context context_;
  CurveKeys keys_;
  Socket socket_;
  exec::Engine& engine_;
  SlotTable<Origin> origins_;
  std::unordered_set<std::string> greeted_;
  std::vector<exec::Submission> burst_;
  std::unordered_multimap<std::uint64_t, std::string> cancels_;  // tag -> frontend, of this burst
  std::vector<exec::Completion> completions_;
  Mailbox mailbox_;
  LoopThread thread_{"glet-executor", mailbox_};
  std::atomic<bool> admitting_{true};
  std::atomic<std::size_t> outstanding_{0};
};

}  // namespace glet::net
