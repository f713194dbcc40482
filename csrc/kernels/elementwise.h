// Element-wise kernels on contiguous runs of reals and codes.
//
//   quantize    q = clamp(round_half_even(x / scale), lo, hi) + zero_point    NaN -> zero_point
//   dequantize  x = float(q - zero_point) * scale
//   lookup      out = table[code & 0xFF]
//   range       smallest and largest of n floats and 0; not finite if any of them is not
//
// Bounds: 5 bytes per element of quantize and dequantize, 2 of lookup, moved at the memory's speed. Quantize spends
// 23 vector instructions on 32 codes with AVX2, dequantize 16, lookup 36.
#pragma once
#include "kernels/args.h"
#include "kernels/rounding.h"

namespace octensor::kernels {

// Never inlined where it is seldom called: its vectors would crowd out the loop's.
template <class S>
[[gnu::noinline, gnu::cold]] void quantize_by_division(const float* x, float scale, int32_t zero_point, float lo,
                                                       float hi, uint8_t* out) {
  divide_block<S>(scale, lo, hi, zero_point, out,
                  [&](int i) [[gnu::always_inline]] { return S::fload(x + i * S::kLanes); });
}

template <class S>
void quantize(const float* x, int64_t n, float scale, int32_t zero_point, float lo, float hi, uint8_t* out) {
  const Reciprocal inverse(scale);
  const Narrow<S> narrow(lo, hi, zero_point);
  const Margin<S> margin(inverse.error, narrow);
  const typename S::F32 r = S::fset(inverse.factor), offset = S::fset(margin.offset);
  for_blocks<S::Codes::kCount>(x, x, n, out, [&](const float* from, const float*, uint8_t* to) [[gnu::always_inline]] {
    round_block<S>(
        margin, narrow, to,
        [&](int i) [[gnu::always_inline]] { return S::roughly(S::fload(from + i * S::kLanes), r, offset); },
        [&](uint8_t* codes)
            [[gnu::always_inline]] { quantize_by_division<S>(from, scale, zero_point, lo, hi, codes); });
  });
}

// The range of what it took. A NaN may come out of fmin and fmax as either operand: poison knows of it.
template <class S>
struct RangeOf {
  typename S::F32 low, high, poison;
  [[gnu::always_inline]] void take(const float* p) {
    const typename S::F32 v = S::fload(p);
    low = S::fmin(low, v);
    high = S::fmax(high, v);
    poison = S::fadd(poison, S::fmul(v, S::fset(0.0f)));  // NaN and infinities times 0 are NaN and stay
  }
  [[gnu::always_inline]] void join(const RangeOf& other) {
    low = S::fmin(low, other.low);
    high = S::fmax(high, other.high);
    poison = S::fadd(poison, other.poison);
  }
};

// Widens [lo, hi], which holds 0, to hold all of x. A NaN or infinity makes both NaN. Four vectors are on the way at
// a time, for each chain waits for its own minimum; the bound is then the three operations on the multiply ports.
template <class S>
void range(const float* x, int64_t n, float* lo, float* hi) {
  constexpr int kLanes = S::kLanes;
  RangeOf<S> r0{S::fset(*lo), S::fset(*hi), S::fset(0.0f)}, r1 = r0, r2 = r0, r3 = r0;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    r0.take(x + i);
    r1.take(x + i + kLanes);
    r2.take(x + i + 2 * kLanes);
    r3.take(x + i + 3 * kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) r0.take(x + i);
  if (i < n) {
    float tail[kLanes] = {};
    for (int64_t t = i; t < n; ++t) tail[t - i] = x[t];
    r1.take(tail);
  }
  r0.join(r1);
  r2.join(r3);
  r0.join(r2);
  float l[kLanes], h[kLanes], p[kLanes], bad = 0.0f;
  S::fstore(l, r0.low);
  S::fstore(h, r0.high);
  S::fstore(p, r0.poison);
  for (int t = 0; t < kLanes; ++t) {
    *lo = l[t] < *lo ? l[t] : *lo;
    *hi = h[t] > *hi ? h[t] : *hi;
    bad += p[t];
  }
  *lo += bad;
  *hi += bad;
}

template <class S, bool Signed>
void dequantize_of(const uint8_t* q, int64_t n, float scale, int32_t zero_point, float* out) {
  const typename S::F32 s = S::fset(scale);
  const typename S::I32 zero = S::set(zero_point);
  for_blocks<S::Codes::kCount>(
      q, q, n, out, [&](const uint8_t* from, const uint8_t*, float* to) [[gnu::always_inline]] {
        for (int i = 0; i < S::Codes::kCount; i += S::kLanes)
          S::fstore(to + i, S::fmul(S::to_float(S::sub(S::template load_codes<Signed>(from + i), zero)), s));
      });
}

template <class S>
void dequantize(const uint8_t* q, bool is_signed, int64_t n, float scale, int32_t zero_point, float* out) {
  is_signed ? dequantize_of<S, true>(q, n, scale, zero_point, out)
            : dequantize_of<S, false>(q, n, scale, zero_point, out);
}

template <class S>
void lookup(const uint8_t* table, const uint8_t* codes, int64_t n, uint8_t* out) {
  using Codes = typename S::Codes;
  for_blocks<Codes::kCount>(codes, codes, n, out,
                            [&](const uint8_t* from, const uint8_t*, uint8_t* to)
                                [[gnu::always_inline]] { Codes::store(to, Codes::lookup(table, Codes::load(from))); });
}

}  // namespace octensor::kernels
