#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

// The part of nghttp2's C interface that the core uses, declared here because the library is found
// at run time: no headers are needed to build. tests/cpp/h2_header_test.cpp holds it against
// nghttp2.h where that is installed.
namespace glet::web::h2 {

struct Session;    // nghttp2_session
struct Callbacks;  // nghttp2_session_callbacks
struct Option;     // nghttp2_option

struct NameValue {  // nghttp2_nv
  std::uint8_t* name;
  std::uint8_t* value;
  std::size_t name_length;
  std::size_t value_length;
  std::uint8_t flags;
};

struct FrameHead {  // nghttp2_frame_hd
  std::size_t length;
  std::int32_t stream_id;
  std::uint8_t type;
  std::uint8_t flags;
  std::uint8_t reserved;
};

struct Frame {  // the part that all members of the union nghttp2_frame begin with
  FrameHead head;
};

union DataSource {  // nghttp2_data_source
  int fd;
  void* pointer;
};

using ReadCallback = ssize_t (*)(Session*, std::int32_t stream, std::uint8_t* buffer,
                                 std::size_t length, std::uint32_t* data_flags, DataSource*,
                                 void* user);

struct DataProvider {  // nghttp2_data_provider
  DataSource source;
  ReadCallback read;
};

struct SettingsEntry {  // nghttp2_settings_entry
  std::int32_t id;
  std::uint32_t value;
};

struct VersionInfo {  // nghttp2_info
  int age;
  int number;
  const char* text;
  const char* protocol;
};

inline constexpr std::uint8_t kFrameData = 0;
inline constexpr std::uint8_t kFrameHeaders = 1;
inline constexpr std::uint8_t kFramePriority = 2;
inline constexpr std::uint8_t kFrameRstStream = 3;
inline constexpr std::uint8_t kFrameSettings = 4;
inline constexpr std::uint8_t kFramePing = 6;

inline constexpr std::uint8_t kFlagNone = 0;
inline constexpr std::uint8_t kFlagEndStream = 1;
inline constexpr std::uint8_t kFlagAck = 1;

inline constexpr std::uint8_t kNvNoCopyName = 2;
inline constexpr std::uint8_t kNvNoCopyValue = 4;

inline constexpr std::uint32_t kDataEof = 1;
inline constexpr std::uint32_t kDataNoEndStream = 2;
inline constexpr std::uint32_t kDataNoCopy = 4;

inline constexpr std::int32_t kSettingMaxConcurrentStreams = 3;
inline constexpr std::int32_t kSettingInitialWindowSize = 4;
inline constexpr std::int32_t kSettingMaxFrameSize = 5;
inline constexpr std::int32_t kSettingMaxHeaderListSize = 6;

inline constexpr std::uint32_t kNoError = 0;
inline constexpr std::uint32_t kEnhanceYourCalm = 11;

inline constexpr int kErrDeferred = -508;
inline constexpr int kErrCallbackFailure = -902;
inline constexpr int kErrBadClientMagic = -903;

using OnBeginHeaders = int (*)(Session*, const Frame*, void* user);
using OnHeader = int (*)(Session*, const Frame*, const std::uint8_t* name, std::size_t name_length,
                         const std::uint8_t* value, std::size_t value_length, std::uint8_t flags,
                         void* user);
using OnFrame = int (*)(Session*, const Frame*, void* user);
using OnDataChunk = int (*)(Session*, std::uint8_t flags, std::int32_t stream,
                            const std::uint8_t* data, std::size_t length, void* user);
using OnStreamClose = int (*)(Session*, std::int32_t stream, std::uint32_t error, void* user);
using SendData = int (*)(Session*, Frame*, const std::uint8_t* frame_head, std::size_t length,
                         DataSource*, void* user);

// Each member is the function nghttp2_<name>.
struct Api {
  const VersionInfo* (*version)(int least);
  const char* (*strerror)(int error);

  int (*session_callbacks_new)(Callbacks**);
  void (*session_callbacks_del)(Callbacks*);
  void (*session_callbacks_set_on_begin_headers_callback)(Callbacks*, OnBeginHeaders);
  void (*session_callbacks_set_on_header_callback)(Callbacks*, OnHeader);
  void (*session_callbacks_set_on_frame_recv_callback)(Callbacks*, OnFrame);
  void (*session_callbacks_set_on_frame_send_callback)(Callbacks*, OnFrame);
  void (*session_callbacks_set_on_data_chunk_recv_callback)(Callbacks*, OnDataChunk);
  void (*session_callbacks_set_on_stream_close_callback)(Callbacks*, OnStreamClose);
  void (*session_callbacks_set_send_data_callback)(Callbacks*, SendData);

  int (*option_new)(Option**);
  void (*option_del)(Option*);
  void (*option_set_no_auto_window_update)(Option*, int);
  void (*option_set_no_closed_streams)(Option*, int);
  // nullptr in a library that does not have it (before 1.57): it does not limit resets.
  void (*option_set_stream_reset_rate_limit)(Option*, std::uint64_t burst, std::uint64_t rate);

  int (*session_server_new2)(Session**, const Callbacks*, void* user, const Option*);
  void (*session_del)(Session*);
  ssize_t (*session_mem_recv)(Session*, const std::uint8_t*, std::size_t);
  ssize_t (*session_mem_send)(Session*, const std::uint8_t**);
  int (*session_want_read)(Session*);
  int (*session_want_write)(Session*);
  int (*session_set_local_window_size)(Session*, std::uint8_t flags, std::int32_t stream,
                                       std::int32_t size);
  int (*session_consume_connection)(Session*, std::size_t);
  int (*session_consume_stream)(Session*, std::int32_t stream, std::size_t);
  int (*session_set_stream_user_data)(Session*, std::int32_t stream, void*);
  void* (*session_get_stream_user_data)(Session*, std::int32_t stream);
  int (*session_resume_data)(Session*, std::int32_t stream);
  int (*session_terminate_session)(Session*, std::uint32_t error);

  int (*submit_settings)(Session*, std::uint8_t flags, const SettingsEntry*, std::size_t);
  int (*submit_response)(Session*, std::int32_t stream, const NameValue*, std::size_t,
                         const DataProvider*);
  int (*submit_trailer)(Session*, std::int32_t stream, const NameValue*, std::size_t);
  int (*submit_rst_stream)(Session*, std::uint8_t flags, std::int32_t stream, std::uint32_t error);
  int (*submit_ping)(Session*, std::uint8_t flags, const std::uint8_t* opaque);
  int (*submit_shutdown_notice)(Session*);
  int (*submit_goaway)(Session*, std::uint8_t flags, std::int32_t last_stream, std::uint32_t error,
                       const std::uint8_t* debug, std::size_t debug_length);
  std::int32_t (*session_get_last_proc_stream_id)(Session*);
};

// Opens nghttp2 once per process; later calls with any path return the first. Throws DeviceError
// that names the path, or the missing function.
const Api& load(const std::string& path);

}  // namespace glet::web::h2
