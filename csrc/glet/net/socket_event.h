#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "glet/net/zmq.h"

namespace glet::net {

// What a socket's monitor tells of a connection. Numbers of libzmq's stable interface (zmq.h, 4.x).
struct SocketEvent {
  static constexpr std::uint16_t kDisconnected = 0x0200;
  static constexpr std::uint16_t kHandshakeFailed = 0x0800;  // it ended, nobody says why
  static constexpr std::uint16_t kHandshakeSucceeded = 0x1000;
  static constexpr std::uint16_t kHandshakeFailedProtocol = 0x2000;
  static constexpr std::uint16_t kHandshakeFailedAuth = 0x4000;
  static constexpr int kOfConnections = 0x7a00;  // these five
  static constexpr std::uint32_t kMechanismMismatch = 0x1100'0002;

  std::uint16_t event = 0;  // 0: none that is known
  std::uint32_t value = 0;
};

// The first frame of a monitor's message: both fields, of this machine's byte order.
inline SocketEvent read_event(const Message& frame) {
  SocketEvent read;
  if (frame.size() != sizeof read.event + sizeof read.value) return read;
  std::memcpy(&read.event, frame.data(), sizeof read.event);
  std::memcpy(&read.value, frame.data() + sizeof read.event, sizeof read.value);
  return read;
}

}  // namespace glet::net
