// Built only where nghttp2's headers are: glet's own words for the library against its own.
#include <doctest/doctest.h>
#include <nghttp2/nghttp2.h>

#include <cstddef>

#include "glet/web/h2_library.h"
#include "same_call.h"

namespace h2 = glet::web::h2;

#define SAME(name) \
  static_assert(SameCall<decltype(h2::Api::name), decltype(&nghttp2_##name)>::value)
#define SAME_CALLBACK(ours, theirs) static_assert(SameCall<h2::ours, theirs>::value)
#define SAME_FIELD(ours, mine, theirs, yours)                      \
  static_assert(offsetof(ours, mine) == offsetof(theirs, yours) && \
                sizeof(ours::mine) == sizeof(theirs::yours))

SAME(version);
SAME(strerror);
SAME(session_callbacks_new);
SAME(session_callbacks_del);
SAME(session_callbacks_set_on_begin_headers_callback);
SAME(session_callbacks_set_on_header_callback);
SAME(session_callbacks_set_on_frame_recv_callback);
SAME(session_callbacks_set_on_frame_send_callback);
SAME(session_callbacks_set_on_data_chunk_recv_callback);
SAME(session_callbacks_set_on_stream_close_callback);
SAME(session_callbacks_set_send_data_callback);
SAME(option_new);
SAME(option_del);
SAME(option_set_no_auto_window_update);
SAME(option_set_no_closed_streams);
SAME(session_server_new2);
SAME(session_del);
SAME(session_mem_recv);
SAME(session_mem_send);
SAME(session_want_read);
SAME(session_want_write);
SAME(session_set_local_window_size);
SAME(session_consume_connection);
SAME(session_consume_stream);
SAME(session_set_stream_user_data);
SAME(session_get_stream_user_data);
SAME(session_resume_data);
SAME(session_terminate_session);
SAME(submit_settings);
SAME(submit_response);
SAME(submit_trailer);
SAME(submit_rst_stream);
SAME(submit_ping);
SAME(submit_shutdown_notice);
SAME(submit_goaway);
SAME(session_get_last_proc_stream_id);

SAME_CALLBACK(OnBeginHeaders, nghttp2_on_begin_headers_callback);
SAME_CALLBACK(OnHeader, nghttp2_on_header_callback);
SAME_CALLBACK(OnFrame, nghttp2_on_frame_recv_callback);
SAME_CALLBACK(OnFrame, nghttp2_on_frame_send_callback);
SAME_CALLBACK(OnDataChunk, nghttp2_on_data_chunk_recv_callback);
SAME_CALLBACK(OnStreamClose, nghttp2_on_stream_close_callback);
SAME_CALLBACK(SendData, nghttp2_send_data_callback);
SAME_CALLBACK(ReadCallback, nghttp2_data_source_read_callback);

static_assert(sizeof(h2::NameValue) == sizeof(nghttp2_nv));
SAME_FIELD(h2::NameValue, name, nghttp2_nv, name);
SAME_FIELD(h2::NameValue, value, nghttp2_nv, value);
SAME_FIELD(h2::NameValue, name_length, nghttp2_nv, namelen);
SAME_FIELD(h2::NameValue, value_length, nghttp2_nv, valuelen);
SAME_FIELD(h2::NameValue, flags, nghttp2_nv, flags);
static_assert(sizeof(h2::FrameHead) == sizeof(nghttp2_frame_hd));
SAME_FIELD(h2::FrameHead, length, nghttp2_frame_hd, length);
SAME_FIELD(h2::FrameHead, stream_id, nghttp2_frame_hd, stream_id);
SAME_FIELD(h2::FrameHead, type, nghttp2_frame_hd, type);
SAME_FIELD(h2::FrameHead, flags, nghttp2_frame_hd, flags);
SAME_FIELD(h2::Frame, head, nghttp2_frame, hd);
static_assert(sizeof(h2::DataProvider) == sizeof(nghttp2_data_provider));
SAME_FIELD(h2::DataProvider, source, nghttp2_data_provider, source);
SAME_FIELD(h2::DataProvider, read, nghttp2_data_provider, read_callback);
static_assert(sizeof(h2::SettingsEntry) == sizeof(nghttp2_settings_entry));
SAME_FIELD(h2::SettingsEntry, id, nghttp2_settings_entry, settings_id);
SAME_FIELD(h2::SettingsEntry, value, nghttp2_settings_entry, value);
SAME_FIELD(h2::VersionInfo, number, nghttp2_info, version_num);
SAME_FIELD(h2::VersionInfo, text, nghttp2_info, version_str);

TEST_CASE("numbers are those of the header") {
  CHECK(h2::kFrameData == NGHTTP2_DATA);
  CHECK(h2::kFrameHeaders == NGHTTP2_HEADERS);
  CHECK(h2::kFramePriority == NGHTTP2_PRIORITY);
  CHECK(h2::kFrameRstStream == NGHTTP2_RST_STREAM);
  CHECK(h2::kFrameSettings == NGHTTP2_SETTINGS);
  CHECK(h2::kFramePing == NGHTTP2_PING);
  CHECK(h2::kFlagNone == NGHTTP2_FLAG_NONE);
  CHECK(h2::kFlagEndStream == NGHTTP2_FLAG_END_STREAM);
  CHECK(h2::kFlagAck == NGHTTP2_FLAG_ACK);
  CHECK(h2::kNvNoCopyName == NGHTTP2_NV_FLAG_NO_COPY_NAME);
  CHECK(h2::kNvNoCopyValue == NGHTTP2_NV_FLAG_NO_COPY_VALUE);
  CHECK(h2::kDataEof == NGHTTP2_DATA_FLAG_EOF);
  CHECK(h2::kDataNoEndStream == NGHTTP2_DATA_FLAG_NO_END_STREAM);
  CHECK(h2::kDataNoCopy == NGHTTP2_DATA_FLAG_NO_COPY);
  CHECK(h2::kSettingMaxConcurrentStreams == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  CHECK(h2::kSettingInitialWindowSize == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
  CHECK(h2::kSettingMaxFrameSize == NGHTTP2_SETTINGS_MAX_FRAME_SIZE);
  CHECK(h2::kSettingMaxHeaderListSize == NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);
  CHECK(h2::kNoError == NGHTTP2_NO_ERROR);
  CHECK(h2::kEnhanceYourCalm == NGHTTP2_ENHANCE_YOUR_CALM);
  CHECK(h2::kErrDeferred == NGHTTP2_ERR_DEFERRED);
  CHECK(h2::kErrCallbackFailure == NGHTTP2_ERR_CALLBACK_FAILURE);
  CHECK(h2::kErrBadClientMagic == NGHTTP2_ERR_BAD_CLIENT_MAGIC);
}
