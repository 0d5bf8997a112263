#pragma once

#include <string>

#include "glet/time.h"

namespace glet::web {

// A door without a free descriptor looks again after that time: a loop that looked at once would do
// nothing else.
inline constexpr Nanos kAcceptPause = std::chrono::milliseconds(50);

// A listening TCP socket at HOST:PORT that does not block; `address` becomes what it got. Several
// processes may share one (SO_REUSEPORT). Port 0 or `*` is a free one. Throws ConfigError.
int listen_at(std::string& address);

}  // namespace glet::web
