#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace glet::web {

// Bytes that grow in place where the allocator can, and are handed on without a copy.
class GrpcBuffer {
 public:
  GrpcBuffer() = default;
  GrpcBuffer(GrpcBuffer&& other) noexcept;
  GrpcBuffer& operator=(GrpcBuffer&& other) noexcept;
  GrpcBuffer(const GrpcBuffer&) = delete;
  GrpcBuffer& operator=(const GrpcBuffer&) = delete;
  ~GrpcBuffer();

  void append(std::span<const std::byte> bytes);
  // Room for `capacity` bytes. Throws std::bad_alloc.
  void reserve(std::size_t capacity);
  void drop_front(std::size_t bytes);
  // Keeps the memory unless that is large.
  void clear();

  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Cuts what arrives on a stream into gRPC messages: a byte that says whether it is compressed, a
// length of four bytes, the message.
class GrpcReader {
 public:
  static constexpr std::size_t kHeadBytes = 5;

  enum class Next {
    kNone,       // more bytes are needed
    kMessage,    // message() is one
    kTooLong,    // longer than the limit; nothing can be read after it
    kMalformed,  // the first byte is neither 0 nor 1
  };

  void append(std::span<const std::byte> bytes) { buffer_.append(bytes); }
  // Goes to the next message; the one before it is gone.
  Next next(std::size_t longest);

  std::span<const std::byte> message() const;
  bool compressed() const { return compressed_; }
  std::uint32_t length() const { return length_; }
  // Owns what message() points to; for messages that are worth it. What came behind the message
  // stays here.
  std::shared_ptr<const void> keep();

  // Bytes that are held, the message at hand among them.
  std::size_t size() const { return buffer_.size(); }
  // True when no message has begun that is not read.
  bool at_end() const { return buffer_.size() == taken_; }
  void clear();

 private:
  GrpcBuffer buffer_;
  std::shared_ptr<const GrpcBuffer> kept_;  // set by keep(): the message lies there
  std::size_t taken_ = 0;                   // of buffer_, by the message at hand
  std::uint32_t length_ = 0;
  bool compressed_ = false;
};

}  // namespace glet::web
