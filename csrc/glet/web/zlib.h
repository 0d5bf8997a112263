#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

// gzip and deflate through libz.so.1, found at run time like torch and CUDA.
namespace glet::web {

// Whether the library is there.
bool has_zlib();

// A whole gzip or zlib stream, told apart by its first bytes. Nothing when it is neither, is cut
// off, has something behind it, or would have more than `most` bytes; `reason` is one line then.
std::optional<std::string> inflate(std::string_view packed, std::size_t most, std::string& reason);

enum class Packing { kGzip, kZlib };
// The parts as one stream. Nothing without the library.
std::optional<std::string> deflate(std::span<const std::string_view> parts, Packing packing);

}  // namespace glet::web
