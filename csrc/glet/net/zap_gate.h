#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "glet/event_fd.h"
#include "glet/net/zmq.h"

namespace glet::net {

// A connection that was not let in.
struct Refusal {
  std::string address;     // of the peer
  std::string public_key;  // its key, 32 bytes
};

// Says which public keys may connect to the sockets of a context that ask (Socket::serve_curve), by
// the ZeroMQ Authentication Protocol (rfc.zeromq.org/spec/27). A thread, asked once per connection.
// It ends with the context, also when nobody closes it. All methods are thread-safe.
class ZapGate {
 public:
  // Lets nobody in before allow(). Throws ConfigError when the context has one already.
  explicit ZapGate(const Context& context);
  ~ZapGate();  // close()
  ZapGate(const ZapGate&) = delete;
  ZapGate& operator=(const ZapGate&) = delete;

  // These and no others from now on, 32 bytes each. Connections that are there stay.
  void allow(std::set<std::string> public_keys);
  // Those since the last call, the last kMostRefusals at most.
  std::vector<Refusal> take_refused();
  // Nobody is let in any more. Calling it twice is harmless.
  void close();

  static constexpr std::size_t kMostRefusals = 64;

 private:
  void run();
  void answer_all();
  void answer(std::vector<Message>& request);
  bool admit(const Message& address, const Message& key);

  std::unique_ptr<Socket> socket_;  // the thread's once it runs
  EventFd wake_;
  std::mutex mutex_;  // guards what follows
  std::set<std::string> allowed_;
  std::vector<Refusal> refused_;
  bool is_closing_ = false;
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace glet::net
