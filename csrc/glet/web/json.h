#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

// JSON (RFC 8259) read from front to back without a tree, strictly, and the little that is written.
namespace glet::web {

// Throws WireError, one line with the position, on whatever is not JSON. Strings are views into
// the text, or into the reader where they have escapes.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  // The next character that is no space, 0 at the end.
  char peek() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c);

  // Walks an object: `for (bool first = true; reader.key(name, first);)`, after expect('{').
  bool key(std::string_view& name, bool& first);
  // Walks an array: `for (bool first = true; reader.element(first);)`, after expect('[').
  bool element(bool& first);

  std::string_view string();
  // The characters of a number, as JSON writes them.
  std::string_view number();
  // Throws unless it is an integer from 0 to 2^63 - 1.
  std::int64_t natural();
  bool boolean();
  // Over one value of whatever kind; at most kDepth levels deep.
  void skip();
  // Nothing but space is left.
  void end();

  std::size_t position() const { return at_; }
  void go(std::size_t position) { at_ = position; }
  [[noreturn]] void fail(const std::string& what) const;

  static constexpr int kDepth = 64;

 private:
  static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
  void literal(std::string_view word);
  std::string_view unescaped(std::size_t from);
  std::uint32_t escape_unit();
  void escape(std::string& out);
  void check_utf8(std::string_view bytes) const;

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::deque<std::string> kept_;
};

// With quotes and escapes.
void append_json(std::string& out, std::string_view text);

// The length of the first UTF-8 character, 0 when it is none.
std::size_t utf8_length(std::string_view text);

}  // namespace glet::web
