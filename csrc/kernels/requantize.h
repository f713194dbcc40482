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

// sums[n] of output channels [first, first + n) -> out[n].
template <class S>
void requantize_run(const int32_t* sums, const Requantize& r, int64_t first, int64_t n, uint8_t* out) {
  constexpr int kLanes = S::kLanes;
  const typename S::F32 lo = S::fset(r.lo), hi = S::fset(r.hi);
  const typename S::I32 zero = S::set(r.zero_point);
  const int32_t* bias = r.bias + first;
  const float* multiplier = r.multiplier + first;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    S::store_codes(out + i, requantize_vector<S>(S::add(S::load(sums + i), S::load(bias + i)), S::fload(multiplier + i),
                                                 lo, hi, zero));
  if (i < n) {  // the tail through a full vector of copies: one arithmetic for all elements
    int32_t s[kLanes] = {};
    float m[kLanes] = {};
    uint8_t codes[kLanes];
    for (int64_t t = i; t < n; ++t) {
      s[t - i] = static_cast<int32_t>(static_cast<uint32_t>(sums[t]) + static_cast<uint32_t>(bias[t]));
      m[t - i] = multiplier[t];
    }
    S::store_codes(codes, requantize_vector<S>(S::load(s), S::fload(m), lo, hi, zero));
    for (int64_t t = i; t < n; ++t) out[t] = codes[t - i];
  }
}

}  // namespace octensor::kernels
