// Rows [rows][n], n at least 1: the largest or smallest element of each (ops/order.h), where the first or last of them
// is (NaN being the largest and the smallest), and of whole numbers the sum, which wraps. Bound: the bytes read.
#pragma once
#include <cstdint>

namespace octensor::ops {

enum class Ordered : uint8_t { float32, int64, int32, int8, uint8 };

// body(T{}) with the type of a kind.
template <class Body>
void with_type(Ordered kind, const Body& body) {
  switch (kind) {
    case Ordered::float32:
      return body(float{});
    case Ordered::int64:
      return body(int64_t{});
    case Ordered::int32:
      return body(int32_t{});
    case Ordered::int8:
      return body(int8_t{});
    case Ordered::uint8:
      return body(uint8_t{});
  }
}

void extremes_into(Ordered kind, bool largest, const uint8_t* x, int64_t rows, int64_t n, uint8_t* out);
void places_into(Ordered kind, bool largest, bool last, const uint8_t* x, int64_t rows, int64_t n, int64_t* out);

// Running sums over the middle axis of [outer][n][inner], and sums over it; of floats, int64 or int32.
void running_sums_into(Ordered kind, const uint8_t* x, int64_t outer, int64_t n, int64_t inner, uint8_t* out);
void whole_sums_into(Ordered kind, const uint8_t* x, int64_t rows, int64_t n, uint8_t* out);

}  // namespace octensor::ops
