#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "glet/web/http_parser.h"
#include "glet/web/http_route.h"
#include "glet/web/zlib.h"

using namespace glet::web;

namespace {

struct Got {
  std::vector<std::string> requests;  // "METHOD TARGET body"
  int status = 0;                     // of the error at the end
  int continues = 0;
};

Got feed(std::string_view bytes, std::size_t piece, const HttpLimits& limits = {},
         HttpParser::Reads reads = HttpParser::Reads::kRequests) {
  HttpParser parser(limits, reads);
  Got got;
  while (!bytes.empty()) {
    const auto space = parser.space();
    const std::size_t size = std::min({piece, space.size(), bytes.size()});
    std::memcpy(space.data(), bytes.data(), size);
    parser.filled(size);
    bytes.remove_prefix(size);
    for (auto next = parser.next(); next != HttpParser::Next::kMore; next = parser.next()) {
      if (next == HttpParser::Next::kBad) {
        got.status = parser.error().status;
        CHECK_FALSE(parser.error().message.empty());
        return got;
      }
      if (next == HttpParser::Next::kContinue) {
        ++got.continues;
        continue;
      }
      const HttpRequest& request = parser.request();
      got.requests.push_back(
          (request.status == 0 ? "" : std::to_string(request.status)) +
          std::string(request.method) + " " + std::string(request.target) + " " +
          std::string(reinterpret_cast<const char*>(request.body.data()), request.body.size()));
      parser.pop();
    }
  }
  return got;
}

std::string post(const std::string& fields, const std::string& body) {
  return "POST /x HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body;
}

int status_of(const std::string& bytes) {
  return feed(bytes, bytes.size()).status;
}

}  // namespace

TEST_CASE("requests come out whole, one after the other, however the bytes are cut") {
  const std::string large(100'000, 'z');
  const std::string bytes =
      "GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n" + post("Content-Length: 3\r\n", "one") +
      post("Transfer-Encoding: chunked\r\n",
           "3\r\ntwo\r\n5;x=\"y\"\r\nthree\r\n0\r\nTrailer: t\r\n\r\n") +
      post("content-length: 100000\r\n", large) + "HEAD http://h:1/d HTTP/1.1\r\nhost:h\r\n\r\n";
  for (const std::size_t piece : {1, 2, 3, 7, 64, 4096, 1'000'000}) {
    const Got got = feed(bytes, piece);
    REQUIRE(got.requests.size() == 5);
    CHECK(got.requests[0] == "GET /a?b=c ");
    CHECK(got.requests[1] == "POST /x one");
    CHECK(got.requests[2] == "POST /x twothree");
    CHECK(got.requests[3] == "POST /x " + large);
    CHECK(got.requests[4] == "HEAD /d ");
    CHECK(got.status == 0);
  }
}

TEST_CASE("what two servers could read as two things is refused") {
  const std::string chunk = "0\r\n\r\n";
  CHECK(status_of(post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunk)) == 400);
  CHECK(status_of(post("Content-Length: 5\r\nContent-Length: 5\r\n", "12345")) == 400);
  CHECK(status_of(post("Content-Length: 5, 5\r\n", "12345")) == 400);
  CHECK(status_of(post("Content-Length: +5\r\n", "12345")) == 400);
  CHECK(status_of(post("Content-Length: 0x5\r\n", "12345")) == 400);
  CHECK(status_of(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunk)) ==
        400);
  CHECK(status_of(post("Transfer-Encoding: gzip, chunked\r\n", chunk)) == 501);
  CHECK(status_of(post("Transfer-Encoding : chunked\r\n", chunk)) == 400);
  CHECK(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk) == 400);
  CHECK(status_of("GET / HTTP/1.1\nHost: h\n\n") == 400);
  CHECK(status_of("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n") == 400);
  CHECK(status_of("GET  / HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/2.0\r\nHost: h\r\n\r\n") == 505);
  CHECK(status_of("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n") == 501);
  CHECK(status_of(post("Transfer-Encoding: chunked\r\n", "3\r\nfour\r\n0\r\n\r\n")) == 400);
  CHECK(status_of(post("Transfer-Encoding: chunked\r\n", "-1\r\n\r\n")) == 400);
  CHECK(status_of(post("Transfer-Encoding: chunked\r\n", "fffffffff\r\n")) == 413);
}

TEST_CASE("limits hold before memory is taken") {
  HttpLimits limits;
  limits.body_bytes = 10;
  CHECK(feed(post("Content-Length: 11\r\n", ""), 100, limits).status == 413);
  CHECK(feed(post("Content-Length: 99999999999999999999\r\n", ""), 100, limits).status == 413);
  CHECK(feed(post("Transfer-Encoding: chunked\r\n", "6\r\n123456\r\n6\r\n"), 100, limits).status ==
        413);
  CHECK(feed("GET /" + std::string(40'000, 'a'), 1000).status == 414);
  CHECK(feed("GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(40'000, 'a'), 1000).status == 431);
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 100; ++i) many += "A: b\r\n";
  CHECK(feed(many, 1000).status == 431);
}

TEST_CASE("who waits for 100 Continue is told so once") {
  const std::string fields = "Expect: 100-continue\r\nContent-Length: 2\r\n";
  CHECK(feed(post(fields, "ab"), 1).continues == 1);
  CHECK(feed(post(fields, "ab"), 1000).continues == 0);
  CHECK(status_of(post("Expect: wonders\r\n", "")) == 417);
}

TEST_CASE("connections stay or close as both sides can know") {
  const auto stays = [](const std::string& head) {
    HttpParser parser({});
    const auto space = parser.space();
    std::memcpy(space.data(), head.data(), head.size());
    parser.filled(head.size());
    REQUIRE(parser.next() == HttpParser::Next::kRequest);
    return parser.request().keep_alive;
  };
  CHECK(stays("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
  CHECK_FALSE(stays("GET / HTTP/1.1\r\nHost: h\r\nConnection: foo, Close\r\n\r\n"));
  CHECK_FALSE(stays("GET / HTTP/1.0\r\n\r\n"));
  CHECK(stays("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

TEST_CASE("arbitrary bytes end in requests or one error, the same for every cut") {
  std::uint64_t state = 88172645463325252U;
  const auto random = [&state](std::size_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<std::size_t>(state % below);
  };
  const std::string good = post("Content-Length: 3\r\n", "one") +
                           post("Transfer-Encoding: chunked\r\n", "3\r\ntwo\r\n0\r\n\r\n");
  const std::string alphabet = "\r\n :;,/0159afGETPOST\t\x01\x80\xff";
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good + good;
    for (std::size_t i = random(4) + 1; i > 0; --i) {
      const std::size_t at = random(bytes.size());
      if (random(3) == 0) {
        bytes.erase(at, random(5) + 1);
      } else {
        bytes.insert(at, 1, alphabet[random(alphabet.size())]);
      }
    }
    const Got whole = feed(bytes, bytes.size());
    const Got cut = feed(bytes, random(5) + 1);
    REQUIRE(whole.requests == cut.requests);
    REQUIRE(whole.status == cut.status);
  }
}

TEST_CASE("paths name models, versions and what is asked") {
  using Kind = HttpRoute::Kind;
  CHECK(route_of("/v2/health/live").kind == Kind::kLive);
  CHECK(route_of("/v2/health/ready").kind == Kind::kReady);
  const HttpRoute infer = route_of("/v2/models/a%20b/versions/1/infer");
  CHECK(infer.kind == Kind::kInfer);
  CHECK(infer.model == "a b");
  CHECK(infer.version == "1");
  CHECK(route_of("/v2/models/m/ready").kind == Kind::kModelReady);
  for (const char* other : {"/v2/models//infer", "/v2/models/m", "/v2/models/m/infer/", "/v2",
                            "/v2/models/m/versions//infer", "/v2/models/%zz/infer", "*"}) {
    CHECK(route_of(other).kind == Kind::kOther);
  }
}

TEST_CASE("what is packed comes back, and bombs do not go off") {
  if (!has_zlib()) return;
  const std::string text(1'000'000, 'a');
  std::string reason;
  for (const Packing packing : {Packing::kGzip, Packing::kZlib}) {
    const std::string_view parts[] = {std::string_view(text).substr(0, 10),
                                      std::string_view(text).substr(10)};
    const auto packed = deflate(parts, packing);
    REQUIRE(packed);
    CHECK(packed->size() < 10'000);
    CHECK(inflate(*packed, text.size(), reason) == text);
    CHECK_FALSE(inflate(*packed, text.size() - 1, reason));
    CHECK_FALSE(inflate(packed->substr(0, packed->size() - 1), text.size(), reason));
    CHECK_FALSE(inflate(*packed + "x", text.size(), reason));
  }
  CHECK_FALSE(inflate("no stream", 100, reason));
}

TEST_CASE("answers come out as they were, however the bytes are cut") {
  const std::string bytes =
      "HTTP/1.1 102 Processing\r\n\r\n"
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
      "HTTP/1.1 503\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n"
      "HTTP/1.0 204 No Content\r\n\r\n"
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"
      "HTTP/1.1 404 \r\ncontent-length: 0\r\n\r\n";
  const std::vector<std::string> wanted{"102  ", "200  one", "503  two", "204  ", "304  ", "404  "};
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    const Got got = feed(bytes, piece, {}, HttpParser::Reads::kAnswers);
    CHECK(got.status == 0);
    CHECK(got.requests == wanted);
  }
}

TEST_CASE("an answer that cannot be told from the next one is refused") {
  for (const std::string bytes :
       {"HTTP/1.1 200 OK\r\n\r\nbody", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"}) {
    CAPTURE(bytes);
    const Got got = feed(bytes, bytes.size(), {}, HttpParser::Reads::kAnswers);
    CHECK(got.status != 0);
    CHECK(got.requests.empty());
  }
}
