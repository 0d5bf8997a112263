#include "targets.h"

#include <cstdio>
#include <cstdlib>

namespace glet::fuzz {

std::span<const Target> targets() {
  static constexpr Target all[] = {
      {"http_parser", http_parser, http_parser_seeds},
      {"oip_json", oip_json, oip_json_seeds},
      {"grpc", grpc, grpc_seeds},
      {"tokens", tokens, tokens_seeds},
      {"msgpack", msgpack, msgpack_seeds},
  };
  return all;
}

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace glet::fuzz
