#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace glet::net {

// Reads msgpack from a peer that is not trusted: every length is checked against what is there
// before it is used, nesting is bounded, nothing is allocated. All throw WireError on bytes that
// are not what was asked for.
class MsgpackReader {
 public:
  explicit MsgpackReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool at_end() const { return position_ == bytes_.size(); }
  std::size_t position() const { return position_; }

  std::uint32_t map_size();
  std::uint32_t array_size();
  std::string_view string();
  // Accepts any integer that fits.
  std::int64_t integer();
  // Accepts integers too.
  double number();
  bool boolean();
  // True, and consumed, when the next value is nil.
  bool nil();
  // Skips one value with all it holds, and returns its bytes.
  std::span<const std::byte> skip();

 private:
  std::uint8_t take_byte();
  std::uint64_t take_big_endian(int bytes);
  std::size_t checked(std::uint64_t length);
  void skip_value(int depth);
  void skip_items(std::uint64_t count, int depth);

  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

// Appends msgpack to a string.
class MsgpackWriter {
 public:
  explicit MsgpackWriter(std::string& out) : out_(out) {}

  void map(std::uint32_t size);
  void array(std::uint32_t size);
  void string(std::string_view text);
  void integer(std::int64_t value);
  void number(double value);
  void nil();
  // Bytes that are msgpack already.
  void raw(std::string_view encoded) { out_.append(encoded); }

 private:
  void head(std::uint8_t code, std::uint64_t value, int bytes);
  std::string& out_;
};

}  // namespace glet::net
