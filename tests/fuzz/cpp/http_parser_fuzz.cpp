// Requests and answers over HTTP/1.1: however they are cut, the same come out.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "glet/web/http_parser.h"
#include "targets.h"

namespace glet::fuzz {
namespace {

using web::HttpParser;

constexpr HttpParser::Reads kReads[] = {HttpParser::Reads::kRequests, HttpParser::Reads::kHeads,
                                        HttpParser::Reads::kAnswers};
// Small, so that they are reached.
constexpr web::HttpLimits kLimits{.head_bytes = 1024, .headers = 20, .body_bytes = 80 << 10};

struct Got {
  std::vector<std::string> messages;
  int status = 0;

  bool operator==(const Got&) const = default;
};

std::string said(const web::HttpRequest& request) {
  std::string out = std::to_string(request.status) + ' ' + std::to_string(request.minor) + ' ';
  out.append(request.method).append(" ").append(request.target);
  for (const web::HttpHeader& header : request.headers) {
    out.append("|").append(header.name).append(":").append(header.value);
  }
  out += request.keep_alive ? "|stays" : "|goes";
  return out.append(reinterpret_cast<const char*>(request.body.data()), request.body.size());
}

Got feed(std::string_view bytes, std::size_t piece, HttpParser::Reads reads) {
  HttpParser parser(kLimits, reads);
  Got got;
  while (!bytes.empty()) {
    const auto space = parser.space();
    require(!space.empty(), "there is always space for more");
    const std::size_t size = std::min({piece, space.size(), bytes.size()});
    std::memcpy(space.data(), bytes.data(), size);
    parser.filled(size);
    bytes.remove_prefix(size);
    for (auto next = parser.next(); next != HttpParser::Next::kMore; next = parser.next()) {
      if (next == HttpParser::Next::kBad) {
        got.status = parser.error().status;
        require(!parser.error().message.empty(), "an error has a message");
        require(parser.next() == HttpParser::Next::kBad, "nothing comes after an error");
        return got;
      }
      if (next == HttpParser::Next::kHead) {
        parser.go_on();
      } else if (next == HttpParser::Next::kRequest) {
        got.messages.push_back(said(parser.request()));
        parser.pop();
      }
    }
    require(parser.held() <= kLimits.body_bytes, "no more is held than a body may have");
  }
  return got;
}

}  // namespace

void http_parser(Bytes given) {
  const auto [bytes, choice] = chosen(given);
  const auto reads = kReads[choice % std::size(kReads)];
  const Got whole = feed(text_of(bytes), bytes.size(), reads);
  const std::size_t piece = 1 + choice / std::size(kReads) % 13;
  require(whole == feed(text_of(bytes), piece, reads), "however it is cut, the same comes out");
}

std::vector<std::string> http_parser_seeds() {
  const std::string requests =
      "GET /v2/health/live HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"
      "POST /v2/models/a/infer?x=y HTTP/1.1\r\nhost: h\r\nContent-Length: 2\r\n\r\n{}"
      "HEAD http://h:1/v2 HTTP/1.0\r\nHost: h\r\n\r\n";
  const std::string chunks =
      "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
      "3;a=\"b\"\r\none\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n";
  const std::string large =
      "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n" + std::string(40000, 'z');
  const std::string answers =
      "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nServer: s\r\n\r\nbody"
      "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
      "HTTP/1.0 204 None\r\nConnection: close\r\n\r\n";
  std::vector<std::string> out;
  for (const std::string& text : {requests, chunks, large}) {
    out.push_back(text + '\0');
    out.push_back(text + '\1');
  }
  out.push_back(answers + '\2');
  return out;
}

}  // namespace glet::fuzz
