#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Parsers of what peers send, each as a function of any bytes. It returns, or the process ends: by
// a sanitizer, by an exception that is no GletError, or because something that must hold does not.
namespace glet::fuzz {

using Bytes = std::span<const std::uint8_t>;

void http_parser(Bytes given);
void oip_json(Bytes given);
void grpc(Bytes given);
void tokens(Bytes given);
void msgpack(Bytes given);

// Good input to begin from.
std::vector<std::string> http_parser_seeds();
std::vector<std::string> oip_json_seeds();
std::vector<std::string> grpc_seeds();
std::vector<std::string> tokens_seeds();
std::vector<std::string> msgpack_seeds();

struct Target {
  const char* name;
  void (*run)(Bytes given);
  std::vector<std::string> (*seeds)();
};
std::span<const Target> targets();

// Says `what` and aborts unless `holds`.
void require(bool holds, const char* what);

inline std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
// The last byte says how the ones before it are read.
struct Chosen {
  Bytes bytes;
  unsigned choice = 0;
};
inline Chosen chosen(Bytes given) {
  return given.empty() ? Chosen{} : Chosen{given.first(given.size() - 1), given.back()};
}

}  // namespace glet::fuzz
