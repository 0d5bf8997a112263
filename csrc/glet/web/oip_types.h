#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "glet/exec/tensor.h"

namespace glet::web {

// Datatypes of the Open Inference Protocol.
enum class OipType : std::uint8_t {
  kBool,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kFp16,
  kFp32,
  kFp64,
  kBf16,
  kBytes,
};

// "FP32", "BYTES", ...
std::string_view oip_name(OipType type);
std::optional<OipType> oip_type(std::string_view name);
OipType oip_type(exec::DType dtype);
// Bytes of one element, 0 of kBytes: a u32 length before each.
std::size_t oip_bytes(OipType type);

// IEEE half and bfloat16 to float and back, to the nearest, ties to even.
float half_to_float(std::uint16_t bits);
std::uint16_t float_to_half(float value);
float bfloat_to_float(std::uint16_t bits);
std::uint16_t float_to_bfloat(float value);

}  // namespace glet::web
