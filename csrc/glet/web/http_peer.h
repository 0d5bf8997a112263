#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "glet/net/load_peer.h"
#include "glet/time.h"
#include "glet/web/http_parser.h"

namespace glet::web {

// The server of a load over HTTP/1.1, whichever it is. A connection carries one request at a time
// and is kept; one more is opened when none is idle, so that a request leaves at its time however
// slow the others are. What would take more than `connections` at a time is `unavailable`: sending
// it later would be another load than the one asked for.
//
// Statuses become the wire's codes: 2xx ok, 408 and 504 `late`, 429 `full`, 503 `unavailable`,
// other 4xx `invalid_input`, the rest `failed`.
class HttpPeer : public net::LoadPeer {
 public:
  // `address` is http://HOST:PORT. Throws ConfigError when it is not, or the host has no address.
  // No more connections are opened than there are descriptors for.
  HttpPeer(const std::string& address, std::size_t connections);
  ~HttpPeer() override;
  HttpPeer(const HttpPeer&) = delete;
  HttpPeer& operator=(const HttpPeer&) = delete;

  void send(const net::LoadRequest& request, Nanos now, std::vector<net::Answer>& ended) override;
  void pump(Nanos now, std::vector<net::Answer>& ended) override;
  std::vector<net::PollItem> poll_items() const override;
  Nanos wake_at() const override;
  bool ready() const override { return connected_; }
  std::string trouble() const override;
  std::size_t outstanding() const override { return outstanding_; }

 private:
  struct Connection;
  struct GiveUp {
    Nanos at;
    Connection* connection;
    std::int64_t id;
  };

  Connection* open();
  void write(Connection& on, std::vector<net::Answer>& ended);
  void read(Connection& on, std::vector<net::Answer>& ended);
  // False when the connection is gone.
  bool take(Connection& on, std::vector<net::Answer>& ended);
  void answered(Connection& on, std::vector<net::Answer>& ended);
  void fail(Connection& on, const std::string& why, std::vector<net::Answer>& ended);
  void handle(Connection& on, std::uint32_t events, std::vector<net::Answer>& ended);
  void give_up(Nanos now, std::vector<net::Answer>& ended);
  void close(Connection& on);

  std::string address_;
  sockaddr_storage to_{};
  socklen_t to_size_ = 0;
  std::size_t most_;
  int epoll_ = -1;
  bool connected_ = false;
  std::string trouble_;
  std::size_t outstanding_ = 0;
  std::vector<std::unique_ptr<Connection>> all_;  // open or closed; never freed, used again
  std::vector<Connection*> idle_;
  std::vector<Connection*> closed_;
  std::deque<GiveUp> give_ups_;  // in the order of their times
};

}  // namespace glet::web
