// int32 sums -> 8-bit codes: the epilogue that GEMM, depthwise convolution and multiplication share.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

// n codes, by words where there are any: for ends of rows, too short for a call.
template <class Code>
[[gnu::always_inline]] inline void copy_codes(Code* to, const Code* from, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) __builtin_memcpy(to + i, from + i, 8);
  if (i + 4 <= n) {
    __builtin_memcpy(to + i, from + i, 4);
    i += 4;
  }
  for (; i < n; ++i) to[i] = from[i];
}

// A vector of sums, bias added, -> codes in int32 lanes.
template <class S>
[[gnu::always_inline]] inline typename S::I32 requantize_vector(typename S::I32 sum, typename S::F32 multiplier,
                                                                typename S::F32 lo, typename S::F32 hi,
                                                                typename S::I32 zero_point) {
  const typename S::F32 scaled = S::fmul(S::to_float(sum), multiplier);
  return S::add(S::round(S::fmin(S::fmax(scaled, lo), hi)), zero_point);
}

}  // namespace octensor::kernels
