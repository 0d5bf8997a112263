#include <doctest/doctest.h>

#include <string>

#include "glet/error.h"
#include "glet/web/grpc_stream.h"
#include "glet/web/tokens.h"

using namespace glet::web;

namespace {

std::string refusal(std::string_view text) {
  try {
    Tokens::parse(text, "tokens");
  } catch (const glet::ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("tokens: names, rights, comments and bare ones") {
  const Tokens tokens =
      Tokens::parse("# all\r\nuser: abc\r\nboss admin : def # why\n\n ghi= \n", "tokens");
  CHECK(tokens.size() == 3);
  CHECK(tokens.right_of("abc") == Right::kUse);
  CHECK(tokens.right_of("def") == Right::kAdmin);
  CHECK(tokens.right_of("ghi=") == Right::kUse);
}

TEST_CASE("tokens: only the whole token is one") {
  const std::string longest(256, 'x');
  const Tokens tokens = Tokens::parse("abcdefgh\nn: " + longest, "tokens");
  for (const char* wrong : {"", "a", "abcdefg", "abcdefghi", "abcdefgH", "Xbcdefgh"}) {
    CHECK(tokens.right_of(wrong) == Right::kNone);
  }
  CHECK(tokens.right_of(std::string("abcdefgh\0", 9)) == Right::kNone);
  CHECK(tokens.right_of(longest) == Right::kUse);
  CHECK(tokens.right_of(longest + "x") == Right::kNone);
  CHECK(tokens.right_of(std::string(100'000, 'x')) == Right::kNone);
}

TEST_CASE("tokens: the header") {
  const Tokens tokens = Tokens::parse("abc", "tokens");
  CHECK(tokens.right_of_header("Bearer abc") == Right::kUse);
  CHECK(tokens.right_of_header("  bEARER   abc ") == Right::kUse);
  for (const char* wrong :
       {"", "abc", "Bearer", "Bearer ", "Basic abc", "Bearerabc", "Bearer abcd"}) {
    CHECK(tokens.right_of_header(wrong) == Right::kNone);
  }
}

TEST_CASE("tokens: faults name the line and no token") {
  CHECK(refusal("").find("holds no token") != std::string::npos);
  for (const char* bad :
       {"ok\na b", "ok\nx root: secret", "ok\n: secret", "ok\nok", "ok\nn: s\xc3\xa4"}) {
    CHECK(refusal(bad).find("tokens, line 2: ") == 0);
    CHECK(refusal(bad).find("secret") == std::string::npos);
  }
  CHECK(refusal("admin: secret").find("a right and no name") != std::string::npos);
  CHECK(refusal(std::string(257, 'x')).find("line 1") != std::string::npos);
}

TEST_CASE("tokens: what each right allows") {
  CHECK(allows(Right::kNone, Need::kNothing));
  CHECK_FALSE(allows(Right::kNone, Need::kToken));
  CHECK(allows(Right::kDashboard, Need::kToken));
  CHECK_FALSE(allows(Right::kDashboard, Need::kUse));
  CHECK_FALSE(allows(Right::kUse, Need::kDashboard));
  CHECK_FALSE(allows(Right::kUse, Need::kAdmin));
  for (const Need need : {Need::kToken, Need::kUse, Need::kDashboard, Need::kAdmin}) {
    CHECK(allows(Right::kAdmin, need));
  }
}

TEST_CASE("tokens: what changes anything takes an admin, in whatever words") {
  CHECK(http_need("GET", "/v2/health/ready") == Need::kNothing);
  CHECK(http_need("GET", "/dashboard/main.js") == Need::kNothing);
  CHECK(http_need("GET", "/metrics") == Need::kToken);
  CHECK(http_need("GET", "/metrics/") == Need::kUse);
  CHECK(http_need("POST", "/v2/models/m/versions/1/infer") == Need::kUse);
  CHECK(http_need("POST", "/v2/repository/index") == Need::kUse);
  CHECK(http_need("POST", "/glet/models/m/load") == Need::kDashboard);
  for (const char* path :
       {"/v2/repository/models/m/load", "//v2/repository/models/m/load/", "/v2/models/m/%69nfer",
        "/v2/repository/models/m/un%6Coad", "/v2/logging", "/v2/trace/setting", "/metrics",
        "/v2/systemsharedmemory/region/r/register", "/dashboard", "*"}) {
    CHECK(http_need("POST", path) == Need::kAdmin);
  }
  const auto grpc = [](const std::string& name) {
    const std::string path = "/inference.GRPCInferenceService/" + name;
    return grpc_need(grpc_method(path), path);
  };
  CHECK(grpc("ModelInfer") == Need::kUse);
  CHECK(grpc("ServerLive") == Need::kNothing);
  CHECK(grpc("RepositoryIndex") == Need::kUse);
  CHECK(grpc("RepositoryModelLoad") == Need::kAdmin);
  CHECK(grpc("LogSettings") == Need::kAdmin);
  CHECK(grpc("Unheard") == Need::kUse);
  CHECK(grpc_need(GrpcMethod::kPython, "/grpc.health.v1.Health/Check") == Need::kNothing);
}
