// Powers of floats with one order of operations, computed in float64 and rounded once.
//
// Exponents that are multiples of 1/4 up to 16 in magnitude: square roots and products (a half is one root). All others
// by exp(e * log |x|), from sums whose terms and order are written down (float_power.cpp), so that no library chooses a
// bit: within 1e-13 of the power, relative, which is the nearest float32 or, hardly ever, its neighbour. Of a negative
// number only whole powers are numbers.
//
// Bound: a division or square root each element where the exponent is a quarter, a half or negative.
#pragma once
#include <cstdint>

#include "core/qtensor.h"

namespace octensor::ops {

void float_power_into(const float* x, int64_t n, float exponent, float* out);

// x [outer][channels][inner] by (bias + alpha / size * sum of squares over `size` neighbouring channels) to the power
// beta; of an even number of neighbours one more lies behind. `out` is not x.
struct ResponseNorm {
  int64_t size;
  double alpha;
  float beta, bias;
};
// Throws ValueError where the input has no channels, or the size is out of range.
void check_response_norm(const Shape& input, const ResponseNorm& norm);
void float_response_norm_into(const float* x, int64_t outer, int64_t channels, int64_t inner, const ResponseNorm& norm,
                              float* out);

}  // namespace octensor::ops
