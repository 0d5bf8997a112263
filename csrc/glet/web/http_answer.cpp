#include "glet/web/http_answer.h"

#include <algorithm>
#include <charconv>

#include "glet/web/json.h"

namespace glet::web {
namespace {

void append_number(std::string& out, std::size_t number) {
  char text[24];
  out.append(text, std::to_chars(text, text + sizeof text, number).ptr);
}

}  // namespace

std::size_t HttpAnswer::body_bytes() const {
  std::size_t total = body.size();
  for (const net::Message& frame : frames) total += frame.size();
  return total;
}

HttpAnswer http_error(int status, std::string_view message) {
  HttpAnswer answer;
  answer.status = status;
  answer.body = R"({"error":)";
  // The line may hold what a peer wrote.
  std::string text;
  while (!message.empty()) {
    const std::size_t length = utf8_length(message);
    text += length == 0 ? std::string_view("?") : message.substr(0, length);
    message.remove_prefix(std::max<std::size_t>(length, 1));
  }
  append_json(answer.body, text);
  answer.body += '}';
  return answer;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return status < 400 ? "OK" : "Error";
  }
}

void append_answer(std::string& out, const HttpAnswer& answer, bool keep_alive, int minor,
                   bool with_body) {
  out += "HTTP/1.1 ";
  append_number(out, static_cast<std::size_t>(answer.status));
  out += ' ';
  out += reason_phrase(answer.status);
  const std::size_t bytes = answer.body_bytes();
  if (bytes > 0) {
    out += "\r\nContent-Type: ";
    out += answer.type;
  }
  out += "\r\nContent-Length: ";
  append_number(out, bytes);
  for (const auto& [name, value] : answer.headers) {
    out += "\r\n";
    out += name;
    out += ": ";
    out += value;
  }
  if (!keep_alive) {
    out += "\r\nConnection: close";
  } else if (minor == 0) {
    out += "\r\nConnection: keep-alive";
  }
  out += "\r\n\r\n";
  if (with_body) out += answer.body;
}

}  // namespace glet::web
