#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "glet/net/zmq.h"
#include "glet/web/oip_types.h"

namespace glet::web {

// The bytes of a tensor of `count` rows of `elements` each, cut into its rows. Empty when they do
// not make exactly that.
std::vector<std::span<const std::byte>> cut_rows(std::span<const std::byte> bytes, OipType type,
                                                 std::size_t elements, std::size_t count);

// The `most` largest elements of a row, largest first, as raw BYTES "value:index"; of equal ones
// the first. NaN comes last.
net::Message classes_of(std::span<const std::byte> row, OipType type, int most);

// One element as a number; not of kBytes.
double number_at(std::span<const std::byte> row, OipType type, std::size_t index);

}  // namespace glet::web
