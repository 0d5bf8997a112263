#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "glet/error.h"
#include "glet/web/tls.h"

// The certificate of a door and its rules.
namespace glet::web {
namespace {

// Of TLS 1.2; all of 1.3 are fine. Forward secrecy and authenticated encryption, as HTTP/2 asks
// for.
constexpr const char* kCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr std::int64_t kDayS = 24 * 3600;

// A key with a passphrase would ask at the terminal.
int no_password(char*, int, int, void*) {
  return 0;
}

// The client's offer is a list of length and name.
bool offers(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const auto size = static_cast<unsigned char>(list.front());
    if (list.size() <= size) return false;
    if (list.substr(1, size) == name) return true;
    list.remove_prefix(1U + size);
  }
  return false;
}

void check_readable(const char* what, const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char byte = 0;
  const bool good = fd >= 0 && ::read(fd, &byte, 1) >= 0;
  const int why = errno;
  if (fd >= 0) ::close(fd);
  if (!good) {
    throw ConfigError(std::string(what) + " " + path + ": cannot be read: " + std::strerror(why));
  }
}

}  // namespace

TlsContext::TlsContext(const tls::Api& api, const TlsFiles& files) : api_(api) {
  check_readable("tls_cert", files.cert);
  check_readable("tls_key", files.key);
  if (!files.client_ca.empty()) check_readable("tls_client_ca", files.client_ca);
  context_ = api_.SSL_CTX_new(api_.TLS_server_method());
  if (context_ == nullptr) throw DeviceError("[TlsContext] no memory");
  try {
    set_rules();
    use_certificate(files);
    check_dates(files.cert);
    if (!files.client_ca.empty()) ask_clients(files.client_ca);
  } catch (...) {
    api_.SSL_CTX_free(context_);
    throw;
  }
}

TlsContext::~TlsContext() {
  api_.SSL_CTX_free(context_);
}

void TlsContext::set_rules() {
  api_.SSL_CTX_ctrl(context_, tls::kCtrlLeastVersion, tls::kVersion12, nullptr);
  api_.SSL_CTX_ctrl(context_, tls::kCtrlSessionCacheMode, tls::kSessionCacheOff, nullptr);
  api_.SSL_CTX_ctrl(context_, tls::kCtrlMode, tls::kModePartialWrite | tls::kModeReleaseBuffers,
                    nullptr);
  api_.SSL_CTX_set_options(context_,
                           tls::kNoRenegotiation | tls::kNoCompression | tls::kServerPreference);
  if (api_.SSL_CTX_set_cipher_list(context_, kCiphers) != 1) {
    throw ConfigError("TLS: this OpenSSL has none of the ciphers " + std::string(kCiphers));
  }
  // What is spoken is the session's, see TlsSession: doors share a context.
  api_.SSL_CTX_set_alpn_select_cb(
      context_,
      [](tls::Ssl* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
         unsigned in_size, void* user) {
        static constexpr std::string_view kHttp1 = "http/1.1";
        static constexpr std::string_view kH2 = "h2";
        const auto* api = static_cast<const tls::Api*>(user);
        const auto spoken = *static_cast<const Alpn*>(api->SSL_get_ex_data(ssl, 0));
        const std::string_view name = spoken == Alpn::kH2 ? kH2 : kHttp1;
        if (!offers({reinterpret_cast<const char*>(in), in_size}, name)) return tls::kAlpnFatal;
        *out = reinterpret_cast<const unsigned char*>(name.data());
        *out_size = static_cast<unsigned char>(name.size());
        return tls::kAlpnOk;
      },
      const_cast<tls::Api*>(&api_));
}

void TlsContext::use_certificate(const TlsFiles& files) {
  api_.ERR_clear_error();
  if (api_.SSL_CTX_use_certificate_chain_file(context_, files.cert.c_str()) != 1) {
    throw ConfigError("tls_cert " + files.cert +
                      ": is no certificate; valid is a PEM file, the server's own first");
  }
  api_.SSL_CTX_set_default_passwd_cb(context_, no_password);
  const bool read =
      api_.SSL_CTX_use_PrivateKey_file(context_, files.key.c_str(), tls::kFilePem) == 1;
  if (read && api_.SSL_CTX_check_private_key(context_) == 1) return;
  const char* reason = api_.ERR_reason_error_string(api_.ERR_get_error());
  const std::string why = reason == nullptr ? "" : reason;
  // The key is compared with the certificate as soon as it is read; one of another kind has none.
  const bool is_other =
      why.find("mismatch") != std::string::npos || why.find("no certificate") != std::string::npos;
  if (is_other) {
    throw ConfigError("tls_key " + files.key + ": is not the key of tls_cert " + files.cert);
  }
  throw ConfigError("tls_key " + files.key +
                    ": is no private key; valid is a PEM file without a passphrase");
}

void TlsContext::check_dates(const std::string& path) {
  const tls::Certificate* own = api_.SSL_CTX_get0_certificate(context_);
  const auto seconds_to = [this](const tls::Moment* moment) {
    int days = 0;
    int seconds = 0;
    api_.ASN1_TIME_diff(&days, &seconds, nullptr, moment);
    return days * kDayS + seconds;
  };
  const auto text_of = [this](const tls::Moment* moment) {
    std::tm when{};
    char text[32] = "an unknown time";
    if (api_.ASN1_TIME_to_tm(moment, &when) == 1) {
      std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &when);
    }
    return std::string(text);
  };
  const tls::Moment* begin = api_.X509_get0_notBefore(own);
  const tls::Moment* end = api_.X509_get0_notAfter(own);
  expires_in_s_ = seconds_to(end);
  if (expires_in_s_ <= 0) {
    throw ConfigError("tls_cert " + path + ": expired at " + text_of(end) + "; renew it");
  }
  if (seconds_to(begin) > 0) {
    throw ConfigError("tls_cert " + path + ": is valid from " + text_of(begin) +
                      " on; is the clock of this machine right?");
  }
}

void TlsContext::ask_clients(const std::string& path) {
  tls::Names* names = api_.SSL_load_client_CA_file(path.c_str());
  if (names == nullptr ||
      api_.SSL_CTX_load_verify_locations(context_, path.c_str(), nullptr) != 1) {
    throw ConfigError("tls_client_ca " + path +
                      ": holds no certificate; valid is a PEM file of authorities");
  }
  api_.SSL_CTX_set_client_CA_list(context_, names);
  api_.SSL_CTX_set_verify(context_, tls::kVerifyPeer | tls::kVerifyNeedsPeer, nullptr);
  // Without it a session that clients resume fails where certificates are asked for.
  constexpr unsigned char kId[] = {'g', 'l', 'e', 't'};
  api_.SSL_CTX_set_session_id_context(context_, kId, sizeof kId);
}

}  // namespace glet::web
