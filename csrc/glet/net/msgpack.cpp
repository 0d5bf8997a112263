#include "glet/net/msgpack.h"

#include <bit>
#include <cstring>

#include "glet/error.h"

namespace glet::net {
namespace {

constexpr int kMaxDepth = 16;

[[noreturn]] void fail(const char* wanted) {
  throw WireError(std::string("malformed msgpack header: expected ") + wanted);
}

}  // namespace

std::uint8_t MsgpackReader::take_byte() {
  if (position_ >= bytes_.size()) throw WireError("malformed msgpack header: it ends too early");
  return static_cast<std::uint8_t>(bytes_[position_++]);
}

std::uint64_t MsgpackReader::take_big_endian(int bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | take_byte();
  return value;
}

std::size_t MsgpackReader::checked(std::uint64_t length) {
  if (length > bytes_.size() - position_) {
    throw WireError("malformed msgpack header: a value claims " + std::to_string(length) +
                    " bytes, " + std::to_string(bytes_.size() - position_) + " are left");
  }
  return static_cast<std::size_t>(length);
}

std::uint32_t MsgpackReader::map_size() {
  const std::uint8_t code = take_byte();
  if (code >= 0x80 && code <= 0x8f) return code & 0x0f;
  if (code == 0xde) return static_cast<std::uint32_t>(take_big_endian(2));
  if (code == 0xdf) return static_cast<std::uint32_t>(take_big_endian(4));
  fail("a map");
}

std::uint32_t MsgpackReader::array_size() {
  const std::uint8_t code = take_byte();
  if (code >= 0x90 && code <= 0x9f) return code & 0x0f;
  if (code == 0xdc) return static_cast<std::uint32_t>(take_big_endian(2));
  if (code == 0xdd) return static_cast<std::uint32_t>(take_big_endian(4));
  fail("an array");
}

std::string_view MsgpackReader::string() {
  const std::uint8_t code = take_byte();
  std::uint64_t length = 0;
  if (code >= 0xa0 && code <= 0xbf) {
    length = code & 0x1f;
  } else if (code >= 0xd9 && code <= 0xdb) {
    length = take_big_endian(1 << (code - 0xd9));
  } else {
    fail("a string");
  }
  const std::size_t size = checked(length);
  const auto* start = reinterpret_cast<const char*>(bytes_.data()) + position_;
  position_ += size;
  return {start, size};
}

std::int64_t MsgpackReader::integer() {
  const std::uint8_t code = take_byte();
  if (code <= 0x7f) return code;
  if (code >= 0xe0) return static_cast<std::int8_t>(code);
  switch (code) {
    case 0xcc:
      return static_cast<std::int64_t>(take_big_endian(1));
    case 0xcd:
      return static_cast<std::int64_t>(take_big_endian(2));
    case 0xce:
      return static_cast<std::int64_t>(take_big_endian(4));
    case 0xcf: {
      const std::uint64_t value = take_big_endian(8);
      if (value > static_cast<std::uint64_t>(INT64_MAX)) fail("an integer below 2^63");
      return static_cast<std::int64_t>(value);
    }
    case 0xd0:
      return static_cast<std::int8_t>(take_big_endian(1));
    case 0xd1:
      return static_cast<std::int16_t>(take_big_endian(2));
    case 0xd2:
      return static_cast<std::int32_t>(take_big_endian(4));
    case 0xd3:
      return static_cast<std::int64_t>(take_big_endian(8));
    default:
      fail("an integer");
  }
}

double MsgpackReader::number() {
  if (position_ >= bytes_.size()) fail("a number");
  const auto code = static_cast<std::uint8_t>(bytes_[position_]);
  if (code == 0xca) {
    ++position_;
    return std::bit_cast<float>(static_cast<std::uint32_t>(take_big_endian(4)));
  }
  if (code == 0xcb) {
    ++position_;
    return std::bit_cast<double>(take_big_endian(8));
  }
  return static_cast<double>(integer());
}

bool MsgpackReader::boolean() {
  const std::uint8_t code = take_byte();
  if (code == 0xc2) return false;
  if (code == 0xc3) return true;
  fail("a boolean");
}

bool MsgpackReader::nil() {
  if (position_ >= bytes_.size() || bytes_[position_] != std::byte{0xc0}) return false;
  ++position_;
  return true;
}

void MsgpackReader::skip_items(std::uint64_t count, int depth) {
  checked(count);  // every item takes at least a byte: a huge claim fails before it is looped over
  for (std::uint64_t i = 0; i < count; ++i) skip_value(depth);
}

void MsgpackReader::skip_value(int depth) {
  if (depth > kMaxDepth) throw WireError("malformed msgpack header: nested too deep");
  const std::uint8_t code = take_byte();
  if (code <= 0x7f || code >= 0xe0 || code == 0xc0 || code == 0xc2 || code == 0xc3) return;
  if (code <= 0x8f) return skip_items(std::uint64_t{2} * (code & 0x0f), depth + 1);
  if (code <= 0x9f) return skip_items(code & 0x0f, depth + 1);
  if (code <= 0xbf) {
    position_ += checked(code & 0x1f);
    return;
  }
  const auto skip_bytes = [this](std::uint64_t length) { position_ += checked(length); };
  switch (code) {
    case 0xc4:
    case 0xd9:
      return skip_bytes(take_big_endian(1));
    case 0xc5:
    case 0xda:
      return skip_bytes(take_big_endian(2));
    case 0xc6:
    case 0xdb:
      return skip_bytes(take_big_endian(4));
    case 0xc7:
      return skip_bytes(1 + take_big_endian(1));
    case 0xc8:
      return skip_bytes(1 + take_big_endian(2));
    case 0xc9:
      return skip_bytes(1 + take_big_endian(4));
    case 0xca:
    case 0xce:
    case 0xd2:
      return skip_bytes(4);
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return skip_bytes(8);
    case 0xcc:
    case 0xd0:
      return skip_bytes(1);
    case 0xcd:
    case 0xd1:
      return skip_bytes(2);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      return skip_bytes(std::uint64_t{1} + (std::uint64_t{1} << (code - 0xd4)));
    case 0xdc:
      return skip_items(take_big_endian(2), depth + 1);
    case 0xdd:
      return skip_items(take_big_endian(4), depth + 1);
    case 0xde:
      return skip_items(2 * take_big_endian(2), depth + 1);
    case 0xdf:
      return skip_items(2 * take_big_endian(4), depth + 1);
    default:
      fail("a value");
  }
}

std::span<const std::byte> MsgpackReader::skip() {
  const std::size_t start = position_;
  skip_value(0);
  return bytes_.subspan(start, position_ - start);
}

void MsgpackWriter::head(std::uint8_t code, std::uint64_t value, int bytes) {
  out_.push_back(static_cast<char>(code));
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out_.push_back(static_cast<char>(value >> shift & 0xff));
  }
}

void MsgpackWriter::map(std::uint32_t size) {
  if (size < 16) return head(static_cast<std::uint8_t>(0x80 | size), 0, 0);
  head(0xdf, size, 4);
}

void MsgpackWriter::array(std::uint32_t size) {
  if (size < 16) return head(static_cast<std::uint8_t>(0x90 | size), 0, 0);
  head(0xdd, size, 4);
}

void MsgpackWriter::string(std::string_view text) {
  if (text.size() < 32) {
    head(static_cast<std::uint8_t>(0xa0 | text.size()), 0, 0);
  } else if (text.size() < 256) {
    head(0xd9, text.size(), 1);
  } else {
    head(0xdb, text.size(), 4);
  }
  out_.append(text);
}

void MsgpackWriter::integer(std::int64_t value) {
  if (value >= 0 && value <= 0x7f) return head(static_cast<std::uint8_t>(value), 0, 0);
  if (value >= 0 && value <= 0xff) return head(0xcc, static_cast<std::uint64_t>(value), 1);
  if (value >= 0 && value <= 0xffff) return head(0xcd, static_cast<std::uint64_t>(value), 2);
  if (value >= 0 && value <= 0xffffffff) return head(0xce, static_cast<std::uint64_t>(value), 4);
  if (value >= 0) return head(0xcf, static_cast<std::uint64_t>(value), 8);
  if (value >= -32) return head(static_cast<std::uint8_t>(value), 0, 0);
  head(0xd3, static_cast<std::uint64_t>(value), 8);
}

void MsgpackWriter::number(double value) {
  head(0xcb, std::bit_cast<std::uint64_t>(value), 8);
}

void MsgpackWriter::nil() {
  head(0xc0, 0, 0);
}

}  // namespace glet::net
