// Reals to codes, many at a time: round(d) clamped, where d is costly and an estimate of it is cheap.
//
// What quantize, add and mean want is n = clamp(rint(d), lo, hi) + zero_point with d = fl(v / s), fl one rounding to
// float32. Division is several times slower than all the rest, and almost never needed: let p be any estimate with
//
//     |p - d| <= e   wherever |d| <= 256,   and |p| > 255.75, of d's sign, wherever |d| > 256.
//
// If |p - rint(p)| <= 1/2 - e, then no midpoint between integers lies between p and d, and rint(p) = rint(d) or both
// are beyond every bound (lo >= -255, hi <= 255). Otherwise, and for NaN, a block computes d itself, so the
// codes are those of the division always; the estimate only decides how soon they are known.
//
// For p = fl(v * r), r = fl(1 / s) and u = 2^-24: r = (1 + a) / s and p = v r (1 + b) with |a|, |b| <= u, as long as r
// is a normal number; d = v / s (1 + c), |c| <= u. Hence |p - d| <= 3.01 u |v / s| < 2^-14 for |d| <= 256. Where p or d
// is denormal both are far below 1/2 - e and round to 0. Where r is not normal (s > 2^126) the slack is -1: every
// block divides.
//
// p - rint(p) is exact in float32 (Sterbenz), so the test is exact. For ordinary data one block of 32 in 250 divides.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

// The bits of 1/2 - e, or -1 where no estimate may be trusted. Magnitudes compare as their bits do.
inline constexpr int32_t kNoSlack = -1;
[[gnu::always_inline]] inline int32_t slack_of(float error) {
  const float slack = 0.5f - error;
  int32_t bits;
  __builtin_memcpy(&bits, &slack, sizeof bits);
  return slack > 0.0f ? bits : kNoSlack;  // (false for NaN too)
}

// Multiplication by `factor` in place of division by `divisor`.
struct Reciprocal {
  float factor;
  int32_t slack;
  [[gnu::always_inline]] explicit Reciprocal(float divisor)
      : factor(1.0f / divisor), slack(slack_of(factor >= 0x1p-126f && factor < 0x1p127f ? 0x1p-14f : 1.0f)) {}
};

// The last step: codes as signed bytes, saturated, clamped to the bounds, then with their top bit as the dtype wants
// it.
template <class S>
struct Narrow {
  using Codes = typename S::Codes;
  typename Codes::Vec lo, hi, top;
  int32_t zero;

  // lo and hi are the bounds minus the zero point. Codes beyond 127 can only be unsigned ones.
  [[gnu::always_inline]] Narrow(float low, float high, int32_t zero_point) {
    const int32_t first = static_cast<int32_t>(low) + zero_point, last = static_cast<int32_t>(high) + zero_point;
    const int32_t bias = last > 127 ? 128 : 0;
    zero = zero_point - bias;
    lo = Codes::set(static_cast<uint8_t>(first - bias));
    hi = Codes::set(static_cast<uint8_t>(last - bias));
    top = Codes::set(static_cast<uint8_t>(bias));
  }
  [[gnu::always_inline]] void store(uint8_t* out, typename S::I32 a, typename S::I32 b, typename S::I32 c,
                                    typename S::I32 d) const {
    const typename Codes::Vec codes = Codes::narrow(a, b, c, d, zero);
    Codes::store(out, Codes::flip(Codes::template max<true>(Codes::template min<true>(codes, hi), lo), top));
  }
};

// One block of S::Codes::kCount codes: estimate(i) gives vector i of p, exact(i) the integers rint(clamp(d)).
template <class S, class Estimate, class Exact>
[[gnu::always_inline]] inline void round_block(int32_t slack, const Narrow<S>& narrow, uint8_t* out, Estimate estimate,
                                               Exact exact) {
  const typename S::F32 p0 = estimate(0), p1 = estimate(1), p2 = estimate(2), p3 = estimate(3);
  typename S::I32 n0 = S::nearest(p0), n1 = S::nearest(p1), n2 = S::nearest(p2), n3 = S::nearest(p3);
  typename S::I32 worst = S::worst(S::set(0), S::fsub(p0, S::to_float(n0)));
  worst = S::worst(worst, S::fsub(p1, S::to_float(n1)));
  worst = S::worst(worst, S::fsub(p2, S::to_float(n2)));
  worst = S::worst(worst, S::fsub(p3, S::to_float(n3)));
  if (S::any_above(worst, slack)) [[unlikely]] {
    n0 = exact(0);
    n1 = exact(1);
    n2 = exact(2);
    n3 = exact(3);
  }
  narrow.store(out, n0, n1, n2, n3);
}

// rint(clamp(v / divisor)), NaN as 0.
template <class S>
[[gnu::always_inline]] inline typename S::I32 divide_and_round(typename S::F32 v, typename S::F32 divisor,
                                                               typename S::F32 lo, typename S::F32 hi) {
  return S::round(S::fmin(S::fmax(S::nan_to_zero(S::fdiv(v, divisor)), lo), hi));
}

// body(a, b, out) for every block of kBlock elements of two runs. The last block of a long run overlaps the one before
// it; a short run goes through copies, padded with zeros. Either way all elements see the same arithmetic and
// nothing outside the runs is touched. `out` does not overlap the inputs.
template <int kBlock, class In, class Out, class Body>
[[gnu::always_inline]] inline void for_blocks(const In* a, const In* b, int64_t n, Out* out, Body body) {
  if (n <= 0) return;
  In from_a[kBlock], from_b[kBlock];
  Out to[kBlock];
  const bool is_short = n < kBlock;
  if (is_short) {
    for (int64_t i = 0; i < kBlock; ++i) from_a[i] = i < n ? a[i] : In{}, from_b[i] = i < n ? b[i] : In{};
    a = from_a;
    b = from_b;
  }
  Out* const target = is_short ? to : out;
  const int64_t end = is_short ? 0 : n - kBlock;
  for (int64_t i = 0;; i = i + kBlock < end ? i + kBlock : end) {
    body(a + i, b + i, target + i);
    if (i == end) break;
  }
  if (is_short)
    for (int64_t i = 0; i < n; ++i) out[i] = to[i];
}

}  // namespace octensor::kernels
