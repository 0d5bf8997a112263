#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>

// The part of OpenSSL's C interface that the core uses, declared here because the library is found
// at run time: no headers are needed to build. tests/cpp/tls_header_test.cpp holds it against
// OpenSSL's headers where those are installed. Everything here is in 1.1.1 and in 3.x.
namespace glet::web::tls {

struct Method;       // SSL_METHOD
struct Context;      // SSL_CTX
struct Ssl;          // SSL
struct Bio;          // BIO
struct BioMethod;    // BIO_METHOD
struct Certificate;  // X509
struct Names;        // STACK_OF(X509_NAME)
struct Moment;       // ASN1_TIME

inline constexpr int kErrorWantRead = 2;
inline constexpr int kErrorZeroReturn = 6;

inline constexpr int kFilePem = 1;
inline constexpr int kVerifyPeer = 1;
inline constexpr int kVerifyNeedsPeer = 2;

inline constexpr int kCtrlMode = 33;
inline constexpr int kCtrlSessionCacheMode = 44;
inline constexpr int kCtrlLeastVersion = 123;
inline constexpr long kVersion12 = 0x0303;
inline constexpr long kSessionCacheOff = 0;
inline constexpr long kModePartialWrite = 0x1;
inline constexpr long kModeReleaseBuffers = 0x10;

inline constexpr unsigned long kNoCompression = 1UL << 17;
inline constexpr unsigned long kServerPreference = 1UL << 22;
inline constexpr unsigned long kNoRenegotiation = 1UL << 30;

inline constexpr int kAlpnOk = 0;
inline constexpr int kAlpnFatal = 2;
inline constexpr int kAlpnNone = 3;

inline constexpr int kBioSourceSink = 0x0400;
inline constexpr int kBioFlush = 11;
inline constexpr int kBioRetryRead = 0x01 | 0x08;
inline constexpr int kBioRetryFlags = 0x0f;

using AlpnCallback = int (*)(Ssl*, const unsigned char** out, unsigned char* out_size,
                             const unsigned char* in, unsigned in_size, void* user);
using PasswordCallback = int (*)(char* buffer, int size, int writes, void* user);
using BioRead = int (*)(Bio*, char*, int);
using BioWrite = int (*)(Bio*, const char*, int);
using BioCtrl = long (*)(Bio*, int, long, void*);

// Each member is the function of that name.
struct Api {
  unsigned long (*OpenSSL_version_num)();
  unsigned long (*ERR_get_error)();
  void (*ERR_clear_error)();
  const char* (*ERR_reason_error_string)(unsigned long);

  const Method* (*TLS_server_method)();
  Context* (*SSL_CTX_new)(const Method*);
  void (*SSL_CTX_free)(Context*);
  long (*SSL_CTX_ctrl)(Context*, int, long, void*);
  // 64 bits in 3.x, an unsigned long in 1.1.1: the same on every machine that glet runs on.
  std::uint64_t (*SSL_CTX_set_options)(Context*, std::uint64_t);
  int (*SSL_CTX_set_cipher_list)(Context*, const char*);
  void (*SSL_CTX_set_default_passwd_cb)(Context*, PasswordCallback);
  int (*SSL_CTX_use_certificate_chain_file)(Context*, const char*);
  int (*SSL_CTX_use_PrivateKey_file)(Context*, const char*, int);
  int (*SSL_CTX_check_private_key)(const Context*);
  Certificate* (*SSL_CTX_get0_certificate)(const Context*);
  int (*SSL_CTX_load_verify_locations)(Context*, const char*, const char*);
  Names* (*SSL_load_client_CA_file)(const char*);
  void (*SSL_CTX_set_client_CA_list)(Context*, Names*);
  void (*SSL_CTX_set_verify)(Context*, int, int (*)(int, void*));
  int (*SSL_CTX_set_session_id_context)(Context*, const unsigned char*, unsigned);
  void (*SSL_CTX_set_alpn_select_cb)(Context*, AlpnCallback, void*);

  const Moment* (*X509_get0_notBefore)(const Certificate*);
  const Moment* (*X509_get0_notAfter)(const Certificate*);
  int (*ASN1_TIME_diff)(int* days, int* seconds, const Moment* from, const Moment* to);
  int (*ASN1_TIME_to_tm)(const Moment*, std::tm*);

  Ssl* (*SSL_new)(Context*);
  void (*SSL_free)(Ssl*);
  void (*SSL_set_bio)(Ssl*, Bio*, Bio*);
  void (*SSL_set_accept_state)(Ssl*);
  int (*SSL_set_ex_data)(Ssl*, int, void*);
  void* (*SSL_get_ex_data)(const Ssl*, int);
  int (*SSL_is_init_finished)(const Ssl*);
  int (*SSL_get_error)(const Ssl*, int);
  int (*SSL_read)(Ssl*, void*, int);
  int (*SSL_write)(Ssl*, const void*, int);
  int (*SSL_shutdown)(Ssl*);

  BioMethod* (*BIO_meth_new)(int, const char*);
  int (*BIO_meth_set_read)(BioMethod*, BioRead);
  int (*BIO_meth_set_write)(BioMethod*, BioWrite);
  int (*BIO_meth_set_ctrl)(BioMethod*, BioCtrl);
  int (*BIO_get_new_index)();
  Bio* (*BIO_new)(const BioMethod*);
  void (*BIO_set_data)(Bio*, void*);
  void* (*BIO_get_data)(Bio*);
  void (*BIO_set_init)(Bio*, int);
  void (*BIO_set_flags)(Bio*, int);
  void (*BIO_clear_flags)(Bio*, int);
};

// Opens libssl once per process; later calls with any path return the first. Throws ConfigError
// that names the path, the missing function or a version that is too old.
const Api& load(const std::string& path);

}  // namespace glet::web::tls
