// Layer, group and instance norm of 8-bit codes, as floats: rows of n codes with exact integer statistics. With S the
// sum of a row's codes and T that of their squares
//
//   mean = f32(S / n),   inverse = f32(s / sqrt((n T - S^2) / n^2 * s^2 + eps)), both from float64
//   y = ((f32(q) - mean) * inverse) * weight + bias, in float32, each step rounded
//
// Bound: the bytes of the codes, twice, and of y.
#pragma once
#include <cstdint>

#include "core/qtensor.h"

namespace octensor::ops {

struct CodeNorm {
  double scale;  // of the codes
  double eps;
  const float *weight, *bias;  // null: none
  int64_t groups, run;         // which entry an element has: ops/float_math.h, FloatNorm
};
void code_norm_into(const uint8_t* x, bool is_signed, int64_t rows, int64_t n, const CodeNorm& norm, float* out);

}  // namespace octensor::ops
