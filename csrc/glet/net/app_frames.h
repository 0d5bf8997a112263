#pragma once

#include <cstddef>
#include <vector>

#include "glet/net/zmq.h"

namespace glet::net {

// Cuts and joins frames for AppEngine.
struct AppFrames {
  // `n` rows of equal size. Large ones borrow the frame's memory until the last of them is sent.
  static std::vector<Message> rows(const Message& whole, std::size_t n);
  // One frame of `bytes` bytes, copied from the parts in order.
  static Message join(const std::vector<Message>& parts, std::size_t bytes);
};

}  // namespace glet::net
