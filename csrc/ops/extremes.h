// The largest or smallest element of each row [rows][n], n at least 1 (ops/order.h). Bound: the bytes read.
#pragma once
#include <cstdint>

namespace octensor::ops {

enum class Ordered : uint8_t { float32, int64, int32, int8, uint8 };
void extremes_into(Ordered kind, bool largest, const uint8_t* x, int64_t rows, int64_t n, uint8_t* out);

}  // namespace octensor::ops
