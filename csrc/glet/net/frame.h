#pragma once

#include <cstring>
#include <string_view>

#include "glet/net/zmq.h"

namespace glet::net {

// Fixed structs of the data plane as frames, and back.
template <typename T>
Message pack(const T& value) {
  return Message(std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}

// False when the frame has another size: then `value` is untouched.
template <typename T>
bool unpack(const Message& frame, T& value) {
  if (frame.size() != sizeof value) return false;
  std::memcpy(&value, frame.data(), sizeof value);
  return true;
}

}  // namespace glet::net
