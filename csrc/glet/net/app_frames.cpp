#include "glet/net/app_frames.h"

#include <cstring>
#include <memory>

namespace glet::net {
namespace {

// Below this a copy costs less than a counted holder.
constexpr std::size_t kBorrowFrom = 4096;

}  // namespace

std::vector<Message> AppFrames::rows(const Message& whole, std::size_t n) {
  std::vector<Message> rows;
  rows.reserve(n);
  const std::size_t bytes = whole.size() / n;
  if (bytes < kBorrowFrom) {
    for (std::size_t i = 0; i < n; ++i) rows.emplace_back(whole.text().substr(i * bytes, bytes));
    return rows;
  }
  const auto holder = std::make_shared<const Message>(whole.share());
  for (std::size_t i = 0; i < n; ++i) {
    rows.push_back(Message::borrowed(holder->bytes().subspan(i * bytes, bytes), holder));
  }
  return rows;
}

Message AppFrames::join(const std::vector<Message>& parts, std::size_t bytes) {
  Message whole(bytes);
  std::size_t at = 0;
  for (const Message& part : parts) {
    if (part.size() > 0) std::memcpy(whole.data() + at, part.data(), part.size());
    at += part.size();
  }
  return whole;
}

}  // namespace glet::net
