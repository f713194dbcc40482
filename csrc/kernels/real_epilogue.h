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

// The sums of all rows of one vector of columns, kPanel apart from row to row, -> reals, `stride` apart. What is not
// asked for leaves every bit as it is: adding -0, no less than -infinity.
template <class S, bool kZeros>
[[gnu::always_inline]] inline void reals_vector(const GemmArgs& g, const int32_t* sums, typename S::F32 scale,
                                                typename S::F32 bias, typename S::I32 total, float* out,
                                                int64_t stride) {
  const RealEpilogue& e = g.real;
  const typename S::F32 least = S::fset(e.relu ? 0.0f : -__builtin_inff());
  for (int64_t i = 0; i < g.rows; ++i, sums += S::kPanel, out += stride) {
    typename S::I32 sum = S::load(sums);
    if constexpr (kZeros) sum = S::sub(sum, S::mul(S::set(e.row_zero[i]), total));
    const typename S::F32 y = S::fmul(S::to_float(sum), S::fmul(S::fset(e.row_scale[i]), scale));
    S::fstore(out, S::fmax(S::fadd(y, bias), least));
  }
}

// One panel's finished sums -> output columns [j, j + columns); of a single row any number of columns.
template <class S, bool kZeros>
void reals_of(const GemmArgs& g, const int32_t* sums, int64_t j, int64_t columns) {
  constexpr int kLanes = S::kLanes;
  const RealEpilogue& e = g.real;
  const typename S::F32 none = S::fset(-0.0f);
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes)
    reals_vector<S, kZeros>(g, sums + c, S::fload(e.column_scale + j + c), e.bias ? S::fload(e.bias + j + c) : none,
                            kZeros ? S::load(e.column_sum + j + c) : S::set(0), g.reals + j + c, g.ldc);
  if (c == columns) return;
  float scales[kLanes], biases[kLanes], part[kLanes];
  int32_t totals[kLanes];
  const int64_t at = j + c, left = columns - c;
  GemmArgs row = g;
  for (int64_t i = 0; i < g.rows; ++i) {  // part of a vector, through copies
    row.rows = 1;
    row.real.row_scale = e.row_scale + i;
    if constexpr (kZeros) row.real.row_zero = e.row_zero + i;
    reals_vector<S, kZeros>(row, sums + i * S::kPanel + c,
                            S::fload(copy_part<kLanes>(e.column_scale + at, left, scales)),
                            e.bias ? S::fload(copy_part<kLanes>(e.bias + at, left, biases)) : none,
                            kZeros ? S::load(copy_part<kLanes>(e.column_sum + at, left, totals)) : S::set(0), part, 0);
    for (int64_t t = 0; t < left; ++t) g.reals[i * g.ldc + at + t] = part[t];
  }
}

template <class S>
void reals_epilogue(const GemmArgs& g, const int32_t* sums, int64_t j, int64_t columns) {
  g.real.row_zero ? reals_of<S, true>(g, sums, j, columns) : reals_of<S, false>(g, sums, j, columns);
}

}  // namespace octensor::kernels
