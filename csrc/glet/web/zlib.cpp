#include "glet/web/zlib.h"

#include <dlfcn.h>

#include <algorithm>
#include <limits>

namespace glet::web {
namespace {

// z_stream of zlib's stable interface (zlib.h, 1.x).
struct ZStream {
  const unsigned char* next_in = nullptr;
  unsigned int avail_in = 0;
  unsigned long total_in = 0;
  unsigned char* next_out = nullptr;
  unsigned int avail_out = 0;
  unsigned long total_out = 0;
  const char* msg = nullptr;
  void* state = nullptr;
  void* (*zalloc)(void*, unsigned int, unsigned int) = nullptr;
  void (*zfree)(void*, void*) = nullptr;
  void* opaque = nullptr;
  int data_type = 0;
  unsigned long adler = 0;
  unsigned long reserved = 0;
};
static_assert(sizeof(void*) != 8 || sizeof(ZStream) == 112);

constexpr int kOk = 0;
constexpr int kStreamEnd = 1;
constexpr int kBufferError = -5;
constexpr int kNoFlush = 0;
constexpr int kFinish = 4;
constexpr int kDeflated = 8;
constexpr int kEitherHeader = 15 + 32;  // window bits; gzip or zlib
constexpr int kZlibHeader = 15;
constexpr int kGzipHeader = 15 + 16;
constexpr int kFastest = 1;
constexpr int kMemoryLevel = 8;
constexpr std::size_t kStep = 64 << 10;
constexpr std::size_t kMostAtOnce = std::numeric_limits<unsigned int>::max();

struct ZApi {
  const char* (*version)() = nullptr;
  int (*inflate_init)(ZStream*, int, const char*, int) = nullptr;
  int (*inflate)(ZStream*, int) = nullptr;
  int (*inflate_end)(ZStream*) = nullptr;
  int (*deflate_init)(ZStream*, int, int, int, int, int, const char*, int) = nullptr;
  int (*deflate)(ZStream*, int) = nullptr;
  int (*deflate_end)(ZStream*) = nullptr;
};

template <typename F>
bool resolve(void* library, const char* name, F& slot) {
  slot = reinterpret_cast<F>(::dlsym(library, name));
  return slot != nullptr;
}

const ZApi* open_library() {
  static ZApi api;
  void* library = ::dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  const bool whole =
      resolve(library, "zlibVersion", api.version) &&
      resolve(library, "inflateInit2_", api.inflate_init) &&
      resolve(library, "inflate", api.inflate) && resolve(library, "inflateEnd", api.inflate_end) &&
      resolve(library, "deflateInit2_", api.deflate_init) &&
      resolve(library, "deflate", api.deflate) && resolve(library, "deflateEnd", api.deflate_end);
  return whole ? &api : nullptr;
}

const ZApi* zlib() {
  static const ZApi* const api = open_library();
  return api;
}

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

bool has_zlib() {
  return zlib() != nullptr;
}

std::optional<std::string> inflate(std::string_view packed, std::size_t most, std::string& reason) {
  const ZApi* api = zlib();
  ZStream stream;
  if (api == nullptr || packed.size() > kMostAtOnce ||
      api->inflate_init(&stream, kEitherHeader, api->version(), sizeof stream) != kOk) {
    reason = "compressed bodies are not taken here";
    return std::nullopt;
  }
  stream.next_in = bytes_of(packed);
  stream.avail_in = static_cast<unsigned int>(packed.size());
  std::string out;
  int result = kOk;
  while (result == kOk && out.size() <= most) {
    const std::size_t from = out.size();
    out.resize(from + kStep);
    stream.next_out = reinterpret_cast<unsigned char*>(out.data() + from);
    stream.avail_out = kStep;
    result = api->inflate(&stream, kNoFlush);
    out.resize(from + kStep - stream.avail_out);
  }
  api->inflate_end(&stream);
  if (out.size() > most) {
    reason = "the body has more than " + std::to_string(most) + " bytes when unpacked";
  } else if (result != kStreamEnd) {
    reason = result == kBufferError ? "the compressed body ends too early"
                                    : "the compressed body is no gzip or deflate stream";
  } else if (stream.avail_in > 0) {
    reason = "something follows the compressed body";
  } else {
    return out;
  }
  return std::nullopt;
}

std::optional<std::string> deflate(std::span<const std::string_view> parts, Packing packing) {
  const ZApi* api = zlib();
  ZStream stream;
  const int header = packing == Packing::kGzip ? kGzipHeader : kZlibHeader;
  if (api == nullptr || api->deflate_init(&stream, kFastest, kDeflated, header, kMemoryLevel, 0,
                                          api->version(), sizeof stream) != kOk) {
    return std::nullopt;
  }
  std::string out;
  int result = kOk;
  for (std::size_t i = 0; i <= parts.size() && result == kOk; ++i) {
    const bool last = i == parts.size();
    const std::string_view part = last ? std::string_view() : parts[i];
    for (std::size_t at = 0; at < part.size() || last;) {
      const std::size_t size = std::min(part.size() - at, kMostAtOnce);
      stream.next_in = bytes_of(part) + at;
      stream.avail_in = static_cast<unsigned int>(size);
      do {
        const std::size_t from = out.size();
        out.resize(from + kStep);
        stream.next_out = reinterpret_cast<unsigned char*>(out.data() + from);
        stream.avail_out = kStep;
        result = api->deflate(&stream, last ? kFinish : kNoFlush);
        out.resize(from + kStep - stream.avail_out);
      } while (stream.avail_out == 0 && result == kOk);
      at += size;
      if (last) break;
    }
  }
  api->deflate_end(&stream);
  if (result != kStreamEnd) return std::nullopt;
  return out;
}

}  // namespace glet::web
