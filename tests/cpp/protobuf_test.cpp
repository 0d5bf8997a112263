// The reader of Protocol Buffers: exact on good bytes, WireError and nothing else on bad ones. What
// Google's own library makes of the same bytes is in tests/unit/test_protobuf.py.
#include "glet/web/protobuf.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "glet/error.h"

using glet::WireError;
using namespace glet::web;

namespace {

std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// Reads everything there is.
int walk(std::string_view message) {
  ProtoReader reader(as_bytes(message), "test");
  int fields = 0;
  while (reader.next()) {
    reader.skip();
    ++fields;
  }
  return fields;
}

}  // namespace

TEST_CASE("numbers come back as written, around the width boundaries") {
  for (int bits = 0; bits <= 64; ++bits) {
    for (const std::int64_t around : {-1, 0, 1}) {
      const std::uint64_t value =
          (bits == 64 ? 0 : std::uint64_t{1} << bits) + static_cast<std::uint64_t>(around);
      std::string text;
      ProtoWriter(text).varint(7, value);
      CHECK(text.size() == 1 + ProtoWriter::varint_size(value));
      ProtoReader reader(as_bytes(text), "test");
      REQUIRE(reader.next());
      CHECK(reader.is(7, WireType::kVarint));
      CHECK(reader.varint() == value);
      CHECK_FALSE(reader.next());
    }
  }
}

TEST_CASE("bytes come back as written, and their size is known before") {
  for (const std::size_t size : {0U, 1U, 127U, 128U, 16383U, 16384U, 100000U}) {
    for (const std::uint32_t field : {1U, 15U, 16U, (1U << 29) - 1}) {
      const std::string value(size, 'x');
      std::string text;
      ProtoWriter(text).bytes(field, value);
      CHECK(text.size() == ProtoWriter::bytes_size(field, size));
      ProtoReader reader(as_bytes(text), "test");
      REQUIRE(reader.next());
      CHECK(reader.is(field, WireType::kBytes));
      CHECK(reader.text() == value);
    }
  }
}

TEST_CASE("what is no message is refused") {
  const std::string long_number(10, '\xff');
  for (const std::string& bad : {
           std::string("\x00\x01", 2),                  // field number 0
           std::string("\x0e\x01", 2),                  // wire type 6
           std::string("\x0f\x01", 2),                  // wire type 7
           std::string("\x08", 1),                      // no value
           std::string("\x08\x80", 2),                  // a value that does not end
           "\x08" + long_number + "\x01",               // eleven bytes
           "\x08" + std::string(9, '\xff') + "\x02",    // 65 bits
           std::string("\x0a\x05xx", 4),                // a length beyond the end
           "\x0a" + std::string(9, '\xff') + "\x01",    // a length beyond everything
           std::string("\x09\x01\x02", 3),              // half a fixed64
           std::string("\x0d\x01\x02", 3),              // half a fixed32
           std::string("\x0b", 1),                      // a group that does not end
           std::string("\x0c", 1),                      // a group that did not begin
           std::string("\x0b\x14", 2),                  // a group that ends as another
           std::string("\xff\xff\xff\xff\x7f\x01", 6),  // a field number of 32 bits
       }) {
    CHECK_THROWS_AS(walk(bad), WireError);
  }
}

TEST_CASE("groups of old are skipped, as deep as anybody nests them") {
  CHECK(walk(std::string("\x0b\x08\x01\x0c\x10\x01", 6)) == 2);
  CHECK(walk(std::string(100, '\x0b') + std::string(100, '\x0c')) == 1);
  CHECK_THROWS_AS(walk(std::string(101, '\x0b') + std::string(101, '\x0c')), WireError);
}

TEST_CASE("text is UTF-8 or refused") {
  for (const char* good : {"", "abc", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                           "\xef\xbf\xbf", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    CHECK(is_utf8(good));
  }
  for (const char* bad :
       {"\x80", "\xc3", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\xaf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xff", "a\xe2\x28\xa1"}) {
    CHECK_FALSE(is_utf8(bad));
  }
}

TEST_CASE("messages damaged at random never do anything but throw WireError") {
  std::mt19937_64 random(11);
  std::string good;
  ProtoWriter writer(good);
  for (std::uint32_t field = 1; field < 12; ++field) {
    writer.varint(field, random());
    writer.bytes(field, std::string(random() % 40, 'y'));
  }
  int refused = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = good;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 2 == 0) bytes.resize(random() % (bytes.size() + 1));
    try {
      walk(bytes);
    } catch (const WireError&) {
      ++refused;
    }
  }
  CHECK(refused > 10'000);
}
