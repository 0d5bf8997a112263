// Built only where OpenSSL's headers are: glet's own words for the library against its own.
#include <doctest/doctest.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "glet/web/tls_library.h"
#include "same_call.h"

namespace tls = glet::web::tls;

#define SAME(name) static_assert(SameCall<decltype(tls::Api::name), decltype(&::name)>::value)

SAME(OpenSSL_version_num);
SAME(ERR_get_error);
SAME(ERR_clear_error);
SAME(ERR_reason_error_string);
SAME(TLS_server_method);
SAME(SSL_CTX_new);
SAME(SSL_CTX_free);
SAME(SSL_CTX_ctrl);
SAME(SSL_CTX_set_options);
SAME(SSL_CTX_set_cipher_list);
SAME(SSL_CTX_set_default_passwd_cb);
SAME(SSL_CTX_use_certificate_chain_file);
SAME(SSL_CTX_use_PrivateKey_file);
SAME(SSL_CTX_check_private_key);
SAME(SSL_CTX_get0_certificate);
SAME(SSL_CTX_load_verify_locations);
SAME(SSL_load_client_CA_file);
SAME(SSL_CTX_set_client_CA_list);
SAME(SSL_CTX_set_verify);
SAME(SSL_CTX_set_session_id_context);
SAME(SSL_CTX_set_alpn_select_cb);
SAME(X509_get0_notBefore);
SAME(X509_get0_notAfter);
SAME(ASN1_TIME_diff);
SAME(ASN1_TIME_to_tm);
SAME(SSL_new);
SAME(SSL_free);
SAME(SSL_set_bio);
SAME(SSL_set_accept_state);
SAME(SSL_set_ex_data);
SAME(SSL_get_ex_data);
SAME(SSL_is_init_finished);
SAME(SSL_get_error);
SAME(SSL_read);
SAME(SSL_write);
SAME(SSL_shutdown);
SAME(BIO_meth_new);
SAME(BIO_meth_set_read);
SAME(BIO_meth_set_write);
SAME(BIO_meth_set_ctrl);
SAME(BIO_get_new_index);
SAME(BIO_new);
SAME(BIO_set_data);
SAME(BIO_get_data);
SAME(BIO_set_init);
SAME(BIO_set_flags);
SAME(BIO_clear_flags);

TEST_CASE("tls: numbers are OpenSSL's") {
  CHECK(tls::kErrorWantRead == SSL_ERROR_WANT_READ);
  CHECK(tls::kErrorZeroReturn == SSL_ERROR_ZERO_RETURN);
  CHECK(tls::kFilePem == SSL_FILETYPE_PEM);
  CHECK(tls::kVerifyPeer == SSL_VERIFY_PEER);
  CHECK(tls::kVerifyNeedsPeer == SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
  CHECK(tls::kCtrlMode == SSL_CTRL_MODE);
  CHECK(tls::kCtrlSessionCacheMode == SSL_CTRL_SET_SESS_CACHE_MODE);
  CHECK(tls::kCtrlLeastVersion == SSL_CTRL_SET_MIN_PROTO_VERSION);
  CHECK(tls::kVersion12 == TLS1_2_VERSION);
  CHECK(tls::kSessionCacheOff == SSL_SESS_CACHE_OFF);
  CHECK(tls::kModePartialWrite == SSL_MODE_ENABLE_PARTIAL_WRITE);
  CHECK(tls::kModeReleaseBuffers == SSL_MODE_RELEASE_BUFFERS);
  CHECK(tls::kNoCompression == SSL_OP_NO_COMPRESSION);
  CHECK(tls::kServerPreference == SSL_OP_CIPHER_SERVER_PREFERENCE);
  CHECK(tls::kNoRenegotiation == SSL_OP_NO_RENEGOTIATION);
  CHECK(tls::kAlpnOk == SSL_TLSEXT_ERR_OK);
  CHECK(tls::kAlpnFatal == SSL_TLSEXT_ERR_ALERT_FATAL);
  CHECK(tls::kAlpnNone == SSL_TLSEXT_ERR_NOACK);
  CHECK(tls::kBioSourceSink == BIO_TYPE_SOURCE_SINK);
  CHECK(tls::kBioFlush == BIO_CTRL_FLUSH);
  CHECK(tls::kBioRetryRead == (BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY));
  CHECK(tls::kBioRetryFlags == (BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY));
}
