#include "glet/web/h2_session.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "glet/error.h"

namespace glet::web {
namespace {

constexpr std::uint8_t kStatic = h2::kNvNoCopyName | h2::kNvNoCopyValue;

std::uint8_t* raw(std::string_view text) {
  // nghttp2 takes pointers to bytes that it does not write to.
  return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
}

h2::NameValue header(std::string_view name, std::string_view value, std::uint8_t flags = kStatic) {
  return {raw(name), raw(value), name.size(), value.size(), flags};
}

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

bool is_control(const h2::FrameHead& head) {
  switch (head.type) {
    case h2::kFramePriority:
    case h2::kFrameRstStream:
    case h2::kFrameSettings:
    case h2::kFramePing:
      return (head.flags & h2::kFlagAck) == 0;
    case h2::kFrameData:
      return head.length == 0 && (head.flags & h2::kFlagEndStream) == 0;
    default:
      return false;
  }
}

}  // namespace

// Exceptions do not cross C: each of these keeps what was thrown, and the session fails.
struct H2Session::Calls {
  static H2Session& self(void* user) { return *static_cast<H2Session*>(user); }

  template <typename F>
  static int guard(void* user, F&& call) {
    try {
      call(self(user));
      return 0;
    } catch (...) {
      self(user).thrown_ = std::current_exception();
      return h2::kErrCallbackFailure;
    }
  }

  static int on_begin_headers(h2::Session* session, const h2::Frame* frame, void* user) {
    return guard(user, [&](H2Session& me) {
      const std::int32_t id = frame->head.stream_id;
      if (me.find(id) != nullptr) return;  // trailers of the request
      H2Stream& stream = me.events_.on_request(id);
      stream.id = id;
      me.api_.session_set_stream_user_data(session, id, &stream);
    });
  }

  static int on_header(h2::Session*, const h2::Frame* frame, const std::uint8_t* name,
                       std::size_t name_length, const std::uint8_t* value, std::size_t value_length,
                       std::uint8_t, void* user) {
    return guard(user, [&](H2Session& me) {
      if (H2Stream* stream = me.find(frame->head.stream_id)) {
        me.events_.on_header(*stream, text_of(name, name_length), text_of(value, value_length));
      }
    });
  }

  static int on_frame_recv(h2::Session*, const h2::Frame* frame, void* user) {
    return guard(user, [&](H2Session& me) {
      const h2::FrameHead& head = frame->head;
      if (is_control(head)) me.events_.on_control();
      if (head.type == h2::kFramePing && (head.flags & h2::kFlagAck) != 0) me.events_.on_pong();
      if (head.type != h2::kFrameHeaders && head.type != h2::kFrameData) return;
      H2Stream* stream = me.find(head.stream_id);
      if (stream == nullptr || stream->closed) return;
      stream->remote_ended |= (head.flags & h2::kFlagEndStream) != 0;
      if (head.type == h2::kFrameHeaders) me.events_.on_headers_end(*stream);
      if (stream->remote_ended && !stream->closed) me.events_.on_end(*stream);
    });
  }

  // An answer that ends before the request does: the rest of the request is not wanted.
  static int on_frame_send(h2::Session* session, const h2::Frame* frame, void* user) {
    return guard(user, [&](H2Session& me) {
      const h2::FrameHead& head = frame->head;
      if (head.type != h2::kFrameHeaders || (head.flags & h2::kFlagEndStream) == 0) return;
      const H2Stream* stream = me.find(head.stream_id);
      if (stream == nullptr || stream->remote_ended) return;
      me.api_.submit_rst_stream(session, h2::kFlagNone, head.stream_id, h2::kNoError);
    });
  }

  static int on_data_chunk(h2::Session* session, std::uint8_t, std::int32_t id,
                           const std::uint8_t* data, std::size_t length, void* user) {
    return guard(user, [&](H2Session& me) {
      me.api_.session_consume_connection(session, length);
      H2Stream* stream = me.find(id);
      if (stream == nullptr) return;
      me.events_.on_data(*stream, {reinterpret_cast<const std::byte*>(data), length});
    });
  }

  static int on_stream_close(h2::Session* session, std::int32_t id, std::uint32_t, void* user) {
    return guard(user, [&](H2Session& me) {
      H2Stream* stream = me.find(id);
      if (stream == nullptr) return;
      me.api_.session_set_stream_user_data(session, id, nullptr);
      stream->closed = true;
      me.events_.on_close(*stream);
    });
  }

  // Says how much of the body goes into the next frame; send_data() moves it.
  static ssize_t read(h2::Session*, std::int32_t, std::uint8_t*, std::size_t length,
                      std::uint32_t* flags, h2::DataSource* source, void* user) {
    H2Stream& stream = *static_cast<H2Stream*>(source->pointer);
    const std::size_t waiting = stream.out.size();
    const std::size_t part = std::min(waiting, length);
    if (part == waiting && stream.ended) {
      *flags = h2::kDataEof | h2::kDataNoEndStream;
      const int failed = guard(user, [&](H2Session& me) { me.trailers(stream); });
      if (failed != 0) return failed;
    } else if (part == 0) {
      return h2::kErrDeferred;
    }
    *flags |= h2::kDataNoCopy;
    return static_cast<ssize_t>(part);
  }

  static int send_data(h2::Session*, h2::Frame*, const std::uint8_t* frame_head, std::size_t length,
                       h2::DataSource* source, void* user) {
    constexpr std::size_t kFrameHeadBytes = 9;
    return guard(user, [&](H2Session& me) {
      me.queue_->copy(text_of(frame_head, kFrameHeadBytes));
      static_cast<H2Stream*>(source->pointer)->out.move_to(*me.queue_, length);
    });
  }

  static h2::Callbacks* make(const h2::Api& api) {
    h2::Callbacks* callbacks = nullptr;
    if (api.session_callbacks_new(&callbacks) != 0) throw DeviceError("[H2Session] no memory");
    api.session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    api.session_callbacks_set_on_header_callback(callbacks, on_header);
    api.session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    api.session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    api.session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    api.session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    api.session_callbacks_set_send_data_callback(callbacks, send_data);
    return callbacks;
  }
};

H2Session::H2Session(const h2::Api& api, Events& events, const H2Limits& limits)
    : api_(api), events_(events) {
  h2::Option* option = nullptr;
  if (api_.option_new(&option) != 0) throw DeviceError("[H2Session] no memory");
  api_.option_set_no_auto_window_update(option, 1);
  api_.option_set_no_closed_streams(option, 1);
  // Clients reset streams whose deadline has passed: on_control() has the limit of all such frames.
  if (api_.option_set_stream_reset_rate_limit != nullptr) {
    api_.option_set_stream_reset_rate_limit(option, limits.control_burst * 2,
                                            limits.control_per_s * 2);
  }
  h2::Callbacks* callbacks = Calls::make(api_);
  const int failed = api_.session_server_new2(&session_, callbacks, this, option);
  api_.session_callbacks_del(callbacks);
  api_.option_del(option);
  if (failed != 0) throw DeviceError(std::string("[H2Session] ") + api_.strerror(failed));
  const std::array<h2::SettingsEntry, 4> settings{{
      {h2::kSettingMaxConcurrentStreams, limits.max_streams},
      {h2::kSettingInitialWindowSize, limits.stream_window_bytes},
      {h2::kSettingMaxFrameSize, limits.max_frame_bytes},
      {h2::kSettingMaxHeaderListSize, limits.max_header_bytes},
  }};
  api_.submit_settings(session_, h2::kFlagNone, settings.data(), settings.size());
  api_.session_set_local_window_size(session_, h2::kFlagNone, 0,
                                     static_cast<std::int32_t>(limits.connection_window_bytes));
}

H2Session::~H2Session() {
  api_.session_del(session_);
}

H2Stream* H2Session::find(std::int32_t id) const {
  return static_cast<H2Stream*>(api_.session_get_stream_user_data(session_, id));
}

bool H2Session::receive(std::span<const std::byte> bytes) {
  const ssize_t taken = api_.session_mem_recv(
      session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (taken >= 0) return true;
  is_stranger_ = taken == h2::kErrBadClientMagic;
  error_ = api_.strerror(static_cast<int>(taken));
  if (thrown_) {
    try {
      std::rethrow_exception(thrown_);
    } catch (const std::exception& e) {
      error_ = e.what();
    }
    thrown_ = nullptr;
  }
  return false;
}

void H2Session::answer(H2Stream& stream, bool gzip) {
  if (stream.answered || stream.closed) return;
  stream.answered = true;
  const std::array<h2::NameValue, 3> headers{{
      header(":status", "200"),
      header("content-type", "application/grpc"),
      header("grpc-encoding", "gzip"),
  }};
  const h2::DataProvider provider{{.pointer = &stream}, Calls::read};
  api_.submit_response(session_, stream.id, headers.data(), gzip ? 3 : 2, &provider);
}

void H2Session::resume(H2Stream& stream) {
  if (!stream.closed) api_.session_resume_data(session_, stream.id);
}

void H2Session::end(H2Stream& stream, std::uint32_t status, std::string_view message) {
  if (stream.ended || stream.closed) return;
  stream.ended = true;
  stream.status = status;
  stream.status_message = message;
  if (stream.answered) return resume(stream);
  stream.answered = true;
  char digits[12];
  const auto end_of = std::to_chars(digits, digits + sizeof digits, status).ptr;
  const std::string_view number(digits, static_cast<std::size_t>(end_of - digits));
  const std::array<h2::NameValue, 5> headers{{
      header(":status", "200"),
      header("content-type", "application/grpc"),
      header("grpc-status", number, h2::kNvNoCopyName),
      header("grpc-accept-encoding", "identity, gzip, deflate"),
      header("grpc-message", message, h2::kNvNoCopyName),
  }};
  const std::size_t count = message.empty() ? headers.size() - 1 : headers.size();
  api_.submit_response(session_, stream.id, headers.data(), count, nullptr);
}

void H2Session::refuse(H2Stream& stream, std::string_view http_status) {
  if (stream.ended || stream.closed) return;
  stream.ended = stream.answered = true;
  const std::array<h2::NameValue, 1> headers{{header(":status", http_status, h2::kNvNoCopyName)}};
  api_.submit_response(session_, stream.id, headers.data(), headers.size(), nullptr);
}

void H2Session::trailers(H2Stream& stream) {
  if (stream.status == 0) {
    const std::array<h2::NameValue, 1> good{{header("grpc-status", "0")}};
    api_.submit_trailer(session_, stream.id, good.data(), good.size());
    return;
  }
  const std::string number = std::to_string(stream.status);
  const std::array<h2::NameValue, 2> bad{{
      header("grpc-status", number, h2::kNvNoCopyName),
      header("grpc-message", stream.status_message, h2::kNvNoCopyName),
  }};
  api_.submit_trailer(session_, stream.id, bad.data(), stream.status_message.empty() ? 1 : 2);
}

void H2Session::consume(const H2Stream& stream, std::size_t bytes) {
  if (!stream.closed) api_.session_consume_stream(session_, stream.id, bytes);
}

void H2Session::reset(const H2Stream& stream, std::uint32_t error) {
  if (!stream.closed) api_.submit_rst_stream(session_, h2::kFlagNone, stream.id, error);
}

void H2Session::ping() {
  api_.submit_ping(session_, h2::kFlagNone, nullptr);
}

void H2Session::announce_end() {
  api_.submit_shutdown_notice(session_);
}

void H2Session::refuse_new() {
  api_.submit_goaway(session_, h2::kFlagNone, api_.session_get_last_proc_stream_id(session_),
                     h2::kNoError, nullptr, 0);
}

void H2Session::terminate(std::uint32_t error) {
  api_.session_terminate_session(session_, error);
}

bool H2Session::produce(WriteQueue& queue, std::size_t enough) {
  queue_ = &queue;
  while (queue.size() < enough) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t size = api_.session_mem_send(session_, &bytes);
    if (size <= 0) return size == 0;
    queue.copy(text_of(bytes, static_cast<std::size_t>(size)));
  }
  return true;
}

bool H2Session::is_open() const {
  return api_.session_want_read(session_) != 0 || api_.session_want_write(session_) != 0;
}

}  // namespace glet::web
