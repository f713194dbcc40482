// int32 sums -> float32: the epilogue of products whose result is real (dynamic quantization). The formula is at
// RealEpilogue in args.h. 4 operations per vector beside its load and store; the sums come from the L1 cache.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

// sums[n] of one row and the columns [first, first + n) -> out[n].
template <class S>
void reals_run(const int32_t* sums, const RealEpilogue& e, int64_t row, int64_t first, int64_t n, float* out) {
  constexpr int kLanes = S::kLanes;
  const typename S::F32 row_scale = S::fset(e.row_scale[row]), none = S::fset(0.0f);
  const typename S::I32 row_zero = S::set(e.row_zero ? e.row_zero[row] : 0);
  const float *column_scale = e.column_scale + first, *bias = e.bias ? e.bias + first : nullptr;
  const int32_t* column_sum = e.row_zero ? e.column_sum + first : nullptr;
  auto real = [&](typename S::I32 sum, const int32_t* column, const float* scale, const float* b)
                  [[gnu::always_inline]] {
                    if (column) sum = S::sub(sum, S::mul(row_zero, S::load(column)));
                    typename S::F32 y = S::fmul(S::to_float(sum), S::fmul(row_scale, S::fload(scale)));
                    if (b) y = S::fadd(y, S::fload(b));
                    return e.relu ? S::fmax(y, none) : y;
                  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    S::fstore(out + i, real(S::load(sums + i), column_sum ? column_sum + i : nullptr, column_scale + i,
                            bias ? bias + i : nullptr));
  if (i < n) {  // the tail through a full vector of copies: one arithmetic for all elements
    int32_t s[kLanes] = {}, column[kLanes] = {};
    float scale[kLanes] = {}, b[kLanes] = {}, y[kLanes];
    for (int64_t t = i; t < n; ++t) {
      s[t - i] = sums[t];
      scale[t - i] = column_scale[t];
      if (column_sum) column[t - i] = column_sum[t];
      if (bias) b[t - i] = bias[t];
    }
    S::fstore(y, real(S::load(s), column_sum ? column : nullptr, scale, bias ? b : nullptr));
    for (int64_t t = i; t < n; ++t) out[t] = y[t - i];
  }
}

}  // namespace octensor::kernels
