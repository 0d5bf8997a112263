#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glet/net/zmq.h"

namespace glet::web {

// An answer on its way to a socket: head and body as one text, tensors behind it as they came.
struct HttpAnswer {
  int status = 200;
  std::string_view type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // beyond type, length and connection
  std::string body;
  std::vector<net::Message> frames;  // the rest of the body

  std::size_t body_bytes() const;
};

// `{"error": "..."}`.
HttpAnswer http_error(int status, std::string_view message);

std::string_view reason_phrase(int status);

// Appends the head, and the body when `with_body`; frames are sent behind it.
void append_answer(std::string& out, const HttpAnswer& answer, bool keep_alive, int minor,
                   bool with_body);

}  // namespace glet::web
