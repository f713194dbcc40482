// Reals to codes, many at a time: round(d) clamped, where d is costly and an estimate of it is cheap.
//
// What quantize, add and mean want is n = clamp(rint(d), lo, hi) + zero_point with d = fl(v / s), fl one rounding to
// float32. Division is several times slower than all the rest, and almost never needed: let p be any estimate with
//
//     |p - d| <= e < 1/64   wherever |d| <= 256,   and |p| > 255.75, of d's sign, wherever |d| > 256.
//
// Kernels compute f = (p + 1/2 + margin) * 2^16 as an int32 in 16.16 fixed point, with margin = e + 4 * 2^-16: e for
// the estimate, and 4 units for the roundings of f, which is below 2^24.01 in magnitude where it matters: one of the
// multiplier and one of the sum are at most 1 unit each (2 where a product is rounded as well), one to an integer is
// half a unit. Hence f / 2^16 lies in (d + 1/2, d + 1/2 + 2 margin). If the fraction of f is above 2 margin, then f and
// d + 1/2 have the same integer part, and none of the numbers between is a midpoint: it is rint(d), or both are beyond
// every bound (lo >= -255, hi <= 255). Otherwise, and for NaN and what overflows int32 (whose fractions are 0), a block
// computes d itself. So the codes are those of the division always; the estimate only decides how soon they are known.
//
// For p = v * r, r = fl(1 / s), u = 2^-24: r = (1 + a) / s and d = v / s (1 + c) with |a|, |c| <= u, as long as r is a
// normal number. Hence |p - d| <= 2.01 u |d| < 2^-14.9 for |d| <= 256. Where d is denormal it rounds to 0, and so does
// p. Where r * 2^16 is not a normal number the limit is the largest fraction: every block divides.
//
// For ordinary data one block of 32 codes in 150 divides.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

inline constexpr uint16_t kAlwaysNear = UINT16_MAX;

// f's offset, and the largest fraction that is too near to a midpoint.
struct Margin {
  float offset;
  uint16_t limit;
  [[gnu::always_inline]] explicit Margin(double error) {
    const double margin = error * 0x1p16 + 4;
    const bool is_small = error < 0x1p-6;  // (false for NaN)
    limit = is_small ? static_cast<uint16_t>(2 * margin + 1) : kAlwaysNear;
    offset = is_small ? static_cast<float>(0x1p15 + margin) : 0.0f;
  }
};

// Multiplication by `factor` / 2^16 in place of division by `divisor`.
struct Reciprocal {
  float factor;
  Margin margin;
  [[gnu::always_inline]] explicit Reciprocal(float divisor)
      : factor(1.0f / divisor * 0x1p16f), margin(factor >= 0x1p-110f && factor < 0x1p127f ? 0x1p-14 : 1.0) {}
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
  [[gnu::always_inline]] void store(uint8_t* out, typename Codes::Vec codes) const {
    Codes::store(out, Codes::flip(Codes::template max<true>(Codes::template min<true>(codes, hi), lo), top));
  }
};

// One block of S::Codes::kCount codes: estimate(i) gives vector i of f as floats, exact(out) stores them by division.
template <class S, class Estimate, class Exact>
[[gnu::always_inline]] inline void round_block(const Margin& margin, const Narrow<S>& narrow, uint8_t* out,
                                               Estimate estimate, Exact exact) {
  bool near;
  const typename S::Codes::Vec codes =
      S::Codes::narrow_fixed(S::fixed(estimate(0)), S::fixed(estimate(1)), S::fixed(estimate(2)), S::fixed(estimate(3)),
                             narrow.zero, margin.limit, near);
  narrow.store(out, codes);
  if (near) [[unlikely]]
    exact(out);
}

// A block by division: value(i) gives vector i of v. NaN counts as 0.
template <class S, class Value>
[[gnu::always_inline]] inline void divide_block(float divisor, float lo, float hi, int32_t zero_point, uint8_t* out,
                                                Value value) {
  const typename S::F32 d = S::fset(divisor), low = S::fset(lo), high = S::fset(hi);
  auto code = [&](int i) [[gnu::always_inline]] {
    return S::round(S::fmin(S::fmax(S::nan_to_zero(S::fdiv(value(i), d)), low), high));
  };
  const Narrow<S> narrow(lo, hi, zero_point);
  narrow.store(out, S::Codes::narrow(code(0), code(1), code(2), code(3), narrow.zero));
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
