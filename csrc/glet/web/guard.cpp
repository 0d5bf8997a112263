#include "glet/web/guard.h"

#include <utility>

namespace glet::web {

void Guard::set_tls(const std::string& libssl, const TlsFiles& files) {
  auto made = std::make_shared<const TlsContext>(tls::load(libssl), files);
  const std::lock_guard lock(mutex_);
  tls_ = std::move(made);
  changes_.fetch_add(1, std::memory_order_release);
}

void Guard::set_tokens(Tokens tokens) {
  auto made = std::make_shared<const Tokens>(std::move(tokens));
  const std::lock_guard lock(mutex_);
  tokens_ = std::move(made);
  changes_.fetch_add(1, std::memory_order_release);
}

std::int64_t Guard::expires_in_s() const {
  const std::lock_guard lock(mutex_);
  return tls_ == nullptr ? 0 : tls_->expires_in_s();
}

GuardView::GuardView(std::shared_ptr<Guard> guard) : guard_(std::move(guard)) {}

GuardView& GuardView::look() {
  if (guard_ == nullptr || guard_->changes_.load(std::memory_order_acquire) == seen_) return *this;
  const std::lock_guard lock(guard_->mutex_);
  seen_ = guard_->changes_.load(std::memory_order_relaxed);
  tls_ = guard_->tls_;
  tokens_ = guard_->tokens_;
  return *this;
}

std::unique_ptr<TlsSession> GuardView::begin(Alpn alpn) {
  if (!has_tls()) return nullptr;
  return std::make_unique<TlsSession>(*tls_, alpn);
}

}  // namespace glet::web
