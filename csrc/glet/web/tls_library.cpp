#include "glet/web/tls_library.h"

#include "glet/error.h"
#include "glet/shared_library.h"

namespace glet::web::tls {
namespace {

constexpr unsigned long kOldest = 0x10101000UL;  // 1.1.1

// Symbols of libcrypto are found as well: libssl brings it.
Api open_library(const std::string& path) {
  const SharedLibrary<ConfigError> library("TLS:", path,
                                           "OpenSSL 1.1.1 or 3.x needed (apt install libssl3)");
  Api api{};
#define GLET_TLS(name) library.require(#name, api.name)
  GLET_TLS(OpenSSL_version_num);
  GLET_TLS(ERR_get_error);
  GLET_TLS(ERR_clear_error);
  GLET_TLS(ERR_reason_error_string);
  GLET_TLS(TLS_server_method);
  GLET_TLS(SSL_CTX_new);
  GLET_TLS(SSL_CTX_free);
  GLET_TLS(SSL_CTX_ctrl);
  GLET_TLS(SSL_CTX_set_options);
  GLET_TLS(SSL_CTX_set_cipher_list);
  GLET_TLS(SSL_CTX_set_default_passwd_cb);
  GLET_TLS(SSL_CTX_use_certificate_chain_file);
  GLET_TLS(SSL_CTX_use_PrivateKey_file);
  GLET_TLS(SSL_CTX_check_private_key);
  GLET_TLS(SSL_CTX_get0_certificate);
  GLET_TLS(SSL_CTX_load_verify_locations);
  GLET_TLS(SSL_load_client_CA_file);
  GLET_TLS(SSL_CTX_set_client_CA_list);
  GLET_TLS(SSL_CTX_set_verify);
  GLET_TLS(SSL_CTX_set_session_id_context);
  GLET_TLS(SSL_CTX_set_alpn_select_cb);
  GLET_TLS(X509_get0_notBefore);
  GLET_TLS(X509_get0_notAfter);
  GLET_TLS(ASN1_TIME_diff);
  GLET_TLS(ASN1_TIME_to_tm);
  GLET_TLS(SSL_new);
  GLET_TLS(SSL_free);
  GLET_TLS(SSL_set_bio);
  GLET_TLS(SSL_set_accept_state);
  GLET_TLS(SSL_set_ex_data);
  GLET_TLS(SSL_get_ex_data);
  GLET_TLS(SSL_is_init_finished);
  GLET_TLS(SSL_get_error);
  GLET_TLS(SSL_read);
  GLET_TLS(SSL_write);
  GLET_TLS(SSL_shutdown);
  GLET_TLS(BIO_meth_new);
  GLET_TLS(BIO_meth_set_read);
  GLET_TLS(BIO_meth_set_write);
  GLET_TLS(BIO_meth_set_ctrl);
  GLET_TLS(BIO_get_new_index);
  GLET_TLS(BIO_new);
  GLET_TLS(BIO_set_data);
  GLET_TLS(BIO_get_data);
  GLET_TLS(BIO_set_init);
  GLET_TLS(BIO_set_flags);
  GLET_TLS(BIO_clear_flags);
#undef GLET_TLS
  if (api.OpenSSL_version_num() < kOldest) library.fail(path + " is too old");
  return api;
}

}  // namespace

const Api& load(const std::string& path) {
  static const Api api = open_library(path);
  return api;
}

}  // namespace glet::web::tls
