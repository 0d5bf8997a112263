#pragma once

#include <string>

namespace glet::web {

// A listening TCP socket at HOST:PORT that does not block; `address` becomes what it got. Several
// processes may share one (SO_REUSEPORT). Port 0 or `*` is a free one. Throws ConfigError.
int listen_at(std::string& address);

}  // namespace glet::web
