// Products of float rows with packed weights, the rows quantized on the way: what dynamic linear layers and recurrent
// layers share. docs/numerics.md has the formulas ("Dynamic linear").
#pragma once
#include "ops/packed.h"

namespace octensor::ops {

// code = clamp(round_half_even(x / scale) + zero_point, 0, 255)
struct DynamicParams {
  float scale;
  int32_t zero_point;
};

// Of a range that holds 0, for codes in [qmin, qmax].
DynamicParams dynamic_params(float lo, float hi, int64_t qmin, int64_t qmax);
// Of n floats, for quint8, 7 bits of it with reduce_range. ValueError, begun with `where`, unless all are finite.
DynamicParams dynamic_params_of(const char* where, const float* x, int64_t n, bool reduce_range);

struct DynamicProduct {
  const PackedWeight& weight;
  const DynamicParams* shared;  // for all rows; null: each row has those of its own range
  bool reduce_range = false;    // of the rows' own
  bool relu = false;
  bool backward = false;  // GemmOutput.backward
  const char* where;      // begins the error about values that are not finite
};

// x [rows][k] -> out [rows][columns], both dense.
void dynamic_product(const DynamicProduct& product, const float* x, int64_t rows, float* out);

}  // namespace octensor::ops
