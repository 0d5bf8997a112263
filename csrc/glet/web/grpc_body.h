#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "glet/net/zmq.h"
#include "glet/web/channel.h"

// Bytes on their way out: short ones are copied together, long ones stay where a model left them.
namespace glet::web {

// From here on a tensor is worth a slice of its own; below, copying costs less than counting.
inline constexpr std::size_t kBorrowedBytes = 4096;

// What a connection has yet to write.
class WriteQueue {
 public:
  void copy(std::string_view bytes);
  // The bytes [offset, offset + size) of `frame`, which is held until all is written.
  void borrow(const net::Message& frame, std::size_t offset, std::size_t size);

  std::size_t size() const { return size_; }
  // One system call for as much as it takes: the bytes written, or -1 with errno.
  ssize_t write_to(Channel& channel);

 private:
  static constexpr std::size_t kCopied = ~std::size_t{0};
  struct Slice {
    std::size_t begin;  // in copied_, or in the frame
    std::size_t size;
    std::size_t frame;  // index in frames_, or kCopied
  };

  void drop(std::size_t bytes);

  std::string copied_;
  std::vector<net::Message> frames_;
  std::vector<Slice> slices_;
  std::size_t first_ = 0;  // slices before it are written
  std::size_t size_ = 0;
};

// The messages of a stream that HTTP/2 has not framed yet.
class OutBody {
 public:
  // Text to append to; what is added later comes after it.
  std::string& tail();
  void add(net::Message frame);

  std::size_t size() const;
  bool empty() const { return first_ == used_; }
  // Moves the first `size` bytes, of those that are there, to `queue`.
  void move_to(WriteQueue& queue, std::size_t size);
  // Bytes that move_to() ever took.
  std::uint64_t moved() const { return moved_; }
  // Appends all of it to `text`, and is empty then.
  void move_to(std::string& text);
  void clear();

 private:
  struct Piece {
    std::string text;
    net::Message frame;
    bool is_frame = false;

    std::size_t size() const { return is_frame ? frame.size() : text.size(); }
  };

  Piece& take();

  std::vector<Piece> pieces_;  // [first_, used_) hold bytes, the others wait to be used again
  std::size_t first_ = 0;
  std::size_t used_ = 0;
  std::size_t done_ = 0;  // of the first one
  std::uint64_t moved_ = 0;
};

}  // namespace glet::web
