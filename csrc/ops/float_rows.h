// Float input [..., K] as dense rows: a copy where it is not already so.
#pragma once
#include "ops/ops.h"

namespace octensor::ops {

struct FloatRows {
  StoragePtr copy;
  const float* values;
  int64_t rows, k;

  explicit FloatRows(const FloatView& x)
      : values(x.data), rows(count({x.shape.begin(), x.shape.end() - 1})), k(x.shape.back()) {
    const Shape dense = dense_strides(x.shape, Layout::contiguous);
    if (x.strides == dense) return;
    copy = allocate(rows * k * sizeof(float));
    copy_strided(reinterpret_cast<const uint8_t*>(x.data), x.strides, copy.get(), dense, x.shape, sizeof(float));
    values = reinterpret_cast<const float*>(copy.get());
  }
};

}  // namespace octensor::ops
