#include "glet/web/oip_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

namespace glet::web {
namespace {

constexpr std::size_t kLengthBytes = 4;

template <typename T>
T load(std::span<const std::byte> row, std::size_t index) {
  T value;
  std::memcpy(&value, row.data() + index * sizeof value, sizeof value);
  return value;
}

}  // namespace

std::vector<std::span<const std::byte>> cut_rows(std::span<const std::byte> bytes, OipType type,
                                                 std::size_t elements, std::size_t count) {
  std::vector<std::span<const std::byte>> rows;
  if (type != OipType::kBytes) {
    const std::size_t size = elements * oip_bytes(type);
    if (bytes.size() / count != size || bytes.size() % count != 0) return rows;
    rows.reserve(count);
    for (std::size_t i = 0; i < count; ++i) rows.push_back(bytes.subspan(i * size, size));
    return rows;
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t from = at;
    for (std::size_t j = 0; j < elements; ++j) {
      if (bytes.size() - at < kLengthBytes) return {};
      const auto length = load<std::uint32_t>(bytes.subspan(at), 0);
      at += kLengthBytes;
      if (bytes.size() - at < length) return {};
      at += length;
    }
    rows.push_back(bytes.subspan(from, at - from));
  }
  if (at != bytes.size()) return {};
  return rows;
}

double number_at(std::span<const std::byte> row, OipType type, std::size_t index) {
  switch (type) {
    case OipType::kBool:
    case OipType::kUint8:
      return load<std::uint8_t>(row, index);
    case OipType::kInt8:
      return load<std::int8_t>(row, index);
    case OipType::kInt16:
      return load<std::int16_t>(row, index);
    case OipType::kInt32:
      return load<std::int32_t>(row, index);
    case OipType::kInt64:
      return static_cast<double>(load<std::int64_t>(row, index));
    case OipType::kUint16:
      return load<std::uint16_t>(row, index);
    case OipType::kUint32:
      return load<std::uint32_t>(row, index);
    case OipType::kUint64:
      return static_cast<double>(load<std::uint64_t>(row, index));
    case OipType::kFp16:
      return half_to_float(load<std::uint16_t>(row, index));
    case OipType::kBf16:
      return bfloat_to_float(load<std::uint16_t>(row, index));
    case OipType::kFp32:
      return load<float>(row, index);
    default:
      return load<double>(row, index);
  }
}

net::Message classes_of(std::span<const std::byte> row, OipType type, int most) {
  const std::size_t elements = row.size() / oip_bytes(type);
  std::vector<double> values(elements);
  for (std::size_t i = 0; i < elements; ++i) values[i] = number_at(row, type, i);
  std::vector<std::size_t> order(elements);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::size_t wanted = std::min(elements, static_cast<std::size_t>(most));
  const auto key = [&](std::size_t i) { return std::isnan(values[i]) ? -INFINITY : values[i]; };
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(wanted), order.end(),
      [&](std::size_t a, std::size_t b) { return key(a) != key(b) ? key(a) > key(b) : a < b; });
  std::string raw;
  for (std::size_t i = 0; i < wanted; ++i) {
    const std::string text = std::to_string(values[order[i]]) + ":" + std::to_string(order[i]);
    const auto length = static_cast<std::uint32_t>(text.size());
    raw.append(reinterpret_cast<const char*>(&length), sizeof length);
    raw += text;
  }
  return net::Message(std::string_view(raw));
}

}  // namespace glet::web
