// The parsers that read what peers send: exact on good bytes, WireError and nothing else on bad
// ones.
#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>

#include "glet/error.h"
#include "glet/net/msgpack.h"
#include "glet/net/protocol.h"
#include "glet/net/slot_table.h"

using glet::ArgumentError;
using glet::WireError;
using glet::exec::DType;
using glet::exec::TensorSpec;
using namespace glet::net;

namespace {

std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

const std::vector<TensorSpec> kSpecs = {{"image", DType::kFloat32, {3, 224, 224}},
                                        {"ids", DType::kInt64, {}}};

}  // namespace

TEST_CASE("integers of every width come back as written") {
  for (const std::int64_t value :
       {INT64_C(0), INT64_C(1), INT64_C(127), INT64_C(128), INT64_C(255), INT64_C(256),
        INT64_C(65535), INT64_C(65536), INT64_C(4294967295), INT64_C(4294967296), INT64_MAX,
        INT64_C(-1), INT64_C(-32), INT64_C(-33), INT64_MIN}) {
    std::string bytes;
    MsgpackWriter(bytes).integer(value);
    MsgpackReader reader(as_bytes(bytes));
    CHECK(reader.integer() == value);
    CHECK(reader.at_end());
  }
}

TEST_CASE("strings and numbers come back as written, around the width boundaries") {
  for (const std::size_t size : {0U, 31U, 32U, 255U, 256U, 70000U}) {
    const std::string text(size, 'x');
    std::string bytes;
    MsgpackWriter writer(bytes);
    writer.string(text);
    writer.number(0.1);
    MsgpackReader reader(as_bytes(bytes));
    CHECK(reader.string() == text);
    CHECK(reader.number() == 0.1);
  }
}

TEST_CASE("a length that is not there is refused before it is used") {
  for (const std::string bytes :
       {std::string("\xdb\xff\xff\xff\xff", 5), std::string("\xdf\xff\xff\xff\xff", 5),
        std::string("\xdd\xff\xff\xff\xff", 5), std::string("\xc6\xff\xff\xff\xff", 5)}) {
    MsgpackReader reader(as_bytes(bytes));
    CHECK_THROWS_AS(reader.skip(), WireError);
  }
}

TEST_CASE("nesting is bounded") {
  const std::string deep(1000, '\x91');
  MsgpackReader reader(as_bytes(deep));
  CHECK_THROWS_AS(reader.skip(), WireError);
}

TEST_CASE("an infer header is read as it was written") {
  const std::string header = encode_infer(42, "lenet", encode_specs(kSpecs), 12.5);
  const ClientHeader read = read_client_header(as_bytes(header));
  CHECK(read.op == "infer");
  CHECK(read.id == 42);
  CHECK(read.model == "lenet");
  CHECK(read.deadline_ms == 12.5);
  const auto specs = decode_specs(read.inputs);
  REQUIRE(specs.size() == 2);
  CHECK(specs[0].name == "image");
  CHECK(specs[0].shape == kSpecs[0].shape);
  CHECK(specs[1].dtype == DType::kInt64);
  CHECK(specs[1].shape.empty());
}

TEST_CASE("a result and an error are read as they were written") {
  std::string header;
  encode_result(7, encode_specs(kSpecs), {3, glet::Nanos(1500000), glet::Nanos(0), glet::Nanos(2)},
                header);
  const ServerHeader result = read_server_header(as_bytes(header));
  CHECK(result.op == "result");
  CHECK(result.id == 7);
  CHECK(result.times.batch == 3);
  CHECK(result.times.queued == glet::Nanos(1500000));
  const std::string refusal = encode_error(std::nullopt, "late", "too late");
  const ServerHeader error = read_server_header(as_bytes(refusal));
  CHECK(error.error == "late");
  CHECK(error.message == "too late");
  CHECK_FALSE(error.id.has_value());
}

TEST_CASE("tensor lists that claim too much are refused") {
  std::string many;
  MsgpackWriter(many).array(65);
  CHECK_THROWS_AS(decode_specs(as_bytes(many)), WireError);
  std::string bad_dtype;
  MsgpackWriter writer(bad_dtype);
  writer.array(1);
  writer.array(3);
  writer.string("x");
  writer.string("float31");
  writer.array(0);
  CHECK_THROWS_AS(decode_specs(as_bytes(bad_dtype)), ArgumentError);
}

TEST_CASE("strings are checked by their lengths, whatever the bytes") {
  TensorSpec spec{"s", DType::kBytes, {3}};
  spec.max_bytes = 5;
  CHECK(spec.bytes() == 27);
  std::mt19937_64 random(7);
  int good = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string frame;
    for (int i = 0; i < 3; ++i) {
      const auto length = static_cast<std::uint32_t>(random() % 6);
      frame.append(reinterpret_cast<const char*>(&length), sizeof length);
      frame.append(length, 'x');
    }
    CHECK(spec.misfit(as_bytes(frame)).empty());
    frame[random() % frame.size()] = static_cast<char>(random());
    frame.resize(random() % (frame.size() + 4));
    if (!spec.misfit(as_bytes(frame)).empty()) continue;
    ++good;
    CHECK(frame.size() <= spec.bytes());
    std::size_t at = 0;
    for (int i = 0; i < 3; ++i) {
      std::uint32_t length = 0;
      REQUIRE(at + sizeof length <= frame.size());
      std::memcpy(&length, frame.data() + at, sizeof length);
      CHECK(length <= 5);
      at += sizeof length + length;
    }
    CHECK(at == frame.size());
  }
  CHECK(good > 100);
  CHECK(spec.misfit(as_bytes(std::string("\xff\xff\xff\xff", 4))) ==
        "has an element 0 of 3 of 4294967295 bytes; at most 5 are valid");
}

TEST_CASE("an op names its request, and outcomes have codes") {
  const std::string frame = encode_op("cancel", 7);
  const ClientHeader header = read_client_header(as_bytes(frame));
  CHECK(header.op == "cancel");
  CHECK(header.id == 7);
  for (const auto outcome : {glet::exec::Outcome::kLate, glet::exec::Outcome::kCancelled,
                             glet::exec::Outcome::kFailed}) {
    CHECK(outcome_from_code(outcome_code(outcome)) == outcome);
  }
}

TEST_CASE("headers damaged at random never do anything but throw WireError") {
  std::mt19937_64 random(7);
  const std::string good = encode_infer(42, "lenet", encode_specs(kSpecs), 12.5);
  int refused = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = good;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 2 == 0) bytes.resize(random() % (bytes.size() + 1));
    try {
      const ClientHeader header = read_client_header(as_bytes(bytes));
      if (!header.inputs.empty()) decode_specs(header.inputs);
    } catch (const WireError&) {
      ++refused;
    } catch (const ArgumentError&) {
      ++refused;
    }
  }
  CHECK(refused > 25'000);
}

TEST_CASE("a slot's tag is never valid again") {
  SlotTable<int> table;
  const auto [first, value] = table.take();
  *value = 1;
  CHECK(*table.find(first) == 1);
  table.release(first);
  CHECK(table.find(first) == nullptr);
  const auto [second, reused] = table.take();
  CHECK(second != first);
  CHECK(table.find(first) == nullptr);
  table.release(first);  // a second release of the same tag changes nothing
  CHECK(table.find(second) == reused);
  CHECK(table.size() == 1);
  CHECK(table.tags_where([](int) { return true; }) == std::vector<std::uint64_t>{second});
}
