// gRPC messages out of any pieces, and the texts of its headers.
#include "glet/web/grpc_reader.h"

#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

#include "glet/web/grpc_status.h"

using namespace glet::web;

namespace {

std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string framed(const std::string& message, char flag = 0) {
  std::string out(1, flag);
  for (int shift = 24; shift >= 0; shift -= 8) {
    out += static_cast<char>(message.size() >> shift & 0xff);
  }
  return out + message;
}

constexpr std::size_t kLongest = 1 << 20;

}  // namespace

TEST_CASE("messages come out of any pieces as they went in") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> sent;
    std::string bytes;
    for (int i = 0; i < 8; ++i) {
      std::string& message = sent.emplace_back(random() % 3000, '\0');
      for (char& c : message) c = static_cast<char>(random());
      bytes += framed(message, static_cast<char>(i % 2));
    }
    GrpcReader reader;
    std::vector<std::string> got;
    std::vector<std::pair<std::shared_ptr<const void>, std::span<const std::byte>>> kept;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 2000, bytes.size() - at);
      reader.append(as_bytes(bytes).subspan(at, size));
      at += size;
      while (reader.next(kLongest) == GrpcReader::Next::kMessage) {
        CHECK(reader.compressed() == (got.size() % 2 == 1));
        if (random() % 2 == 0) {
          const auto before = reader.message();
          const auto keep = reader.keep();
          CHECK(reader.message().data() == before.data());
          kept.emplace_back(keep, before);
        } else {
          kept.emplace_back();
        }
        got.push_back(text_of(reader.message()));
      }
    }
    CHECK(got == sent);
    CHECK(reader.at_end());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      if (kept[i].first) CHECK(text_of(kept[i].second) == sent[i]);
    }
  }
}

TEST_CASE("an empty message is one, half a head is none") {
  GrpcReader reader;
  reader.append(as_bytes(framed("") + framed("")));
  CHECK(reader.next(0) == GrpcReader::Next::kMessage);
  CHECK_FALSE(reader.at_end());
  CHECK(reader.next(0) == GrpcReader::Next::kMessage);
  CHECK(reader.at_end());
  reader.append(as_bytes(std::string_view("\0\0\0", 3)));
  CHECK(reader.next(0) == GrpcReader::Next::kNone);
  CHECK_FALSE(reader.at_end());
}

TEST_CASE("what is too long or no message is said before its bytes are there") {
  GrpcReader reader;
  reader.append(as_bytes(std::string_view("\0\xff\xff\xff\xff", 5)));
  CHECK(reader.next(kLongest) == GrpcReader::Next::kTooLong);
  CHECK(reader.length() == std::numeric_limits<std::uint32_t>::max());
  GrpcReader other;
  other.append(as_bytes(std::string_view("\2\0\0\0\0", 5)));
  CHECK(other.next(kLongest) == GrpcReader::Next::kMalformed);
}

TEST_CASE("a timeout is up to eight digits and a unit") {
  CHECK(grpc_timeout_ns("1n") == 1);
  CHECK(grpc_timeout_ns("250m") == 250'000'000);
  CHECK(grpc_timeout_ns("99999999S") == INT64_C(99'999'999'000'000'000));
  CHECK(grpc_timeout_ns("2H") == INT64_C(7'200'000'000'000));
  CHECK(grpc_timeout_ns("3M") == INT64_C(180'000'000'000));
  CHECK(grpc_timeout_ns("7u") == 7000);
  CHECK(grpc_timeout_ns("99999999H") == std::numeric_limits<std::int64_t>::max());
  for (const char* bad : {"", "n", "1", "1s", "-1n", "1.5S", "123456789n", " 1n", "1 n", "0x1n"}) {
    CHECK_FALSE(grpc_timeout_ns(bad).has_value());
  }
}

TEST_CASE("a message of a status is printable ASCII") {
  CHECK(grpc_message("no model 'a'; valid: b") == "no model 'a'; valid: b");
  CHECK(grpc_message("100%\n\xc3\xa4") == "100%25%0A%C3%A4");
}
