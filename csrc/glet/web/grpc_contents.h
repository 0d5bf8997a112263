#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "glet/web/oip_call.h"

namespace glet::web {

// Fills `input.bytes` from InferTensorContents, given as every occurrence of that message in order:
// `[field of the datatype] = 1, 2, 3` becomes little-endian bytes. Packed FP32 and FP64 are viewed
// where they lie; everything else is decoded into memory that `input.keep` owns, at most `longest`
// bytes. Throws WireError, one line, on values in a field of another datatype, or out of its range.
void read_contents(std::span<const std::span<const std::byte>> contents, std::size_t longest,
                   OipInput& input);

}  // namespace glet::web
