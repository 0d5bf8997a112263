#include <charconv>

#include "glet/error.h"
#include "glet/web/http_door.h"
#include "glet/web/http_text.h"

// What the HTTP door answers, and how.
namespace glet::web {
namespace {

constexpr std::string_view kJsonBytes = "Inference-Header-Content-Length";

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

HttpAnswer wrong_method(std::string_view allowed) {
  HttpAnswer answer = http_error(405, "this path takes " + std::string(allowed) + " only");
  answer.headers.emplace_back("Allow", allowed);
  return answer;
}

HttpAnswer json(int status, std::string body) {
  HttpAnswer answer;
  answer.status = status;
  answer.body = std::move(body);
  return answer;
}

// The server writes these itself.
bool is_own_header(std::string_view name) {
  return same_name(name, "content-length") || same_name(name, "connection") ||
         same_name(name, "transfer-encoding") || same_name(name, "content-encoding");
}

}  // namespace

int http_status(OipCode code) {
  switch (code) {
    case OipCode::kInvalid:
      return 400;
    case OipCode::kNotFound:
      return 404;
    case OipCode::kFull:
      return 429;
    case OipCode::kUnavailable:
      return 503;
    case OipCode::kLate:
      return 504;
    default:
      return 500;
  }
}

void HttpDoor::take_requests(std::uint64_t tag, HttpConnection& connection, Nanos now) {
  while (connection.has_room() && !stopping_) {
    switch (connection.parser.next()) {
      case HttpParser::Next::kMore:
        return;
      case HttpParser::Next::kContinue:
        connection.say_continue();
        break;
      case HttpParser::Next::kBad: {
        const HttpError& error = connection.parser.error();
        refuse(connection, http_error(error.status, error.message));
        return;
      }
      case HttpParser::Next::kHead:
        if (!admit(tag, connection, connection.parser.request())) return;
        break;
      case HttpParser::Next::kRequest: {
        const HttpRequest& request = connection.parser.request();
        const std::uint64_t slot = connection.open(request);
        on_request({tag, connection, slot}, request, now);
        connection.parser.pop();
        connection.head_since = kNever;
        connection.arriving.end();
      }
    }
  }
}

// By the head, so that nobody's body is not read. False when nothing more comes.
bool HttpDoor::admit(std::uint64_t tag, HttpConnection& connection, const HttpRequest& request) {
  const Need need = http_need(request.method, request.path());
  const auto given = request.header("authorization");
  const Tokens* tokens = guard_.tokens();
  const Right right = tokens != nullptr && given ? tokens->right_of_header(*given) : Right::kNone;
  if (tokens == nullptr || allows(right, need)) {
    connection.parser.go_on();
    return true;
  }
  HttpAnswer made = right == Right::kNone ? http_error(401, kNoToken) : http_error(403, kNoRight);
  if (right == Right::kNone) {
    made.headers.emplace_back(
        "WWW-Authenticate",
        given ? R"(Bearer realm="glet", error="invalid_token")" : R"(Bearer realm="glet")");
  }
  const std::uint64_t slot = connection.open(request);
  if (request.has_body) {
    connection.last = connection.refused = true;
    connection.answer(slot, std::move(made), false);
    return false;
  }
  answer({tag, connection, slot}, std::move(made));
  connection.parser.go_on();
  connection.parser.next();
  connection.parser.pop();
  return !connection.last;
}

void HttpDoor::on_request(const At& at, const HttpRequest& request, Nanos now) {
  const HttpRoute route = route_of(request.path());
  const bool reads = request.method == "GET" || request.method == "HEAD";
  switch (route.kind) {
    case HttpRoute::Kind::kInfer:
      if (request.method != "POST") return answer(at, wrong_method("POST"));
      if (!request.has_length) {
        return answer(at, http_error(411, "an infer request needs a Content-Length"));
      }
      return on_infer(at, route, request, now);
    case HttpRoute::Kind::kOther: {
      constexpr std::string_view kMethods[] = {"GET",    "HEAD",  "POST",   "PUT",
                                               "DELETE", "PATCH", "OPTIONS"};
      for (const std::string_view method : kMethods) {
        if (request.method == method) return on_other(at, request, now);
      }
      return answer(at, http_error(501, "method " + net::quoted(request.method) +
                                            "; valid: GET, HEAD, POST, PUT, DELETE, PATCH"));
    }
    default:
      if (!reads) return answer(at, wrong_method("GET, HEAD"));
      return on_health(at, route);
  }
}

void HttpDoor::on_health(const At& at, const HttpRoute& route) {
  if (route.kind == HttpRoute::Kind::kLive) return answer(at, json(200, R"({"live":true})"));
  if (route.kind == HttpRoute::Kind::kReady) {
    const bool ready = host_->server_ready();
    return answer(at, json(ready ? 200 : 503, ready ? R"({"ready":true})" : R"({"ready":false})"));
  }
  if (const auto refusal = refuse_model(*host_, route.model, route.version)) {
    return answer(at, http_error(http_status(refusal->code), refusal->message));
  }
  const bool ready = host_->admitting() && host_->is_ready(route.model);
  std::string body = R"({"name":)";
  append_json(body, route.model);
  body += ready ? R"(,"ready":true})" : R"(,"ready":false})";
  answer(at, json(ready ? 200 : 503, std::move(body)));
}

bool HttpDoor::unpack(const At& at, const HttpRequest& request, std::span<const std::byte>& body,
                      std::shared_ptr<const void>& keep) {
  body = request.body;
  keep = request.keep;
  const std::string_view coding = trimmed(request.header("content-encoding").value_or(""));
  if (coding.empty() || same_name(coding, "identity")) return true;
  const bool known = same_name(coding, "gzip") || same_name(coding, "deflate");
  if (!known || !has_zlib()) {
    answer(at, http_error(415, "Content-Encoding " + net::quoted(coding) + "; valid: identity" +
                                   (has_zlib() ? ", gzip, deflate" : "")));
    return false;
  }
  std::string reason;
  auto unpacked = inflate(text_of(body), options_.limits.body_bytes, reason);
  if (!unpacked) {
    answer(at, http_error(reason.find(" more than ") != std::string::npos ? 413 : 400, reason));
    return false;
  }
  const auto own = std::make_shared<std::string>(std::move(*unpacked));
  body = std::as_bytes(std::span(*own));
  keep = own;
  return true;
}

void HttpDoor::on_infer(const At& at, const HttpRoute& route, const HttpRequest& request,
                        Nanos now) {
  std::span<const std::byte> body;
  std::shared_ptr<const void> keep;
  if (!unpack(at, request, body, keep)) return;
  std::size_t json_bytes = body.size();
  if (const auto given = request.header(kJsonBytes)) {
    const auto [end, error] =
        std::from_chars(given->data(), given->data() + given->size(), json_bytes);
    if (error != std::errc() || end != given->data() + given->size() || json_bytes > body.size()) {
      return answer(at, http_error(400, std::string(kJsonBytes) + " " + net::quoted(*given) +
                                            "; valid is a number up to the body's " +
                                            std::to_string(body.size()) + " bytes"));
    }
  }
  OipRequest oip;
  try {
    // `keep` stays here, too: names and texts of the request lie in what was unpacked.
    oip = json_.read(text_of(body.first(json_bytes)), body.subspan(json_bytes), keep);
  } catch (const WireError& error) {
    host_->count_refused(route.model, exec::Outcome::kInvalid);
    return answer(at, http_error(400, error.what()));
  }
  oip.model = route.model;
  oip.version = route.version;
  oip.traceparent = request.header("traceparent").value_or(std::string_view());
  const auto [tag, call] = calls_.take();
  *call = {at.tag, at.slot, 0, kNever};
  at.connection.slot(at.slot).call = tag;
  const std::uint64_t started = oip_.start(tag, oip, now);
  if (Call* going = calls_.find(tag)) going->oip = started;
}

void HttpDoor::on_other(const At& at, const HttpRequest& request, Nanos now) {
  std::span<const std::byte> body;
  std::shared_ptr<const void> keep;
  if (!unpack(at, request, body, keep)) return;
  const auto [tag, call] = calls_.take();
  const bool loads = request.target.starts_with("/v2/repository/models/");
  *call = {at.tag, at.slot, 0, now + (loads ? options_.loading : options_.python)};
  at.connection.slot(at.slot).call = tag;
  net::WebRequest asked;
  asked.door = number_;
  asked.call = tag;
  asked.protocol = "http";
  asked.method = request.method;
  asked.target = request.target;
  for (const HttpHeader& header : request.headers) {
    std::string name(header.name);
    for (char& c : name) c = to_lower(c);
    asked.headers.emplace_back(std::move(name), header.value);
  }
  asked.body = text_of(body);
  host_->ask_python(std::move(asked));
}

// ---- answers ----

void HttpDoor::answer(const At& at, HttpAnswer made) {
  at.connection.answer(at.slot, std::move(made), true);
}

void HttpDoor::complete(std::uint64_t tag, HttpAnswer made) {
  const Call* found = calls_.find(tag);
  if (found == nullptr) return;
  const Call call = *found;
  calls_.release(tag);
  auto* held = connections_.find(call.connection);
  if (held == nullptr) return;
  HttpConnection& connection = **held;
  connection.answer(call.slot, std::move(made), !(stopping_ && connection.is_last(call.slot)));
  count_held(connection);
  // Who does not read pays for what nobody reads.
  connection.hopeless |= held_bytes_ > options_.held_bytes && connection.is_behind();
  mark(call.connection, connection);
}

void HttpDoor::oip_done(std::uint64_t call, OipResponse response) {
  HttpAnswer made;
  if (const auto reason = write_response(response, made.body, made.frames)) {
    return complete(call, http_error(500, *reason));
  }
  if (!made.frames.empty()) {
    made.type = "application/octet-stream";
    made.headers.emplace_back(kJsonBytes, std::to_string(made.body.size()));
  }
  complete(call, std::move(made));
}

void HttpDoor::oip_failed(std::uint64_t call, OipCode code, std::string_view message) {
  complete(call, http_error(http_status(code), message));
}

void HttpDoor::answered(std::uint64_t row, const net::ServedModel& model, const net::ResultTimes&,
                        std::vector<net::Message>& outputs, Nanos) {
  oip_.answered(row, model, outputs);
}

void HttpDoor::failed(std::uint64_t row, exec::Outcome outcome, std::string_view message) {
  oip_.failed(row, outcome, message);
}

void HttpDoor::web_answer(std::uint64_t call, net::WebAnswer given, Nanos) {
  HttpAnswer made;
  made.status = given.status;
  made.body = std::move(given.body);
  std::string type;
  for (auto& [name, value] : given.headers) {
    const bool valid = is_token(name) && is_field_value(value);
    if (!valid || is_own_header(name)) continue;
    if (same_name(name, "content-type")) {
      type = std::move(value);
    } else {
      made.headers.emplace_back(std::move(name), std::move(value));
    }
  }
  if (!type.empty()) made.type = type;
  complete(call, std::move(made));
}

}  // namespace glet::web
