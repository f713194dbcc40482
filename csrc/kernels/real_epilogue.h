// int32 sums -> float32: the epilogue of products whose result is real (dynamic quantization). The formula is at
// RealEpilogue in args.h. At most 7 operations per vector beside its load and store; the sums come from the L1 cache.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

// n < N elements and zeros.
template <int N, class T>
[[gnu::always_inline]] inline const T* copy_part(const T* from, int64_t n, T (&to)[N]) {
  for (int64_t t = 0; t < N; ++t) to[t] = t < n ? from[t] : T{0};
  return to;
}

// One panel's finished sums -> output columns [j, j + columns).
template <class S>
void reals_epilogue(const GemmArgs& g, const int32_t* sums, int64_t j, int64_t columns) {
  constexpr int kLanes = S::kLanes;
  const RealEpilogue& e = g.real;
  const typename S::F32 none = S::fset(0.0f);
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t at = j + c, left = columns - c;
    float scales[kLanes], biases[kLanes];
    int32_t totals[kLanes];
    const float *scale_at = e.column_scale + at, *bias_at = e.bias ? e.bias + at : scale_at;
    const int32_t* total_at = e.row_zero ? e.column_sum + at : nullptr;
    if (left < kLanes) {  // part of a vector, through copies
      scale_at = copy_part<kLanes>(scale_at, left, scales);
      bias_at = copy_part<kLanes>(bias_at, left, biases);
      if (total_at) total_at = copy_part<kLanes>(total_at, left, totals);
    }
    const typename S::F32 scale = S::fload(scale_at), bias = S::fload(bias_at);
    const typename S::I32 total = total_at ? S::load(total_at) : S::set(0);
    for (int64_t i = 0; i < g.rows; ++i) {
      typename S::I32 sum = S::load(sums + i * S::kPanel + c);
      if (e.row_zero) sum = S::sub(sum, S::mul(S::set(e.row_zero[i]), total));
      typename S::F32 y = S::fmul(S::to_float(sum), S::fmul(S::fset(e.row_scale[i]), scale));
      if (e.bias) y = S::fadd(y, bias);
      if (e.relu) y = S::fmax(y, none);
      float* out = g.reals + i * g.ldc + at;
      if (left >= kLanes) {
        S::fstore(out, y);
      } else {
        float part[kLanes];
        S::fstore(part, y);
        for (int64_t t = 0; t < left; ++t) out[t] = part[t];
      }
    }
  }
}

}  // namespace octensor::kernels
