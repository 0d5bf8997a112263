#include "glet/web/grpc_body.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace glet::web {
namespace {

constexpr std::size_t kVectors = 256;  // slices of one system call
// A buffer beyond these goes back when it is empty: connections are few, streams many.
constexpr std::size_t kKeptByConnection = 256 << 10;
constexpr std::size_t kKeptByStream = 8 << 10;

void forget(std::string& text, std::size_t kept) {
  text.clear();
  if (text.capacity() > kept) text.shrink_to_fit();
}

}  // namespace

// ---- WriteQueue ----

void WriteQueue::copy(std::string_view bytes) {
  if (bytes.empty()) return;
  if (slices_.size() > first_ && slices_.back().frame == kCopied) {
    slices_.back().size += bytes.size();
  } else {
    slices_.push_back({copied_.size(), bytes.size(), kCopied});
  }
  copied_ += bytes;
  size_ += bytes.size();
}

void WriteQueue::borrow(const net::Message& frame, std::size_t offset, std::size_t size) {
  if (size == 0) return;
  frames_.push_back(frame.share());
  slices_.push_back({offset, size, frames_.size() - 1});
  size_ += size;
}

ssize_t WriteQueue::write_to(Channel& channel) {
  std::array<iovec, kVectors> vectors;
  std::size_t count = 0;
  for (std::size_t i = first_; i < slices_.size() && count < kVectors; ++i, ++count) {
    const Slice& slice = slices_[i];
    char* const from = slice.frame == kCopied
                           ? copied_.data()
                           : reinterpret_cast<char*>(frames_[slice.frame].data());
    vectors[count] = {from + slice.begin, slice.size};
  }
  const ssize_t written = channel.write(std::span(vectors).first(count));
  if (written > 0) drop(static_cast<std::size_t>(written));
  return written;
}

void WriteQueue::drop(std::size_t bytes) {
  size_ -= bytes;
  while (bytes > 0) {
    Slice& slice = slices_[first_];
    const std::size_t part = std::min(bytes, slice.size);
    slice.begin += part;
    slice.size -= part;
    bytes -= part;
    if (slice.size == 0) ++first_;
  }
  if (size_ > 0) return;
  slices_.clear();
  first_ = 0;
  frames_.clear();
  forget(copied_, kKeptByConnection);
}

// ---- OutBody ----

OutBody::Piece& OutBody::take() {
  if (used_ == pieces_.size()) pieces_.emplace_back();
  return pieces_[used_++];
}

std::string& OutBody::tail() {
  if (first_ < used_ && !pieces_[used_ - 1].is_frame) return pieces_[used_ - 1].text;
  Piece& piece = take();
  piece.is_frame = false;
  return piece.text;
}

void OutBody::add(net::Message frame) {
  Piece& piece = take();
  piece.is_frame = true;
  piece.frame = std::move(frame);
}

std::size_t OutBody::size() const {
  std::size_t total = 0;
  for (std::size_t i = first_; i < used_; ++i) total += pieces_[i].size();
  return total - done_;
}

void OutBody::move_to(WriteQueue& queue, std::size_t size) {
  moved_ += size;
  while (size > 0) {
    Piece& piece = pieces_[first_];
    const std::size_t part = std::min(size, piece.size() - done_);
    if (piece.is_frame) {
      queue.borrow(piece.frame, done_, part);
    } else {
      queue.copy(std::string_view(piece.text).substr(done_, part));
    }
    size -= part;
    done_ += part;
    if (done_ < piece.size()) return;
    if (piece.is_frame) piece.frame = net::Message();
    forget(piece.text, kKeptByStream);
    done_ = 0;
    ++first_;
  }
  if (first_ == used_) clear();
}

void OutBody::move_to(std::string& text) {
  for (std::size_t i = first_; i < used_; ++i) {
    const Piece& piece = pieces_[i];
    text += (piece.is_frame ? piece.frame.text() : std::string_view(piece.text)).substr(done_);
    done_ = 0;
  }
  clear();
}

void OutBody::clear() {
  for (std::size_t i = first_; i < used_; ++i) {
    if (pieces_[i].is_frame) pieces_[i].frame = net::Message();
    forget(pieces_[i].text, kKeptByStream);
  }
  first_ = used_ = 0;
  done_ = 0;
}

}  // namespace glet::web
