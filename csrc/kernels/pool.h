// Pooling on channels-last codes: running maxima and sums over rows of channels, and the mean.
//
//   mean  clamp(round_half_even(float(sum) / float(divisor)), lo, hi) + zero_point,
//         sum over the window of (q - zero_point)
// The plain loops vectorise under each instruction set's flags.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

template <class S, class Code>
void max_codes_of(const Code* x, int64_t n, Code* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] > out[i] ? x[i] : out[i];
}

// out[i] = max(out[i], x[i])
template <class S>
void max_codes(const uint8_t* x, bool is_signed, int64_t n, uint8_t* out) {
  is_signed ? max_codes_of<S, int8_t>(reinterpret_cast<const int8_t*>(x), n, reinterpret_cast<int8_t*>(out))
            : max_codes_of<S, uint8_t>(x, n, out);
}

template <class S, class Code>
void sum_codes_of(const Code* x, int64_t n, int32_t zero_point, int32_t* sums) {
  for (int64_t i = 0; i < n; ++i) sums[i] += x[i] - zero_point;
}

// sums[i] += x[i] - zero_point
template <class S>
void sum_codes(const uint8_t* x, bool is_signed, int64_t n, int32_t zero_point, int32_t* sums) {
  is_signed ? sum_codes_of<S, int8_t>(reinterpret_cast<const int8_t*>(x), n, zero_point, sums)
            : sum_codes_of<S, uint8_t>(x, n, zero_point, sums);
}

template <class S>
void mean_codes(const int32_t* sums, int64_t n, float divisor, float lo, float hi, int32_t zero_point, uint8_t* out) {
  constexpr int kLanes = S::kLanes;
  const typename S::F32 d = S::fset(divisor), low = S::fset(lo), high = S::fset(hi);
  const typename S::I32 zero = S::set(zero_point);
  auto codes = [&](const int32_t* p) [[gnu::always_inline]] {
    const typename S::F32 v = S::fdiv(S::to_float(S::load(p)), d);
    return S::add(S::round(S::fmin(S::fmax(v, low), high)), zero);
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) S::store_codes(out + i, codes(sums + i));
  if (i < n) {
    int32_t tail[kLanes] = {};
    uint8_t q[kLanes];
    for (int64_t t = i; t < n; ++t) tail[t - i] = sums[t];
    S::store_codes(q, codes(tail));
    for (int64_t t = i; t < n; ++t) out[t] = q[t - i];
  }
}

}  // namespace octensor::kernels
