#include "glet/web/grpc_reader.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace glet::web {
namespace {

constexpr std::size_t kFirstBytes = 512;
constexpr std::size_t kKeptBytes = 8 << 10;     // a larger buffer goes back when it is empty
constexpr std::size_t kTrustedBytes = 1 << 20;  // room that is made because a length says so

std::uint32_t big_endian(const std::byte* at) {
  std::uint32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return __builtin_bswap32(value);
}

}  // namespace

// ---- GrpcBuffer ----

GrpcBuffer::GrpcBuffer(GrpcBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

GrpcBuffer& GrpcBuffer::operator=(GrpcBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

GrpcBuffer::~GrpcBuffer() {
  std::free(data_);
}

void GrpcBuffer::reserve(std::size_t capacity) {
  if (capacity <= capacity_) return;
  void* const larger = std::realloc(data_, capacity);
  if (larger == nullptr) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(larger);
  capacity_ = capacity;
}

void GrpcBuffer::append(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (size_ + bytes.size() > capacity_) {
    reserve(std::max({kFirstBytes, capacity_ * 2, size_ + bytes.size()}));
  }
  std::memcpy(data_ + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
}

void GrpcBuffer::drop_front(std::size_t bytes) {
  size_ -= bytes;
  if (bytes > 0 && size_ > 0) std::memmove(data_, data_ + bytes, size_);
}

void GrpcBuffer::clear() {
  size_ = 0;
  if (capacity_ <= kKeptBytes) return;
  std::free(std::exchange(data_, nullptr));
  capacity_ = 0;
}

// ---- GrpcReader ----

GrpcReader::Next GrpcReader::next(std::size_t longest) {
  if (taken_ == buffer_.size()) {
    buffer_.clear();
  } else {
    buffer_.drop_front(taken_);
  }
  taken_ = 0;
  kept_.reset();
  if (buffer_.size() < kHeadBytes) return Next::kNone;
  const std::byte* const head = buffer_.bytes().data();
  const auto flag = std::to_integer<unsigned>(*head);
  if (flag > 1) return Next::kMalformed;
  compressed_ = flag == 1;
  length_ = big_endian(head + 1);
  if (length_ > longest) return Next::kTooLong;
  const std::size_t whole = kHeadBytes + length_;
  if (buffer_.size() < whole) {
    buffer_.reserve(std::min(whole, kTrustedBytes));
    return Next::kNone;
  }
  taken_ = whole;
  return Next::kMessage;
}

std::span<const std::byte> GrpcReader::message() const {
  return (kept_ ? *kept_ : buffer_).bytes().subspan(kHeadBytes, length_);
}

std::shared_ptr<const void> GrpcReader::keep() {
  if (kept_) return kept_;
  GrpcBuffer rest;
  rest.append(buffer_.bytes().subspan(taken_));
  kept_ = std::make_shared<const GrpcBuffer>(std::move(buffer_));
  buffer_ = std::move(rest);
  taken_ = 0;
  return kept_;
}

void GrpcReader::clear() {
  buffer_.clear();
  kept_.reset();
  taken_ = 0;
}

}  // namespace glet::web
