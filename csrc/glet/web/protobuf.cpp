#include "glet/web/protobuf.h"

#include <bit>
#include <cstring>

#include "glet/error.h"

namespace glet::web {
namespace {

constexpr int kTypeBits = 3;
constexpr std::uint32_t kTypeMask = (1U << kTypeBits) - 1;
constexpr int kPayloadBits = 7;
constexpr std::uint64_t kMore = 0x80;
constexpr int kDeepestGroup = 100;

static_assert(std::endian::native == std::endian::little, "fixed fields are read as they lie");

}  // namespace

ProtoReader::ProtoReader(std::span<const std::byte> message, std::string_view what)
    : at_(message.data()),
      end_(message.data() + message.size()),
      begin_(message.data()),
      what_(what) {}

void ProtoReader::fail(std::string_view why) const {
  throw WireError("malformed " + std::string(what_) + ": " + std::string(why) + " at byte " +
                  std::to_string(at_ - begin_));
}

bool ProtoReader::next() {
  if (at_ == end_) return false;
  read_tag();
  if (type_ == WireType::kGroupEnd) fail("a group ends that did not begin");
  return true;
}

void ProtoReader::read_tag() {
  const std::uint64_t tag = varint();
  if (tag > UINT32_MAX) fail("a field number is too large");
  field_ = static_cast<std::uint32_t>(tag) >> kTypeBits;
  if (field_ == 0) fail("field number 0");
  const auto type = static_cast<std::uint32_t>(tag) & kTypeMask;
  if (type > static_cast<std::uint32_t>(WireType::kFixed32)) fail("an unknown wire type");
  type_ = static_cast<WireType>(type);
}

std::uint64_t ProtoReader::varint() {
  if (at_ != end_) {
    const auto first = std::to_integer<std::uint64_t>(*at_);
    if (first < kMore) {
      ++at_;
      return first;
    }
  }
  return long_varint();
}

std::uint64_t ProtoReader::long_varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += kPayloadBits) {
    if (at_ == end_) fail("it ends within a number");
    const auto part = std::to_integer<std::uint64_t>(*at_++);
    if (shift == 63 && part > 1) break;
    value |= (part & (kMore - 1)) << shift;
    if (part < kMore) return value;
  }
  fail("a number of more than 64 bits");
}

std::uint32_t ProtoReader::fixed32() {
  std::uint32_t value = 0;
  if (static_cast<std::size_t>(end_ - at_) < sizeof value) fail("it ends within a number");
  std::memcpy(&value, at_, sizeof value);
  at_ += sizeof value;
  return value;
}

std::uint64_t ProtoReader::fixed64() {
  std::uint64_t value = 0;
  if (static_cast<std::size_t>(end_ - at_) < sizeof value) fail("it ends within a number");
  std::memcpy(&value, at_, sizeof value);
  at_ += sizeof value;
  return value;
}

std::span<const std::byte> ProtoReader::bytes() {
  const std::uint64_t length = varint();
  if (length > static_cast<std::uint64_t>(end_ - at_)) fail("a length beyond the end");
  const std::span<const std::byte> value(at_, static_cast<std::size_t>(length));
  at_ += length;
  return value;
}

std::string_view ProtoReader::text() {
  const auto value = bytes();
  const std::string_view view(reinterpret_cast<const char*>(value.data()), value.size());
  if (!is_utf8(view)) fail("a string that is not UTF-8");
  return view;
}

void ProtoReader::skip() {
  if (type_ == WireType::kGroupStart) return skip_group();
  skip_value();
}

void ProtoReader::skip_value() {
  switch (type_) {
    case WireType::kVarint:
      varint();
      return;
    case WireType::kFixed64:
      fixed64();
      return;
    case WireType::kBytes:
      bytes();
      return;
    default:
      fixed32();
      return;
  }
}

// Groups nest, and each has to end with the number it began with.
void ProtoReader::skip_group() {
  std::uint32_t open[kDeepestGroup];
  int depth = 0;
  open[depth++] = field_;
  while (depth > 0) {
    if (at_ == end_) fail("it ends within a group");
    read_tag();
    if (type_ == WireType::kGroupStart) {
      if (depth == kDeepestGroup) fail("groups nest too deeply");
      open[depth++] = field_;
    } else if (type_ == WireType::kGroupEnd) {
      if (open[--depth] != field_) fail("a group ends with another number than it began with");
    } else {
      skip_value();
    }
  }
}

void ProtoWriter::raw_varint(std::uint64_t value) {
  while (value >= kMore) {
    out_ += static_cast<char>(value | kMore);
    value >>= kPayloadBits;
  }
  out_ += static_cast<char>(value);
}

void ProtoWriter::varint(std::uint32_t field, std::uint64_t value) {
  raw_varint(std::uint64_t{field} << kTypeBits);
  raw_varint(value);
}

void ProtoWriter::head(std::uint32_t field, std::uint64_t length) {
  raw_varint(std::uint64_t{field} << kTypeBits | static_cast<std::uint64_t>(WireType::kBytes));
  raw_varint(length);
}

void ProtoWriter::bytes(std::uint32_t field, std::string_view value) {
  head(field, value.size());
  out_ += value;
}

std::size_t ProtoWriter::varint_size(std::uint64_t value) {
  return value == 0 ? 1 : (static_cast<std::size_t>(std::bit_width(value)) + 6) / 7;
}

std::size_t ProtoWriter::bytes_size(std::uint32_t field, std::size_t length) {
  return varint_size(std::uint64_t{field} << kTypeBits) + varint_size(length) + length;
}

// Table 3-7 of the Unicode standard: well-formed byte sequences.
bool is_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = at + text.size();
  const auto continues = [&](int count) {
    for (int i = 1; i <= count; ++i) {
      if (at + i >= end || (at[i] & 0xC0) != 0x80) return false;
    }
    return true;
  };
  while (at < end) {
    const unsigned char lead = *at;
    if (lead < 0x80) {
      ++at;
    } else if (lead >= 0xC2 && lead <= 0xDF && continues(1)) {
      at += 2;
    } else if ((lead & 0xF0) == 0xE0 && continues(2)) {
      if ((lead == 0xE0 && at[1] < 0xA0) || (lead == 0xED && at[1] > 0x9F)) return false;
      at += 3;
    } else if (lead >= 0xF0 && lead <= 0xF4 && continues(3)) {
      if ((lead == 0xF0 && at[1] < 0x90) || (lead == 0xF4 && at[1] > 0x8F)) return false;
      at += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace glet::web
