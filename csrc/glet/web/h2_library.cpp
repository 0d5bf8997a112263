#include "glet/web/h2_library.h"

#include "glet/error.h"
#include "glet/shared_library.h"

namespace glet::web::h2 {
namespace {

Api open_library(const std::string& path) {
  const SharedLibrary<DeviceError> library("[h2]", path, "nghttp2 1.43 to 1.x needed");
  Api api{};
#define GLET_H2(name) library.require("nghttp2_" #name, api.name)
  GLET_H2(version);
  GLET_H2(strerror);
  GLET_H2(session_callbacks_new);
  GLET_H2(session_callbacks_del);
  GLET_H2(session_callbacks_set_on_begin_headers_callback);
  GLET_H2(session_callbacks_set_on_header_callback);
  GLET_H2(session_callbacks_set_on_frame_recv_callback);
  GLET_H2(session_callbacks_set_on_frame_send_callback);
  GLET_H2(session_callbacks_set_on_data_chunk_recv_callback);
  GLET_H2(session_callbacks_set_on_stream_close_callback);
  GLET_H2(session_callbacks_set_send_data_callback);
  GLET_H2(option_new);
  GLET_H2(option_del);
  GLET_H2(option_set_no_auto_window_update);
  GLET_H2(option_set_no_closed_streams);
  GLET_H2(session_server_new2);
  GLET_H2(session_del);
  GLET_H2(session_mem_recv);
  GLET_H2(session_mem_send);
  GLET_H2(session_want_read);
  GLET_H2(session_want_write);
  GLET_H2(session_set_local_window_size);
  GLET_H2(session_consume_connection);
  GLET_H2(session_consume_stream);
  GLET_H2(session_set_stream_user_data);
  GLET_H2(session_get_stream_user_data);
  GLET_H2(session_resume_data);
  GLET_H2(session_terminate_session);
  GLET_H2(submit_settings);
  GLET_H2(submit_response);
  GLET_H2(submit_trailer);
  GLET_H2(submit_rst_stream);
  GLET_H2(submit_ping);
  GLET_H2(submit_shutdown_notice);
  GLET_H2(submit_goaway);
  GLET_H2(session_get_last_proc_stream_id);
#undef GLET_H2
  library.find("nghttp2_option_set_stream_reset_rate_limit",
               api.option_set_stream_reset_rate_limit);
  return api;
}

}  // namespace

const Api& load(const std::string& path) {
  static const Api api = open_library(path);
  return api;
}

}  // namespace glet::web::h2
