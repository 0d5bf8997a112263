#include "glet/web/json.h"

#include <charconv>

#include "glet/error.h"
#include "glet/web/http_text.h"

namespace glet::web {
namespace {

constexpr int kHexDigits = 4;

void append_utf8(std::string& out, std::uint32_t code) {
  const auto byte = [&out](std::uint32_t bits) { out += static_cast<char>(bits); };
  if (code < 0x80) return byte(code);
  if (code < 0x800) {
    byte(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    byte(0xe0 | code >> 12);
    byte(0x80 | (code >> 6 & 0x3f));
  } else {
    byte(0xf0 | code >> 18);
    byte(0x80 | (code >> 12 & 0x3f));
    byte(0x80 | (code >> 6 & 0x3f));
  }
  byte(0x80 | (code & 0x3f));
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what is beyond the last code point.
  const bool wrong = (first == 0xe0 && at(1) < 0xa0) || (first == 0xed && at(1) > 0x9f) ||
                     (first == 0xf0 && at(1) < 0x90) || (first == 0xf4 && at(1) > 0x8f);
  return wrong ? 0 : length;
}

void JsonReader::fail(const std::string& what) const {
  throw WireError("JSON at byte " + std::to_string(at_) + ": " + what);
}

void JsonReader::expect(char c) {
  if (!take(c)) fail(std::string("expected '") + c + "'");
}

bool JsonReader::key(std::string_view& name, bool& first) {
  if (take('}')) return false;
  if (!first) expect(',');
  first = false;
  if (peek() != '"') fail("expected a name in quotes");
  name = string();
  expect(':');
  return true;
}

bool JsonReader::element(bool& first) {
  if (first) {
    first = false;
    return !take(']');
  }
  if (take(']')) return false;
  expect(',');
  return true;
}

void JsonReader::check_utf8(std::string_view bytes) const {
  while (!bytes.empty()) {
    const std::size_t length = utf8_length(bytes);
    if (length == 0) fail("a string is not UTF-8");
    bytes.remove_prefix(length);
  }
}

std::string_view JsonReader::string() {
  expect('"');
  const std::size_t from = at_;
  bool ascii = true;
  for (; at_ < text_.size(); ++at_) {
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      const std::string_view found = text_.substr(from, at_ - from);
      if (!ascii) check_utf8(found);
      ++at_;
      return found;
    }
    if (c == '\\') return unescaped(from);
    if (c < ' ') fail("a control character in a string");
    ascii &= c < 0x80;
  }
  fail("a string does not end");
}

std::string_view JsonReader::unescaped(std::size_t from) {
  std::string& out = kept_.emplace_back(text_.substr(from, at_ - from));
  while (at_ < text_.size() && text_[at_] != '"') {
    const char c = text_[at_++];
    if (c == '\\') {
      escape(out);
    } else if (static_cast<unsigned char>(c) < ' ') {
      fail("a control character in a string");
    } else {
      out += c;
    }
  }
  if (at_ == text_.size()) fail("a string does not end");
  ++at_;
  check_utf8(out);
  return out;
}

void JsonReader::escape(std::string& out) {
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  const char c = at_ < text_.size() ? text_[at_++] : '\0';
  if (const std::size_t found = kNames.find(c); found != std::string_view::npos) {
    out += kMeanings[found];
    return;
  }
  if (c != 'u') fail("an escape that JSON does not have");
  std::uint32_t code = escape_unit();
  if (code >= 0xd800 && code < 0xdc00) {
    if (text_.substr(at_, 2) != "\\u") fail("half of a surrogate pair");
    at_ += 2;
    const std::uint32_t low = escape_unit();
    if (low < 0xdc00 || low > 0xdfff) fail("half of a surrogate pair");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code < 0xe000) {
    fail("half of a surrogate pair");
  }
  append_utf8(out, code);
}

std::uint32_t JsonReader::escape_unit() {
  std::uint32_t unit = 0;
  for (int i = 0; i < kHexDigits; ++i, ++at_) {
    const int digit = at_ < text_.size() ? hex_digit(text_[at_]) : -1;
    if (digit < 0) fail("\\u needs four hexadecimal digits");
    unit = unit * 16 + static_cast<std::uint32_t>(digit);
  }
  return unit;
}

std::string_view JsonReader::number() {
  peek();
  const std::size_t from = at_;
  const auto here = [this] { return at_ < text_.size() ? text_[at_] : '\0'; };
  const auto digits = [&] {
    if (!is_digit(here())) {
      at_ = from;
      fail("expected a number");
    }
    while (is_digit(here())) ++at_;
  };
  if (here() == '-') ++at_;
  if (here() == '0') {
    ++at_;
    if (is_digit(here())) fail("a number begins with 0");
  } else {
    digits();
  }
  if (here() == '.') {
    ++at_;
    digits();
  }
  if (here() == 'e' || here() == 'E') {
    ++at_;
    if (here() == '+' || here() == '-') ++at_;
    digits();
  }
  return text_.substr(from, at_ - from);
}

std::int64_t JsonReader::natural() {
  const std::string_view token = number();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error != std::errc() || end != token.data() + token.size() || value < 0) {
    fail("expected an integer from 0 to 2^63 - 1");
  }
  return value;
}

void JsonReader::literal(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) fail("expected a value");
  at_ += word.size();
}

bool JsonReader::boolean() {
  const char c = peek();
  if (c != 't' && c != 'f') fail("expected true or false");
  literal(c == 't' ? "true" : "false");
  return c == 't';
}

void JsonReader::skip() {
  const char c = peek();
  if (c == '"') {
    string();
  } else if (c == '{' || c == '[') {
    if (++depth_ > kDepth) fail("nested more than " + std::to_string(kDepth) + " levels deep");
    ++at_;
    std::string_view name;
    for (bool first = true; c == '{' ? key(name, first) : element(first);) skip();
    --depth_;
  } else if (c == 't' || c == 'f' || c == 'n') {
    literal(c == 't' ? "true" : c == 'f' ? "false" : "null");
  } else {
    number();
  }
}

void JsonReader::end() {
  if (peek() != '\0' || at_ != text_.size()) fail("something follows the value");
}

void append_json(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < ' ') {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace glet::web
