#include "glet/net/zap_gate.h"

#include <poll.h>

#include <utility>

#include "glet/error.h"

namespace glet::net {
namespace {

constexpr const char* kEndpoint = "inproc://zeromq.zap.01";
constexpr std::string_view kVersion = "1.0";
constexpr std::size_t kKeyBytes = 32;

// Frames of a request as a ROUTER sees it; a request by CURVE has one more, the key.
enum Part : std::size_t {
  kPeer,
  kEmpty,
  kVersionPart,
  kId,
  kDomain,
  kAddress,
  kRouting,
  kMechanism
};
constexpr std::size_t kKeyPart = kMechanism + 1;

}  // namespace

ZapGate::ZapGate(const Context& context)
    : socket_(std::make_unique<Socket>(context, SocketType::kRouter)) {
  socket_->bind(kEndpoint);
  thread_ = std::thread([this] { run(); });
}

ZapGate::~ZapGate() {
  close();
}

void ZapGate::allow(std::set<std::string> public_keys) {
  const std::lock_guard lock(mutex_);
  allowed_ = std::move(public_keys);
}

std::vector<Refusal> ZapGate::take_refused() {
  const std::lock_guard lock(mutex_);
  return std::exchange(refused_, {});
}

void ZapGate::close() {
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  wake_.notify();
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void ZapGate::run() {
  pollfd waited[] = {{socket_->fd(), POLLIN, 0}, {wake_.fd(), POLLIN, 0}};
  for (;;) {
    try {
      answer_all();
      const Socket::Waiting waiting = socket_->waiting();
      if (waiting == Socket::Waiting::kEnded) break;
      // Its descriptor does not tell again of what came since the last receive().
      if (waiting == Socket::Waiting::kNothing) wait(waited, -1);
    } catch (const GletError&) {
      break;  // whoever is not answered is not let in
    }
    const std::lock_guard lock(mutex_);
    if (is_closing_) break;
  }
  socket_.reset();
}

void ZapGate::answer_all() {
  Message frame;
  while (socket_->receive(frame)) {
    std::vector<Message> request;
    for (;;) {
      const bool more = frame.more();
      request.push_back(std::move(frame));
      if (!more || !socket_->receive(frame)) break;
    }
    answer(request);
  }
}

void ZapGate::answer(std::vector<Message>& request) {
  if (request.size() <= kMechanism || request[kVersionPart].text() != kVersion) return;
  const bool is_in = request.size() == kKeyPart + 1 && request[kMechanism].text() == "CURVE" &&
                     admit(request[kAddress], request[kKeyPart]);
  Message reply[] = {std::move(request[kPeer]),
                     Message(),
                     Message(kVersion),
                     std::move(request[kId]),
                     Message(std::string_view(is_in ? "200" : "400")),
                     Message(std::string_view(is_in ? "OK" : "this key is not let in")),
                     Message(),
                     Message()};
  const std::size_t last = std::size(reply) - 1;
  for (std::size_t i = 0; i <= last; ++i) {
    if (socket_->send(reply[i], i < last) != Socket::Sent::kYes) return;
  }
}

bool ZapGate::admit(const Message& address, const Message& key) {
  std::string public_key(key.text());
  const std::lock_guard lock(mutex_);
  if (public_key.size() == kKeyBytes && allowed_.contains(public_key)) return true;
  if (refused_.size() == kMostRefusals) refused_.erase(refused_.begin());
  refused_.push_back({std::string(address.text()), std::move(public_key)});
  return false;
}

}  // namespace glet::net
