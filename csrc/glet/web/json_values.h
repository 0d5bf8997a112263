#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "glet/web/json.h"
#include "glet/web/oip_types.h"

// Tensors as JSON arrays.
namespace glet::web {

// Reads an array, flat or nested in whatever way, into `out`: exactly as many elements as it has
// room for. Throws WireError for another count, for a value that the type cannot hold (NaN and
// infinity are no JSON), and for kBytes.
void read_values(JsonReader& reader, OipType type, std::span<std::byte> out);
// The same for strings: a u32 length before each.
void read_strings(JsonReader& reader, std::size_t count, std::vector<std::byte>& out);

// Appends the elements of a row, comma-separated; floats in the fewest digits that read back as the
// same. False when one cannot be said in JSON: NaN, infinity, or bytes that are not UTF-8.
bool append_values(std::string& out, OipType type, std::span<const std::byte> row);

}  // namespace glet::web
