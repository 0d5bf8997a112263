#include "glet/web/http_connection.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "glet/web/http_text.h"

namespace glet::web {
namespace {

constexpr std::size_t kMostInFlight = 64;    // requests of one connection
constexpr std::size_t kMostHeld = 64 << 20;  // bytes of their bodies
constexpr std::size_t kMostUnsent = 1 << 20;
constexpr std::size_t kPieceText = 64 << 10;
constexpr std::size_t kPackFrom = 1 << 10;  // smaller answers are not worth it
constexpr std::size_t kMostVectors = 64;

std::optional<Packing> packing_of(const HttpRequest& request) {
  std::optional<Packing> best;
  for (const HttpHeader& header : request.headers) {
    if (!same_name(header.name, "accept-encoding")) continue;
    std::string_view list = header.value;
    while (const auto element = next_element(list)) {
      const std::size_t semicolon = element->find(';');
      const std::string_view coding = trimmed(element->substr(0, semicolon));
      std::string_view weight =
          semicolon == std::string_view::npos ? "" : trimmed(element->substr(semicolon + 1));
      if (weight == "q=0" || weight == "q=0.0" || weight == "q=0.00" || weight == "q=0.000") {
        continue;
      }
      if (same_name(coding, "gzip")) best = Packing::kGzip;
      if (same_name(coding, "deflate") && !best) best = Packing::kZlib;
    }
  }
  return best;
}

void pack(HttpAnswer& answer, Packing packing) {
  std::vector<std::string_view> parts{answer.body};
  for (const net::Message& frame : answer.frames) parts.push_back(frame.text());
  auto packed = deflate(parts, packing);
  if (!packed) return;
  answer.body = std::move(*packed);
  answer.frames.clear();
  answer.headers.emplace_back("Content-Encoding", packing == Packing::kGzip ? "gzip" : "deflate");
}

}  // namespace

HttpConnection::HttpConnection(int fd, std::unique_ptr<TlsSession> tls, const HttpLimits& limits,
                               HttpParser::Reads reads, Nanos now)
    : parser(limits, reads), last_moved(now), channel_(fd, std::move(tls)) {
  if (is_shaking()) head_since = now;
}

HttpConnection::Io HttpConnection::read(Nanos now) {
  char thrown_away[4096];
  const std::span<char> space = lingering || last ? std::span<char>(thrown_away) : parser.space();
  const ssize_t got = channel_.read(std::as_writable_bytes(space));
  if (got == 0) return Io::kClosed;
  if (got < 0) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? Io::kBlocked : Io::kClosed;
  }
  if (!lingering && !last) {
    parser.filled(static_cast<std::size_t>(got));
    arriving.moved(static_cast<std::size_t>(got), now);
    last_moved = now;
  }
  return Io::kDone;
}

std::uint64_t HttpConnection::open(const HttpRequest& request) {
  Slot& slot = slots_.emplace_back();
  slot.keep_alive = request.keep_alive;
  slot.with_body = request.method != "HEAD";
  slot.minor = request.minor;
  slot.packing = packing_of(request);
  slot.held = request.body.size();
  held_ += slot.held;
  if (!request.keep_alive) last = true;
  return first_ + slots_.size() - 1;
}

void HttpConnection::answer(std::uint64_t number, HttpAnswer answer, bool keep_alive) {
  Slot& place = slot(number);
  if (place.packing && answer.body_bytes() >= kPackFrom) pack(answer, *place.packing);
  const bool next = number == first_;
  std::string& text = next ? tail() : place.text;
  const std::size_t before = text.size();
  append_answer(text, answer, place.keep_alive && keep_alive, place.minor, place.with_body);
  (next ? unsent_ : ready_) += text.size() - before;
  if (place.with_body) place.frames = std::move(answer.frames);
  for (const net::Message& frame : place.frames) ready_ += frame.size();
  held_ -= place.held;
  place.ready = true;
  place.call = 0;
  if (next) release_ready();
}

void HttpConnection::say_continue() {
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  if (slots_.empty()) {
    tail() += kContinue;
    unsent_ += kContinue.size();
    return;
  }
  Slot& slot = slots_.emplace_back();
  slot.ready = true;
  slot.text = kContinue;
  ready_ += slot.text.size();
}

std::string& HttpConnection::tail() {
  if (out_.empty() || out_.back().is_frame || out_.back().text.size() > kPieceText) {
    out_.emplace_back();
  }
  return out_.back().text;
}

void HttpConnection::release_ready() {
  while (!slots_.empty() && slots_.front().ready) {
    Slot& slot = slots_.front();
    if (!slot.text.empty()) {
      tail() += slot.text;
      unsent_ += slot.text.size();
      ready_ -= slot.text.size();
    }
    for (net::Message& frame : slot.frames) {
      if (frame.size() == 0) continue;
      unsent_ += frame.size();
      ready_ -= frame.size();
      Piece& piece = out_.emplace_back();
      piece.frame = std::move(frame);
      piece.is_frame = true;
    }
    slots_.pop_front();
    ++first_;
  }
}

bool HttpConnection::has_room() const {
  return !last && slots_.size() < kMostInFlight && held_ < kMostHeld && unsent_ < kMostUnsent;
}

bool HttpConnection::is_behind() const {
  return unsent_ >= kMostUnsent;
}

HttpConnection::Io HttpConnection::write(Nanos now) {
  if (sending()) leaving.begin(now);
  while (sending()) {
    std::array<iovec, kMostVectors> vectors;
    std::size_t count = 0;
    for (auto piece = out_.begin(); piece != out_.end() && count < vectors.size(); ++piece) {
      const std::size_t skip = piece == out_.begin() ? offset_ : 0;
      if (piece->size() == skip) continue;
      const char* data =
          piece->is_frame ? reinterpret_cast<const char*>(piece->frame.data()) : piece->text.data();
      vectors[count++] = {const_cast<char*>(data) + skip, piece->size() - skip};
    }
    const ssize_t done = channel_.write(std::span(vectors).first(count));
    if (done < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK ? Io::kBlocked : Io::kClosed;
    }
    last_moved = now;
    leaving.moved(static_cast<std::size_t>(done), now);
    sent(static_cast<std::size_t>(done));
  }
  leaving.end();
  return Io::kDone;
}

void HttpConnection::sent(std::size_t bytes) {
  unsent_ -= bytes;
  offset_ += bytes;
  while (!out_.empty() && offset_ >= out_.front().size()) {
    offset_ -= out_.front().size();
    // The last text keeps its memory for the next answer.
    if (out_.size() == 1 && !out_.front().is_frame && out_.front().text.capacity() <= kPieceText) {
      out_.front().text.clear();
      return;
    }
    out_.pop_front();
  }
}

void HttpConnection::linger() {
  lingering = true;
  channel_.shut();
}

}  // namespace glet::web
