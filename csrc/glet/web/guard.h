#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "glet/web/channel.h"
#include "glet/web/tls.h"
#include "glet/web/tokens.h"

namespace glet::web {

// Who gets in at the doors of a frontend. Any thread may set it anew while doors look at it:
// connections that there are keep their TLS, requests go by the tokens of the moment.
class Guard {
 public:
  // Each of them throws ConfigError, and then all is as it was.
  void set_tls(const std::string& libssl, const TlsFiles& files);
  void set_tokens(Tokens tokens);
  // In seconds from when it was set; 0 without TLS.
  std::int64_t expires_in_s() const;

 private:
  friend class GuardView;
  mutable std::mutex mutex_;
  std::shared_ptr<const TlsContext> tls_;
  std::shared_ptr<const Tokens> tokens_;
  std::atomic<std::uint64_t> changes_{0};
};

// What a door sees of a guard, which may be nullptr; for the loop's thread. Looking costs an atomic
// load while nothing changes.
class GuardView {
 public:
  explicit GuardView(std::shared_ptr<Guard> guard);

  bool has_tls() { return look().tls_ != nullptr; }
  // nullptr: everybody may do everything. Valid until the next call.
  const Tokens* tokens() { return look().tokens_.get(); }
  // Around a new socket.
  std::unique_ptr<TlsSession> begin(Alpn alpn);

 private:
  GuardView& look();

  std::shared_ptr<Guard> guard_;
  std::uint64_t seen_ = 0;
  std::shared_ptr<const TlsContext> tls_;
  std::shared_ptr<const Tokens> tokens_;
};

}  // namespace glet::web
