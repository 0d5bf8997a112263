// gRPC messages: their framing, Protocol Buffers in them, and the inferences in those.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "glet/error.h"
#include "glet/web/grpc_messages.h"
#include "glet/web/grpc_reader.h"
#include "glet/web/grpc_status.h"
#include "glet/web/protobuf.h"
#include "targets.h"

namespace glet::fuzz {
namespace {

constexpr std::size_t kLongest = 1 << 16;

std::span<const std::byte> as_message(Bytes bytes) {
  return std::as_bytes(bytes);
}

bool is_message(std::span<const std::byte> message) {
  try {
    web::ProtoReader reader(message, "fuzz");
    while (reader.next()) reader.skip();
    return true;
  } catch (const WireError&) {
    return false;
  }
}

void read_infer(std::span<const std::byte> message, const std::shared_ptr<const void>& keep) {
  web::OipRequest request;
  try {
    web::read_infer(message, keep, kLongest, request);
  } catch (const WireError&) {
    return;
  }
  require(is_message(message), "an inference is a message");
  require(request.inputs.size() <= 64, "at most 64 inputs");
  std::size_t total = 0;
  for (const web::OipInput& input : request.inputs) {
    require(input.shape.size() <= 16, "at most 16 dimensions");
    for (const std::byte byte : input.bytes) total += static_cast<std::size_t>(byte);
  }
  static_cast<void>(total);
}

void read_stream(Bytes bytes, std::size_t piece) {
  web::GrpcReader reader;
  for (auto rest = as_message(bytes); !rest.empty();) {
    const auto now = rest.first(std::min(piece, rest.size()));
    rest = rest.subspan(now.size());
    reader.append(now);
    for (;;) {
      const auto next = reader.next(kLongest);
      if (next == web::GrpcReader::Next::kNone) break;
      if (next != web::GrpcReader::Next::kMessage) return;
      require(reader.message().size() == reader.length(), "a message is as long as it says");
      const auto keep = reader.length() % 2 == 0 ? reader.keep() : nullptr;
      read_infer(reader.message(), keep);
    }
  }
}

}  // namespace

void grpc(Bytes given) {
  const auto [bytes, choice] = chosen(given);
  const auto message = as_message(bytes);
  is_message(message);
  read_infer(message, nullptr);
  try {
    web::read_model_ready(message);
  } catch (const WireError&) {
    // as it may be
  }
  read_stream(bytes, 1 + choice);
  const auto timeout_ns = web::grpc_timeout_ns(text_of(bytes));
  require(!timeout_ns || *timeout_ns >= 0, "a timeout is not below 0");
  web::grpc_message(text_of(bytes));
}

std::vector<std::string> grpc_seeds() {
  std::string tensor;
  web::ProtoWriter in(tensor);
  in.bytes(1, "x");
  in.bytes(2, "FP32");
  in.varint(3, 1);
  in.varint(3, 2);
  std::string typed = tensor;
  std::string contents;
  web::ProtoWriter(contents).bytes(6, std::string("\0\0\x80\x3f\0\0\0\x40", 8));
  web::ProtoWriter(typed).bytes(5, contents);
  std::string timeout;
  std::string number;
  web::ProtoWriter(number).varint(2, 1000);
  web::ProtoWriter(timeout).bytes(1, "timeout");
  web::ProtoWriter(timeout).bytes(2, number);
  std::vector<std::string> out;
  for (const bool raw : {false, true}) {
    std::string text;
    web::ProtoWriter request(text);
    request.bytes(1, "a");
    request.bytes(3, "7");
    request.bytes(4, timeout);
    request.bytes(5, raw ? tensor : typed);
    std::string wanted;
    web::ProtoWriter(wanted).bytes(1, "y");
    request.bytes(6, wanted);
    if (raw) request.bytes(7, std::string(8, '\x01'));
    out.push_back(text + '\0');
    const std::string head{'\0', '\0', '\0', '\0', static_cast<char>(text.size())};
    out.push_back(head + text + head + text + '\x03');
  }
  for (const char* text : {"5S", "250m", "99999999H"}) out.push_back(std::string(text) + '\0');
  return out;
}

}  // namespace glet::fuzz
