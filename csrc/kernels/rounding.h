// Reals to codes, many at a time: round(d) clamped, where d is costly and an estimate of it is cheap.
//
// What quantize, add and mean want is n = clamp(rint(d), lo, hi) + zero_point with d = fl(v / s), fl one rounding to
// float32. Division is several times slower than all the rest, and almost never needed: let p be any estimate with
//
//     |p - d| <= e < 1/64   wherever |d| <= 256,   and |p| > 255.75, of d's sign, wherever |d| > 256.
//
// Kernels compute f = (p + z + 1/2 + margin) * 2^16 as an int32 in 16.16 fixed point, |z| <= 256 the (biased) zero
// point and margin = e + 6 * 2^-16: e for the estimate, 6 units for the roundings of f, which is below 2^25 in
// magnitude where it matters (constants, products and sums lose at most 1 unit each, of which there are at most 4, and
// conversion half of one). Hence f / 2^16 lies in (d + z + 1/2, d + z + 1/2 + 2 margin). If the fraction of f is not
// below 2 margin, all numbers of that interval have one integer part, so none of them is an integer, and it is rint(d)
// + z; or it and rint(d) + z are both beyond every bound (lo >= -255, hi <= 255). Otherwise, and for NaN and what
// overflows int32 (whose fractions are 0), a block computes d itself. So the codes are those of the division always;
// the estimate only decides how soon they are known.
//
// For p = v * r, r = fl(1 / s), u = 2^-24: r = (1 + a) / s and d = v / s (1 + c) with |a|, |c| <= u, as long as r is a
// normal number. Hence |p - d| <= 2.01 u |d| < 2^-14.9 for |d| <= 256. Where d is denormal it rounds to 0, and so does
// p. Where 1 / s or r * 2^16 is not a normal number, and wherever e is too large, the estimate's factors are 0: f is
// then 0 or NaN, of fraction 0, and every block divides.
//
// For ordinary data one block of 32 codes in 100 divides.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

inline constexpr double kLargestError = 0x1p-6;

// Multiplication by `factor` / 2^16 in place of division by `divisor`; `error` is e.
struct Reciprocal {
  float factor;
  double error = 0x1p-14;
  [[gnu::always_inline]] explicit Reciprocal(float divisor) : factor(1.0f / divisor * 0x1p16f) {
    if (factor >= 0x1p-110f && factor < 0x1p127f) return;
    factor = 0.0f;
    error = 1.0;
  }
};

// From f, or from integers, to codes.
template <class S>
struct Narrow {
  using Codes = typename S::Codes;
  typename Codes::Vec lo, bias;
  int32_t zero;

  // lo and hi are the bounds minus the zero point. With the bias the highest code is 127, where narrowing saturates.
  [[gnu::always_inline]] Narrow(float low, float high, int32_t zero_point) {
    const int32_t first = static_cast<int32_t>(low) + zero_point, last = static_cast<int32_t>(high) + zero_point;
    zero = zero_point - (last - 127);
    lo = Codes::set(static_cast<uint8_t>(first - (last - 127)));
    bias = Codes::set(static_cast<uint8_t>(last - 127));
  }
  [[gnu::always_inline]] typename Codes::Vec codes(typename Codes::Vec narrowed) const {
    return Codes::add(Codes::template max<true>(narrowed, lo), bias);
  }
  [[gnu::always_inline]] typename Codes::Vec codes(typename S::I32 a, typename S::I32 b, typename S::I32 c,
                                                   typename S::I32 d) const {
    return codes(Codes::narrow(a, b, c, d, zero));
  }
  [[gnu::always_inline]] void store(uint8_t* out, typename Codes::Vec narrowed) const {
    Codes::store(out, codes(narrowed));
  }
  [[gnu::always_inline]] void store(uint8_t* out, typename S::I32 a, typename S::I32 b, typename S::I32 c,
                                    typename S::I32 d) const {
    Codes::store(out, codes(a, b, c, d));
  }
};

// What f adds to the estimate, and the fractions that are too near to a midpoint: those below `limit`.
template <class S>
struct Margin {
  float offset = 0.0f;
  uint16_t limit = 1;
  [[gnu::always_inline]] Margin(double error, const Narrow<S>& narrow) {
    if (!(error < kLargestError)) return;
    const int32_t margin = static_cast<int32_t>(error * 0x1p16) + 7;
    limit = static_cast<uint16_t>(2 * margin);
    offset = static_cast<float>((narrow.zero * (1 << 16)) + (1 << 15) + margin);
  }
};

// One block of S::Codes::kCount codes: estimate(i) gives vector i of f as floats, exact(out) stores them by division.
template <class S, class Estimate, class Exact>
[[gnu::always_inline]] inline void round_block(const Margin<S>& margin, const Narrow<S>& narrow, uint8_t* out,
                                               Estimate estimate, Exact exact) {
  bool near;
  narrow.store(out, S::Codes::narrow_fixed(S::fixed(estimate(0)), S::fixed(estimate(1)), S::fixed(estimate(2)),
                                           S::fixed(estimate(3)), margin.limit, near));
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
  Narrow<S>(lo, hi, zero_point).store(out, code(0), code(1), code(2), code(3));
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
