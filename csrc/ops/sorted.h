// Where the values of each row [rows][n] lie in order: equal ones as they stand, NaN last. Bound: n log n comparisons.
#pragma once
#include "ops/extremes.h"

namespace octensor::ops {

void sorted_into(Ordered kind, bool descending, const uint8_t* x, int64_t rows, int64_t n, int64_t* out);

}  // namespace octensor::ops
