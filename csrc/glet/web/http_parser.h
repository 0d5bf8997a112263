#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// HTTP/1.1 requests, or answers, out of the bytes of a connection (RFC 9110, RFC 9112), strictly.
// No socket, no clock. However the bytes are cut, the same come out.
namespace glet::web {

struct HttpLimits {
  std::size_t head_bytes = 32 << 10;  // request line and fields; also of trailers
  std::size_t headers = 100;
  std::size_t body_bytes = 64 << 20;
};

struct HttpHeader {
  std::string_view name;  // as it was written
  std::string_view value;
};

// A whole request, or answer. Views hold until HttpParser::pop() or space().
struct HttpRequest {
  int status = 0;  // of an answer, which has no method and no target
  std::string_view method;
  std::string_view target;  // "/path?query", or "*"; of an absolute target the part behind the host
  int minor = 1;            // HTTP/1.minor
  std::vector<HttpHeader> headers;
  std::span<const std::byte> body;
  std::shared_ptr<const void> keep;  // owns a large body; empty: it lies in the connection's buffer
  bool keep_alive = true;
  bool has_length = false;  // said how long its body is, be it nothing
  bool has_body = false;    // or is about to have one

  std::string_view path() const { return target.substr(0, target.find('?')); }
  // The value of the first header of that name, in whatever case; nothing without.
  std::optional<std::string_view> header(std::string_view name) const;
};

// What the connection is answered, and closed with.
struct HttpError {
  int status = 400;
  std::string message;  // one line
};

// Stricter than RFC 9112 allows a server to be: lines end with CRLF only, no empty line before a
// request, no folded fields, no control characters in values, Content-Length once and not beside
// Transfer-Encoding, whose one valid value is `chunked`, and only in HTTP/1.1. Any of these is how
// two servers come to see different requests in the same bytes.
//
// An answer says how long its body is, by a length or by chunks: one that ends with its connection
// is refused.
class HttpParser {
 public:
  // kHeads: requests, and next() stops behind each head, before there is memory for the body.
  enum class Reads : std::uint8_t { kRequests, kHeads, kAnswers };
  enum class Next {
    kMore,      // give it more bytes
    kContinue,  // the same, but the client waits for "100 Continue"; said once per request
    kHead,      // request() has all but its body, for Reads::kHeads; go_on() goes on
    kRequest,   // request() is whole
    kBad,       // error(); nothing more comes out of this connection
  };

  explicit HttpParser(const HttpLimits& limits, Reads reads = Reads::kRequests)
      : limits_(limits), reads_(reads) {}

  // Where to put the next bytes, never empty; of a large body the rest of its own memory.
  std::span<char> space();
  void filled(std::size_t bytes);
  Next next();
  const HttpRequest& request() const { return request_; }
  const HttpError& error() const { return error_; }
  // The body of the request whose head was said.
  void go_on() { begin_body(); }
  // Done with the request; what is behind it is next.
  void pop();

  // Nothing of a request is here.
  bool idle() const { return stage_ == Stage::kLine && start_ == end_; }
  // A request has begun, its head is not whole.
  bool in_head() const { return !idle() && (stage_ == Stage::kLine || stage_ == Stage::kField); }
  // Its head is whole, its body is not.
  bool in_body() const { return stage_ >= Stage::kBody && stage_ <= Stage::kTrailer; }
  // Bytes of a body that is not whole, beyond the connection's buffer.
  std::size_t held() const { return own_filled_ + (joined_ ? joined_->size() : 0); }
  // Nothing more comes out of this connection; lets go of the body.
  void give_up();

 private:
  enum class Stage {
    kLine,
    kField,
    kHead,
    kBody,
    kChunk,
    kChunkData,
    kChunkEnd,
    kTrailer,
    kDone,
    kBad
  };
  // A part of the buffer, counted from the begin of the request: the buffer may move.
  struct Part {
    std::size_t at = 0;
    std::size_t size = 0;
  };
  struct Field {
    Part name;
    Part value;
  };

  char* begin() { return buffer_.get() + start_; }
  std::string_view text(Part part) const { return {buffer_.get() + start_ + part.at, part.size}; }
  Part part(std::string_view inside) const;
  std::size_t here() const { return end_ - start_; }
  // The next line from scanned_ on, without its CRLF.
  std::optional<std::string_view> line(std::size_t most, int status);
  bool bad(int status, std::string message);
  bool on_request_line(std::string_view line);
  bool on_status_line(std::string_view line);
  bool on_field(std::string_view line);
  bool on_head();
  bool begin_body();
  bool on_length(std::string_view value);
  bool on_encoding(std::string_view value);
  void on_connection(std::string_view value);
  bool on_chunk_line(std::string_view line);
  bool take_chunk_data();
  void drop_decoded();
  void reserve(std::size_t bytes);
  bool step();
  void fill_head();
  void finish();

  HttpLimits limits_;
  Reads reads_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t start_ = 0;  // of the request at hand
  std::size_t end_ = 0;
  std::size_t parsed_ = 0;   // bytes of the request that are done with
  std::size_t scanned_ = 0;  // bytes that have no line end behind parsed_

  Stage stage_ = Stage::kLine;
  Part method_;
  Part target_;
  int status_ = 0;
  int minor_ = 1;
  std::vector<Field> fields_;
  std::optional<std::uint64_t> length_;
  int hosts_ = 0;
  bool chunked_ = false;
  bool close_ = false;
  bool stay_ = false;
  bool expects_ = false;
  std::size_t head_bytes_ = 0;
  std::size_t chunk_left_ = 0;
  std::size_t chunk_overhead_ = 0;
  std::shared_ptr<char[]> own_body_;  // a large one
  std::size_t own_filled_ = 0;
  std::shared_ptr<std::string> joined_;  // of chunks

  HttpRequest request_;
  HttpError error_;
};

}  // namespace glet::web
