#include "glet/web/http_parser.h"

#include <algorithm>
#include <cstring>

#include "glet/net/served_model.h"
#include "glet/web/http_text.h"

namespace glet::web {
namespace {

constexpr std::size_t kFirstBuffer = 8 << 10;
constexpr std::size_t kLeastSpace = 4 << 10;
constexpr std::size_t kChunkLine = 256;
constexpr std::size_t kChunkOverhead = 64 << 10;  // of all chunk lines beyond their data

}  // namespace

std::optional<std::string_view> HttpRequest::header(std::string_view name) const {
  for (const HttpHeader& header : headers) {
    if (same_name(header.name, name)) return header.value;
  }
  return std::nullopt;
}

// ---- the buffer ----

std::span<char> HttpParser::space() {
  if (own_body_ && stage_ == Stage::kBody) {
    return {own_body_.get() + own_filled_, *length_ - own_filled_};
  }
  if (capacity_ - end_ < kLeastSpace) reserve(here() + kLeastSpace);
  return {buffer_.get() + end_, capacity_ - end_};
}

void HttpParser::filled(std::size_t bytes) {
  if (own_body_ && stage_ == Stage::kBody) {
    own_filled_ += bytes;
  } else {
    end_ += bytes;
  }
}

// Room for `bytes` from the begin of the request on.
void HttpParser::reserve(std::size_t bytes) {
  if (bytes <= capacity_ - start_) return;
  if (bytes <= capacity_) {
    std::memmove(buffer_.get(), begin(), here());
  } else {
    const std::size_t larger = std::max({bytes, 2 * capacity_, kFirstBuffer});
    auto fresh = std::make_unique_for_overwrite<char[]>(larger);
    if (here() > 0) std::memcpy(fresh.get(), begin(), here());
    buffer_ = std::move(fresh);
    capacity_ = larger;
  }
  end_ -= start_;
  start_ = 0;
}

HttpParser::Part HttpParser::part(std::string_view inside) const {
  return {static_cast<std::size_t>(inside.data() - (buffer_.get() + start_)), inside.size()};
}

std::optional<std::string_view> HttpParser::line(std::size_t most, int status) {
  const char* from = begin() + parsed_;
  const std::size_t left = here() - parsed_;
  const void* found =
      scanned_ < left ? std::memchr(from + scanned_, '\n', left - scanned_) : nullptr;
  const std::size_t size =
      found == nullptr ? left : static_cast<std::size_t>(static_cast<const char*>(found) - from);
  if (size > most) {
    bad(status,
        status == 414
            ? "the request line is longer than " + std::to_string(limits_.head_bytes) + " bytes"
            : "more than " + std::to_string(most) + " bytes" + " of header or chunk lines");
    return std::nullopt;
  }
  if (found == nullptr) {
    scanned_ = left;
    return std::nullopt;
  }
  if (size == 0 || from[size - 1] != '\r') {
    bad(400, "a line ends with a bare LF; valid is CRLF");
    return std::nullopt;
  }
  scanned_ = 0;
  parsed_ += size + 1;
  return std::string_view(from, size - 1);
}

bool HttpParser::bad(int status, std::string message) {
  stage_ = Stage::kBad;
  error_ = {status, std::move(message)};
  return true;
}

// ---- the body ----

bool HttpParser::on_chunk_line(std::string_view line) {
  const std::string_view digits = line.substr(0, line.find(';'));
  if (digits.empty() || digits.size() > 2 * sizeof(std::uint32_t)) {
    const bool is_hex = !digits.empty() && std::all_of(digits.begin(), digits.end(),
                                                       [](char c) { return hex_digit(c) >= 0; });
    return is_hex ? bad(413, "a chunk is too large") : bad(400, "a chunk has no size");
  }
  std::size_t size = 0;
  for (const char c : digits) {
    const int digit = hex_digit(c);
    if (digit < 0) return bad(400, "chunk size " + net::quoted(digits) + " is not hexadecimal");
    size = size * 16 + static_cast<std::size_t>(digit);
  }
  if (!is_field_value(line)) return bad(400, "a chunk line has control characters");
  chunk_overhead_ += line.size() - digits.size();
  if (chunk_overhead_ > kChunkOverhead) return bad(413, "too many chunk extensions");
  if (size > limits_.body_bytes - joined_->size()) {
    return bad(413, "the body has more than " + std::to_string(limits_.body_bytes) + " bytes");
  }
  chunk_left_ = size;
  stage_ = size == 0 ? Stage::kTrailer : Stage::kChunkData;
  if (size == 0) chunk_overhead_ = 0;
  return true;
}

bool HttpParser::take_chunk_data() {
  const std::size_t bytes = std::min(chunk_left_, here() - parsed_);
  joined_->append(begin() + parsed_, bytes);
  parsed_ += bytes;
  chunk_left_ -= bytes;
  if (chunk_left_ == 0) stage_ = Stage::kChunkEnd;
  return chunk_left_ == 0;
}

// What is decoded need not stay: the head does, the rest moves up behind it. Once per read: chunks
// may be of one byte.
void HttpParser::drop_decoded() {
  std::memmove(begin() + head_bytes_, begin() + parsed_, here() - parsed_);
  end_ -= parsed_ - head_bytes_;
  parsed_ = head_bytes_;
}

void HttpParser::give_up() {
  stage_ = Stage::kBad;
  own_body_.reset();
  own_filled_ = 0;
  joined_.reset();
}

// One step; false when it takes more bytes.
bool HttpParser::step() {
  switch (stage_) {
    case Stage::kLine: {
      const auto got = line(limits_.head_bytes, 414);
      if (got) return reads_ == Reads::kAnswers ? on_status_line(*got) : on_request_line(*got);
      break;
    }
    case Stage::kField: {
      const auto got = line(limits_.head_bytes - std::min(parsed_, limits_.head_bytes), 431);
      if (got) return on_field(*got);
      break;
    }
    case Stage::kBody:
      if (own_body_ ? own_filled_ < *length_ : here() - parsed_ < length_.value_or(0)) return false;
      stage_ = Stage::kDone;
      return true;
    case Stage::kChunk: {
      const auto got = line(kChunkLine, 400);
      if (got) return on_chunk_line(*got);
      break;
    }
    case Stage::kChunkData:
      return take_chunk_data();
    case Stage::kChunkEnd: {
      const auto got = line(1, 400);
      if (got && !got->empty()) return bad(400, "a chunk is longer than its size");
      if (got) stage_ = Stage::kChunk;
      return got || stage_ == Stage::kBad;
    }
    case Stage::kTrailer: {
      const auto got =
          line(limits_.head_bytes - std::min(chunk_overhead_, limits_.head_bytes), 431);
      if (!got) break;
      chunk_overhead_ += got->size() + 2;
      if (got->empty()) stage_ = Stage::kDone;
      const std::string_view name = got->substr(0, got->find(':'));
      if (!got->empty() &&
          (name.size() == got->size() || !is_token(name) || !is_field_value(*got))) {
        return bad(400, "a trailer is not `NAME: VALUE`");
      }
      return true;
    }
    default:
      return false;
  }
  return stage_ == Stage::kBad;
}

HttpParser::Next HttpParser::next() {
  while (stage_ != Stage::kDone && stage_ != Stage::kBad && stage_ != Stage::kHead && step()) {
  }
  if (stage_ == Stage::kHead) {
    fill_head();
    return Next::kHead;
  }
  if (stage_ == Stage::kBad) return Next::kBad;
  if (stage_ == Stage::kDone) {
    finish();
    return Next::kRequest;
  }
  if (joined_ && parsed_ > head_bytes_) drop_decoded();
  const bool in_body = stage_ == Stage::kBody || stage_ == Stage::kChunk;
  if (!expects_ || !in_body || own_filled_ > 0 || here() > parsed_) return Next::kMore;
  expects_ = false;
  return Next::kContinue;
}

void HttpParser::fill_head() {
  request_.status = status_;
  request_.method = text(method_);
  request_.target = text(target_);
  request_.minor = minor_;
  request_.headers.clear();
  for (const Field& field : fields_) {
    request_.headers.push_back({text(field.name), text(field.value)});
  }
  request_.keep_alive = !close_ && (minor_ == 1 || stay_);
  request_.has_length = chunked_ || length_.has_value();
  request_.has_body = chunked_ || length_.value_or(0) > 0;
  request_.keep.reset();
  request_.body = {};
}

void HttpParser::finish() {
  fill_head();
  if (own_body_) {
    request_.keep = own_body_;
    request_.body = std::as_bytes(std::span(own_body_.get(), own_filled_));
  } else if (joined_) {
    request_.keep = joined_;
    request_.body = std::as_bytes(std::span(joined_->data(), joined_->size()));
  } else {
    request_.body = std::as_bytes(std::span(begin() + parsed_, length_.value_or(0)));
  }
}

void HttpParser::pop() {
  if (!own_body_ && !joined_) parsed_ += length_.value_or(0);
  start_ += parsed_;
  if (start_ == end_) start_ = end_ = 0;
  parsed_ = scanned_ = 0;
  stage_ = Stage::kLine;
  fields_.clear();
  length_.reset();
  hosts_ = 0;
  chunked_ = close_ = stay_ = expects_ = false;
  chunk_overhead_ = 0;
  own_body_.reset();
  own_filled_ = 0;
  joined_.reset();
  request_.keep.reset();
}

}  // namespace glet::web
