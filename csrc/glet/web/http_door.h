#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "glet/net/door.h"
#include "glet/net/slot_table.h"
#include "glet/web/guard.h"
#include "glet/web/http_connection.h"
#include "glet/web/http_route.h"
#include "glet/web/oip_call.h"
#include "glet/web/oip_json.h"

namespace glet::web {

struct HttpDoorOptions {
  HttpLimits limits;
  std::size_t connections = 4096;          // more are answered 503 and closed
  Nanos idle = std::chrono::seconds(75);   // between requests
  Nanos head = std::chrono::seconds(10);   // for a whole request head
  Nanos stall = std::chrono::seconds(30);  // of a body or of an answer that does not move: Pace
  std::size_t held_bytes = std::size_t{1} << 30;  // of HttpConnection::held(), together
  Nanos python = std::chrono::seconds(30);        // for an answer of Python
  // The same where a model is loaded or unloaded: Python gives up before (serve/loading.py).
  Nanos loading = std::chrono::minutes(16);
};

// The Open Inference Protocol over HTTP/1.1, in the frontend's loop: inference and health are
// answered here, everything else by Python.
//
//   socket --> HttpParser --> route --> OipCalls --> DoorHost::submit()
//     <-- answers in the order of the requests <-- slot <-- answered()
class HttpDoor : public net::Door, private OipCalls::Owner {
 public:
  // Listens at HOST:PORT, shared with other processes that do (SO_REUSEPORT); port 0 or `*` is a
  // free one. `guard` says who gets in; nullptr: everybody, without TLS. Throws ConfigError naming
  // the address.
  HttpDoor(const std::string& address, const HttpDoorOptions& options,
           std::shared_ptr<Guard> guard = nullptr);
  ~HttpDoor() override;
  HttpDoor(const HttpDoor&) = delete;
  HttpDoor& operator=(const HttpDoor&) = delete;

  // HOST:PORT as it got it.
  const std::string& address() const { return address_; }

  void attach(net::DoorHost& host, std::uint64_t number) override;
  int fd() const override { return epoll_; }
  bool receive(Nanos now) override;
  void flush(Nanos now) override;
  void tick(Nanos now) override;
  void answered(std::uint64_t call, const net::ServedModel& model, const net::ResultTimes& times,
                std::vector<net::Message>& outputs, Nanos now) override;
  void failed(std::uint64_t call, exec::Outcome outcome, std::string_view message) override;
  void web_answer(std::uint64_t call, net::WebAnswer answer, Nanos now) override;
  void stop(Nanos now) override;
  std::size_t outstanding() const override;
  void add_shm(const std::string& name, std::byte* address, std::size_t size) override;
  void add_device_memory(const std::string& name, const exec::DeviceTensor& whole) override;
  void remove_shm(const std::string& name) override;

 private:
  struct Call {
    std::uint64_t connection = 0;
    std::uint64_t slot = 0;
    std::uint64_t oip = 0;        // to cancel by
    Nanos python_until = kNever;  // set: Python has it
  };
  // What a request is of, while it is at hand.
  struct At {
    std::uint64_t tag;
    HttpConnection& connection;
    std::uint64_t slot;
  };

  void accept_all(Nanos now);
  void turn_away(int fd);
  void settle(std::uint64_t tag, Nanos now);
  void wait_for_client(HttpConnection& connection, Nanos now);
  // Answers in place of a request that is not taken, and takes no other.
  void refuse(HttpConnection& connection, HttpAnswer answer);
  void count_held(HttpConnection& connection);
  void take_requests(std::uint64_t tag, HttpConnection& connection, Nanos now);
  // Whether the request may go on; else it is answered, or will be once it is whole.
  bool admit(std::uint64_t tag, HttpConnection& connection, const HttpRequest& request);
  void on_request(const At& at, const HttpRequest& request, Nanos now);
  void on_infer(const At& at, const HttpRoute& route, const HttpRequest& request, Nanos now);
  void on_health(const At& at, const HttpRoute& route);
  void on_other(const At& at, const HttpRequest& request, Nanos now);
  // The body without its coding. False when it cannot be had: it is answered.
  bool unpack(const At& at, const HttpRequest& request, std::span<const std::byte>& body,
              std::shared_ptr<const void>& keep);
  void answer(const At& at, HttpAnswer answer);
  void complete(std::uint64_t call, HttpAnswer answer);
  void mark(std::uint64_t tag, HttpConnection& connection);
  void watch(std::uint64_t tag, HttpConnection& connection);
  void drop(std::uint64_t tag);
  void sweep(Nanos now);
  void oip_done(std::uint64_t call, OipResponse response) override;
  void oip_failed(std::uint64_t call, OipCode code, std::string_view message) override;

  HttpDoorOptions options_;
  GuardView guard_;
  std::string address_;
  int epoll_ = -1;
  int listener_ = -1;
  bool accepting_ = false;  // the listener is in the epoll
  bool stopping_ = false;
  net::DoorHost* host_ = nullptr;
  std::uint64_t number_ = 0;
  OipCalls oip_{*this, *this};
  OipJsonReader json_;
  net::SlotTable<std::unique_ptr<HttpConnection>> connections_;
  net::SlotTable<Call> calls_;
  std::vector<std::uint64_t> dirty_;
  std::size_t held_bytes_ = 0;
  Nanos next_sweep_{0};
  Nanos accept_at_{0};  // again, after there was no descriptor
};

// The HTTP status of each.
int http_status(OipCode code);

}  // namespace glet::web
