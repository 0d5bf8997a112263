#include "glet/exec/tensor.h"

#include <doctest/doctest.h>

#include <cstdint>

#include "glet/error.h"
#include "glet/exec/batch_buffer.h"

using namespace glet;
using namespace glet::exec;

TEST_CASE("every dtype has a size and a name that leads back to it") {
  const std::size_t bytes[] = {4, 8, 2, 2, 8, 4, 2, 1, 1, 1};
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    const auto dtype = static_cast<DType>(i);
    CHECK(dtype_bytes(dtype) == bytes[i]);
    CHECK(dtype_from_name(dtype_name(dtype)) == dtype);
  }
}

TEST_CASE("an unknown dtype is refused with the valid ones") {
  CHECK_THROWS_WITH_AS(
      dtype_from_name("float12"),
      "[dtype_from_name] unknown dtype 'float12'; valid: float32, float64, "
      "float16, bfloat16, int64, int32, int16, int8, uint8, bool, uint16, uint32, uint64, bytes",
      ArgumentError);
}

TEST_CASE("a spec counts elements; a scalar is one, an empty dimension none") {
  CHECK(TensorSpec{"x", DType::kInt16, {3, 4}}.bytes() == 24);
  CHECK(TensorSpec{"x", DType::kFloat64, {}}.bytes() == 8);
  CHECK(TensorSpec{"x", DType::kFloat64, {5, 0}}.bytes() == 0);
}

TEST_CASE("sizes that are negative or beyond memory are refused") {
  CHECK_THROWS_AS((TensorSpec{"x", DType::kInt8, {-1}}.bytes()), ArgumentError);
  const std::int64_t huge = std::int64_t{1} << 62;
  CHECK_THROWS_AS((TensorSpec{"x", DType::kInt8, {huge, 4}}.elements()), ArgumentError);
  CHECK_THROWS_AS((TensorSpec{"x", DType::kInt64, {huge}}.bytes()), ArgumentError);
  CHECK_THROWS_AS(BatchBuffer({{"x", DType::kInt8, {huge}}}, 1024), ArgumentError);
}

TEST_CASE("batch tensors are aligned, zeroed, and know their own addresses") {
  const BatchBuffer buffer({{"a", DType::kInt8, {3}}, {"b", DType::kInt8, {0}}}, 5);
  REQUIRE(buffer.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data(i)) % BatchBuffer::kAlignment == 0);
  }
  for (int i = 0; i < 15; ++i) CHECK(buffer.data(0)[i] == std::byte{0});
  CHECK(buffer.owns(buffer.data(0) + 14));
  CHECK_FALSE(buffer.owns(buffer.data(0) + 15));
  CHECK_THROWS_AS(BatchBuffer({}, 0), ArgumentError);
}
