// Float input [..., K] as dense rows: a copy where it is not already so.
#pragma once
#include "ops/ops.h"

namespace octensor::ops {

struct FloatRows {
  StoragePtr copy;
  const float* values;
  int64_t rows = 1, k;

  explicit FloatRows(const FloatView& x) : values(x.data), k(x.shape.back()) {
    bool dense = true;
    int64_t step = 1;
    for (size_t i = x.shape.size(); i-- > 0; step *= x.shape[i]) {
      dense = dense && (x.shape[i] == 1 || x.strides[i] == step);
      if (i + 1 < x.shape.size()) rows *= x.shape[i];
    }
    if (dense || rows * k == 0) return;
    copy = allocate(rows * k * sizeof(float));
    copy_strided(reinterpret_cast<const uint8_t*>(x.data), x.strides, copy.get(),
                 dense_strides(x.shape, Layout::contiguous), x.shape, sizeof(float));
    values = reinterpret_cast<const float*>(copy.get());
  }
};

}  // namespace octensor::ops
