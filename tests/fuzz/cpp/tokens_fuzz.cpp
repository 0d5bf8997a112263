// A file of tokens, an Authorization header, and what a path takes.
#include <string>
#include <vector>

#include "glet/error.h"
#include "glet/web/http_route.h"
#include "glet/web/tokens.h"
#include "targets.h"

namespace glet::fuzz {

void tokens(Bytes given) {
  const std::string_view text = text_of(given);
  try {
    const web::Tokens known = web::Tokens::parse(text, "tokens");
    require(known.size() > 0, "a file without a token is refused");
    require(known.right_of("") == web::Right::kNone, "no token has no right");
    known.right_of_header(text);
  } catch (const ConfigError& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos, "one line");
  }
  web::Tokens one;
  one.add("secret", web::Right::kAdmin, "here");
  const bool has_it = text.find("secret") != std::string_view::npos;
  require(has_it || one.right_of_header(text) == web::Right::kNone,
          "who has no token has no right");
  if (web::route_of(text).kind == web::HttpRoute::Kind::kInfer) {
    const web::Need need = web::http_need("POST", text);
    require(!web::allows(web::Right::kNone, need), "an inference takes a token");
    require(!web::allows(web::Right::kDashboard, need), "a dashboard's token does not infer");
  }
}

std::vector<std::string> tokens_seeds() {
  return {"# all\r\nuser: abc\r\nboss admin : def # why\n\n ghi= \nboard dashboard: jkl\n",
          "Bearer secret",
          "  bEARER   secret ",
          "/v2/models/a%20b/versions/1/infer",
          "/v2/models/a/infer?x=y",
          "/v2/health/ready",
          "/v2/models/a/ready",
          "/v2/repository/models/a/unload",
          "/dashboard",
          "/glet/models/a/load"};
}

}  // namespace glet::fuzz
