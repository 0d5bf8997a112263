#include <atomic>
#include <utility>

#include "glet/net/frontend_core.h"

// Who is connected, and what is sent to whom without waiting for those who do not read.
namespace glet::net {
namespace {

constexpr Nanos kForgetAfter = std::chrono::minutes(10);
constexpr std::size_t kMostClients = 1 << 16;
constexpr Nanos kCrowded = std::chrono::seconds(10);  // silence to be forgotten after, beyond that
constexpr std::size_t kCountedFrom = 4 << 10;         // smaller frames are bounded by their number
constexpr std::size_t kMostUnread = 256 << 20;        // of one client

// A frame on its way, counted until the socket has let go of it.
class Counted {
 public:
  Counted(Message frame, std::shared_ptr<std::atomic<std::size_t>> bytes)
      : frame_(std::move(frame)), bytes_(std::move(bytes)) {
    *bytes_ += frame_.size();
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { *bytes_ -= frame_.size(); }
  std::span<const std::byte> bytes() const { return frame_.bytes(); }

 private:
  Message frame_;
  std::shared_ptr<std::atomic<std::size_t>> bytes_;
};

Message counted(Message frame, const std::shared_ptr<std::atomic<std::size_t>>& bytes) {
  auto held = std::make_shared<const Counted>(std::move(frame), bytes);
  const auto view = held->bytes();
  return Message::borrowed(view, std::move(held));
}

}  // namespace

void FrontendCore::on_hello(const std::string& client, const ClientHeader& header, Nanos now) {
  if (header.version != kProtocolVersion) {
    const std::string got = header.version ? std::to_string(*header.version) : "none";
    return refuse(nullptr, client, header.id, "version",
                  "protocol version " + got + " was offered; this frontend speaks version " +
                      std::to_string(kProtocolVersion));
  }
  if (!clients_.contains(client) && clients_.size() >= kMostClients) {
    std::erase_if(clients_,
                  [now](const auto& entry) { return now > entry.second.last_seen + kCrowded; });
    if (clients_.size() >= kMostClients) {
      return refuse(nullptr, client, header.id, "full", "too many clients; try again later");
    }
  }
  clients_[client].last_seen = now;
  send_to_client(client, encode_hello("frontend"), nullptr);
}

void FrontendCore::forget_idle_clients(Nanos now) {
  std::erase_if(clients_,
                [now](const auto& entry) { return now > entry.second.last_seen + kForgetAfter; });
}

bool FrontendCore::send_to_client(const std::string& client, std::string_view header,
                                  std::vector<Message>* frames) {
  const std::size_t count = frames == nullptr ? 0 : frames->size();
  if (count > 0) {
    const auto known = clients_.find(client);
    // Who is forgotten and still waits for an answer has had none for minutes.
    for (Message& frame : *frames) {
      if (frame.size() < kCountedFrom || known == clients_.end()) continue;
      auto& unread = known->second.unread;
      if (!unread) unread = std::make_shared<std::atomic<std::size_t>>(0);
      if (*unread > kMostUnread) return false;
      frame = counted(std::move(frame), unread);
    }
  }
  Message identity{std::string_view(client)};
  const auto sent = clients_socket_.send(identity, true);
  if (sent != Socket::Sent::kYes) {
    if (sent == Socket::Sent::kNoPeer && clients_.erase(client) > 0) gone_.insert(client);
    return false;
  }
  Message head{header};
  clients_socket_.send(head, count > 0);
  for (std::size_t i = 0; i < count; ++i) clients_socket_.send((*frames)[i], i + 1 < count);
  return true;
}

}  // namespace glet::net
