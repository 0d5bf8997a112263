#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

// The wire format of Protocol Buffers, as far as messages without a schema need it.
// https://protobuf.dev/programming-guides/encoding/
namespace glet::web {

enum class WireType : std::uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kGroupStart = 3,
  kGroupEnd = 4,
  kFixed32 = 5,
};

// Reads one message, field by field, in the order of its bytes. It copies nothing: views point into
// the message. Everything throws WireError, one line, where the bytes are no message.
//
//   while (reader.next()) {
//     if (reader.is(1, WireType::kBytes)) name = reader.text();
//     else reader.skip();
//   }
class ProtoReader {
 public:
  // `what` names the message in errors; it has to outlive the reader.
  ProtoReader(std::span<const std::byte> message, std::string_view what);

  // Goes to the next field; false at the end. What the field holds has to be read or skipped first.
  bool next();
  // A known field that comes with another wire type is unknown, as in every implementation.
  bool is(std::uint32_t field, WireType type) const { return field_ == field && type_ == type; }
  std::uint32_t field() const { return field_; }
  WireType type() const { return type_; }

  std::uint64_t varint();
  std::uint32_t fixed32();
  std::uint64_t fixed64();
  std::span<const std::byte> bytes();
  std::string_view text();  // has to be UTF-8
  void skip();

  bool at_end() const { return at_ == end_; }

 private:
  [[noreturn]] void fail(std::string_view why) const;
  std::uint64_t long_varint();
  void skip_group();
  void skip_value();
  void read_tag();

  const std::byte* at_;
  const std::byte* end_;
  const std::byte* begin_;
  std::string_view what_;
  std::uint32_t field_ = 0;
  WireType type_ = WireType::kVarint;
};

// Appends fields to a string. Scalars of value 0 and empty strings are written like any other: who
// wants proto3's shortest form leaves them out.
class ProtoWriter {
 public:
  explicit ProtoWriter(std::string& out) : out_(out) {}

  void varint(std::uint32_t field, std::uint64_t value);
  void bytes(std::uint32_t field, std::string_view value);
  // The head of a length-delimited field whose `length` bytes the caller appends.
  void head(std::uint32_t field, std::uint64_t length);
  // Bytes that a value takes.
  static std::size_t varint_size(std::uint64_t value);
  static std::size_t bytes_size(std::uint32_t field, std::size_t length);

  void raw_varint(std::uint64_t value);

 private:
  std::string& out_;
};

bool is_utf8(std::string_view text);

}  // namespace glet::web
