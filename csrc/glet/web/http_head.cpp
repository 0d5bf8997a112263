#include <algorithm>
#include <cstring>

#include "glet/net/served_model.h"
#include "glet/web/http_parser.h"
#include "glet/web/http_text.h"

// The head of a request or an answer: its first line and its fields.
namespace glet::web {
namespace {

constexpr std::size_t kBodyInBuffer = 32 << 10;  // larger ones get memory of their own
constexpr std::size_t kLongestNumber = 18;       // digits that fit any integer

bool is_target(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && static_cast<unsigned char>(c) < 127;
  });
}

}  // namespace

bool HttpParser::on_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return bad(400, "the request line is not `METHOD TARGET HTTP/1.1`");
  }
  const std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || !is_target(target)) {
    return bad(400, "the request line is not `METHOD TARGET HTTP/1.1`");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    const bool other = version.size() == 8 && version.starts_with("HTTP/") &&
                       is_digits(version.substr(5, 1)) && version[6] == '.' &&
                       is_digits(version.substr(7, 1));
    if (other)
      return bad(505, "HTTP/1.1 and HTTP/1.0 are spoken here, not " + net::quoted(version));
    return bad(400, "the request line is not `METHOD TARGET HTTP/1.1`");
  }
  minor_ = version.back() - '0';
  if (method == "CONNECT") return bad(501, "CONNECT is not supported");
  if (target.front() != '/' && target != "*") {
    const std::size_t scheme = target.find("://");
    const std::string_view name = target.substr(0, scheme);
    if (scheme == std::string_view::npos ||
        !(same_name(name, "http") || same_name(name, "https"))) {
      return bad(400, "target " + net::quoted(target) + "; valid is a path that begins with /");
    }
    const std::size_t path = target.find_first_of("/?", scheme + 3);
    if (path == std::string_view::npos || target[path] == '?') {
      return bad(400, "target " + net::quoted(target) + " has no path");
    }
    target = target.substr(path);
  }
  method_ = part(method);
  target_ = part(target);
  stage_ = Stage::kField;
  return true;
}

bool HttpParser::on_status_line(std::string_view line) {
  constexpr std::size_t kUpToStatus = 12;  // "HTTP/1.1 200"
  const bool whole = line.size() >= kUpToStatus && line.starts_with("HTTP/1.") && line[8] == ' ' &&
                     (line[7] == '0' || line[7] == '1') && is_digits(line.substr(9, 3)) &&
                     line[9] != '0' && (line.size() == kUpToStatus || line[kUpToStatus] == ' ') &&
                     is_field_value(line);
  if (!whole) return bad(502, "the status line is not `HTTP/1.1 NUMBER REASON`");
  minor_ = line[7] - '0';
  status_ = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  stage_ = Stage::kField;
  return true;
}

bool HttpParser::on_field(std::string_view line) {
  if (line.empty()) return on_head();
  if (line.front() == ' ' || line.front() == '\t') {
    return bad(400, "a header field is folded over two lines");
  }
  if (fields_.size() == limits_.headers) {
    return bad(431, "more than " + std::to_string(limits_.headers) + " header fields");
  }
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == std::string_view::npos || !is_token(name)) {
    return bad(400, "header field " + net::quoted(name) + " is not `NAME: VALUE`");
  }
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (!is_field_value(value)) {
    return bad(400, "header field " + net::quoted(name) + " has control characters");
  }
  fields_.push_back({part(name), part(value)});
  switch (name.size()) {
    case 4:
      if (same_name(name, "host")) ++hosts_;
      break;
    case 6:
      if (same_name(name, "expect") && minor_ == 1) {
        if (!same_name(value, "100-continue")) {
          return bad(417, "Expect " + net::quoted(value) + "; valid is 100-continue");
        }
        expects_ = true;
      }
      break;
    case 10:
      if (same_name(name, "connection")) on_connection(value);
      break;
    case 14:
      if (same_name(name, "content-length")) return on_length(value);
      break;
    case 17:
      if (same_name(name, "transfer-encoding")) return on_encoding(value);
      break;
    default:
      break;
  }
  return true;
}

void HttpParser::on_connection(std::string_view value) {
  while (const auto option = next_element(value)) {
    close_ |= same_name(*option, "close");
    stay_ |= same_name(*option, "keep-alive");
  }
}

bool HttpParser::on_length(std::string_view value) {
  if (length_) return bad(400, "Content-Length is given twice");
  if (!is_digits(value)) {
    return bad(400, "Content-Length " + net::quoted(value) + "; valid is a number of bytes");
  }
  const std::size_t zeros = std::min(value.find_first_not_of('0'), value.size() - 1);
  const std::string_view digits = value.substr(zeros);
  if (digits.size() > kLongestNumber) return bad(413, "the body is too large");
  std::uint64_t length = 0;
  for (const char c : digits) length = length * 10 + static_cast<std::uint64_t>(c - '0');
  length_ = length;
  return true;
}

bool HttpParser::on_encoding(std::string_view value) {
  if (minor_ == 0) return bad(400, "HTTP/1.0 has no Transfer-Encoding");
  if (chunked_) return bad(400, "Transfer-Encoding is given twice");
  if (!same_name(value, "chunked")) {
    return bad(501, "Transfer-Encoding " + net::quoted(value) + "; valid is chunked");
  }
  chunked_ = true;
  return true;
}

bool HttpParser::on_head() {
  const bool answers = reads_ == Reads::kAnswers;
  if (!answers && (hosts_ > 1 || (hosts_ == 0 && minor_ == 1))) {
    return bad(400, hosts_ > 1 ? "Host is given twice" : "an HTTP/1.1 request needs a Host");
  }
  if (chunked_ && length_) {
    return bad(400, "Content-Length and Transfer-Encoding are both given; one of them is valid");
  }
  head_bytes_ = parsed_;
  if (length_.value_or(0) > limits_.body_bytes) {
    return bad(413, "a body of " + std::to_string(*length_) + " bytes; at most " +
                        std::to_string(limits_.body_bytes) + " are taken");
  }
  if (answers && (status_ < 200 || status_ == 204 || status_ == 304)) {
    chunked_ = false;
    length_ = 0;
  } else if (answers && !chunked_ && !length_) {
    return bad(502, "the answer has neither Content-Length nor chunks");
  }
  if (reads_ != Reads::kHeads) return begin_body();
  stage_ = Stage::kHead;
  return true;
}

bool HttpParser::begin_body() {
  if (chunked_) {
    joined_ = std::make_shared<std::string>();
    stage_ = Stage::kChunk;
    return true;
  }
  const std::uint64_t length = length_.value_or(0);
  stage_ = Stage::kBody;
  if (length > kBodyInBuffer) {
    own_body_ = std::make_shared_for_overwrite<char[]>(length);
    own_filled_ = std::min<std::size_t>(length, here() - parsed_);
    std::memcpy(own_body_.get(), begin() + parsed_, own_filled_);
    parsed_ += own_filled_;
  } else {
    reserve(parsed_ + length);
  }
  return true;
}

}  // namespace glet::web
