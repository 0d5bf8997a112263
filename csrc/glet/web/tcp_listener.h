#pragma once

#include <string>

namespace glet::web {

// A non-blocking socket that listens at "ADDRESS:PORT" ("127.0.0.1:8001", "[::1]:8001",
// "localhost:0"); `actual` becomes the address with the port that the system chose. Several
// processes of one user may listen at one address: the system deals connections out among them.
// Throws ConfigError naming an address that is malformed, unknown or in use.
int listen_at(const std::string& address, std::string& actual);

// Small answers leave at once.
void set_no_delay(int fd);

}  // namespace glet::web
