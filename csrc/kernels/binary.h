// add and mul of codes, on contiguous runs.
//
//   add  clamp(round_half_even(((a - za) * sa + (b - zb) * sb) / so), lo, hi) + zo, every operation rounded
//   mul  clamp(round_half_even(float((a - za) * (b - zb)) * m), lo, hi) + zo
//
// add's result is d = fl(fl(A + B) / so), A = fl((a - za) * sa), B = fl((b - zb) * sb). It is estimated (rounding.h) as
// p = a * ra + (b * rb + c) with ra ~ sa / so, rb ~ sb / so, c ~ -(za * ra + zb * rb), which are 2 operations, not 7.
// With T = 255 (sa + sb) / so, u = 2^-24 and |d| <= 256:
//   d  is off the exact quotient by u T (A and B), 2 * 256 u (the sum, the division), and 2^-23 where A or B is
//   denormal; p  by 2 u T (its coefficients), u T (the inner sum: b * rb + c is within T), u T (the products, where
//   they are rounded)
//      and 256 u (the outer sum).
// Together e = u (5 T + 768) + 2^-23, and a little more for products of errors. Where |d| > 256, the same terms with
// |d| <= T in place of 256 leave |p| > 255.75 as long as e < 1/64. Beyond that (a sum in steps 200 times as coarse as
// the result's), and where A or B might overflow, every block divides.
//
// Where the ratios of scales are simple, every other sum may be a tie but for roundings, and the estimate does not
// help. There d is fl(t * r + t * r2), t = fl(A + B), r = fl(1 / so), r2 = fl(1 / so - r): with a fused multiplication
// the quotient but for 2^-48 of it. That it gives the code for each of the 65,536 pairs there are is found out by
// trying them (ops/add_proof.h), and `multiply` then asks for it.
//
// mul needs no division.
//
// Bound: 3 bytes per element. On AVX2 add and mul spend 43 vector instructions on 32 codes, `multiply` 57.
#pragma once
#include "kernels/args.h"
#include "kernels/rounding.h"

namespace octensor::kernels {

// t of one vector.
template <class S, bool SignedA, bool SignedB>
[[gnu::always_inline]] inline typename S::F32 real_sum(const BinaryArgs& e, const uint8_t* a, const uint8_t* b) {
  const typename S::I32 x = S::sub(S::template load_codes<SignedA>(a), S::set(e.a_zero));
  const typename S::I32 y = S::sub(S::template load_codes<SignedB>(b), S::set(e.b_zero));
  return S::fadd(S::fmul(S::to_float(x), S::fset(e.a_scale)), S::fmul(S::to_float(y), S::fset(e.b_scale)));
}

// One block by division.
template <class S, bool SignedA, bool SignedB>
[[gnu::always_inline]] inline void add_divided(const BinaryArgs& e, const uint8_t* a, const uint8_t* b, uint8_t* out) {
  // inf - inf gives 0; both can only be infinite for scales near float32's end
  divide_block<S>(e.out_scale, e.lo, e.hi, e.out_zero, out, [&](int i) [[gnu::always_inline]] {
    return real_sum<S, SignedA, SignedB>(e, a + i * S::kLanes, b + i * S::kLanes);
  });
}

template <class S, bool SignedA, bool SignedB>
void add_multiplied(const BinaryArgs& e) {
  const Narrow<S> narrow(e.lo, e.hi, e.out_zero);
  const float inverse = 1.0f / e.out_scale;
  const typename S::F32 r = S::fset(inverse), r2 = S::fset(static_cast<float>(1.0 / e.out_scale - inverse));
  for_blocks<S::Codes::kCount>(
      e.a, e.b, e.n, e.out, [&](const uint8_t* a, const uint8_t* b, uint8_t* out) [[gnu::always_inline]] {
        auto code = [&](int i) [[gnu::always_inline]] {
          const typename S::F32 t = real_sum<S, SignedA, SignedB>(e, a + i * S::kLanes, b + i * S::kLanes);
          return S::fixed(S::roughly(t, r, S::fmul(t, r2)));
        };
        narrow.store(out, code(0), code(1), code(2), code(3));
      });
}

// Never inlined where it is seldom called: its vectors would crowd out the loop's.
template <class S, bool SignedA, bool SignedB>
[[gnu::noinline, gnu::cold]] void add_by_division(const BinaryArgs& e, const uint8_t* a, const uint8_t* b,
                                                  uint8_t* out) {
  add_divided<S, SignedA, SignedB>(e, a, b, out);
}

template <class S, bool SignedA, bool SignedB>
void add_of(const BinaryArgs& e) {
  if (e.multiply) return add_multiplied<S, SignedA, SignedB>(e);
  constexpr int kCount = S::Codes::kCount;
  double ratio_a = double(e.a_scale) / e.out_scale, ratio_b = double(e.b_scale) / e.out_scale;
  double error = 1.01 * (0x1p-24 * (5 * 255 * (ratio_a + ratio_b) + 768) + 0x1p-23);
  if (!(error < kLargestError) || e.a_scale >= 0x1p118f || e.b_scale >= 0x1p118f) ratio_a = ratio_b = 0.0, error = 1.0;
  const Narrow<S> narrow(e.lo, e.hi, e.out_zero);
  const Margin<S> margin(error, narrow);
  const typename S::F32 ra = S::fset(static_cast<float>(0x1p16 * ratio_a));
  const typename S::F32 rb = S::fset(static_cast<float>(0x1p16 * ratio_b));
  const typename S::F32 c =
      S::fset(static_cast<float>(margin.offset - 0x1p16 * (e.a_zero * ratio_a + e.b_zero * ratio_b)));
  auto estimate = [&](const uint8_t* a, const uint8_t* b, uint8_t* out, auto exact) [[gnu::always_inline]] {
    round_block<S>(
        margin, narrow, out,
        [&](int i) [[gnu::always_inline]] {
          const typename S::F32 x = S::to_float(S::template load_codes<SignedA>(a + i * S::kLanes));
          const typename S::F32 y = S::to_float(S::template load_codes<SignedB>(b + i * S::kLanes));
          return S::roughly(x, ra, S::roughly(y, rb, c));
        },
        exact);
  };
  // Where the first blocks divide, all blocks do, without an estimate first.
  constexpr int kSamples = 4;
  int near = 0;
  for (int i = 0; i < kSamples && (i + 1) * kCount <= e.n; ++i) {
    uint8_t codes[kCount];
    estimate(e.a + i * kCount, e.b + i * kCount, codes, [&](uint8_t*) [[gnu::always_inline]] { ++near; });
  }
  if (near > kSamples / 2)
    for_blocks<kCount>(e.a, e.b, e.n, e.out,
                       [&](const uint8_t* a, const uint8_t* b, uint8_t* out)
                           [[gnu::always_inline]] { add_divided<S, SignedA, SignedB>(e, a, b, out); });
  else
    for_blocks<kCount>(e.a, e.b, e.n, e.out,
                       [&](const uint8_t* a, const uint8_t* b, uint8_t* out) [[gnu::always_inline]] {
                         estimate(a, b, out, [&](uint8_t* codes) [[gnu::always_inline]] {
                           add_by_division<S, SignedA, SignedB>(e, a, b, codes);
                         });
                       });
}

template <class S, bool SignedA, bool SignedB>
void mul_of(const BinaryArgs& e) {
  const typename S::I32 za = S::set(e.a_zero), zb = S::set(e.b_zero);
  const typename S::F32 m = S::fset(e.out_scale), hi = S::fset(e.hi);
  const Narrow<S> narrow(e.lo, e.hi, e.out_zero);
  for_blocks<S::Codes::kCount>(
      e.a, e.b, e.n, e.out, [&](const uint8_t* a, const uint8_t* b, uint8_t* out) [[gnu::always_inline]] {
        auto code = [&](int i) [[gnu::always_inline]] {
          const typename S::I32 x = S::sub(S::template load_codes<SignedA>(a + i * S::kLanes), za);
          const typename S::I32 y = S::sub(S::template load_codes<SignedB>(b + i * S::kLanes), zb);
          // Below int32 `fixed` gives its end, which narrowing saturates.
          return S::fixed(S::fmin(S::fmul(S::to_float(S::mul(x, y)), m), hi));
        };
        narrow.store(out, code(0), code(1), code(2), code(3));
      });
}

template <class S>
void add(const BinaryArgs& e) {
  if (e.a_signed)
    e.b_signed ? add_of<S, true, true>(e) : add_of<S, true, false>(e);
  else
    e.b_signed ? add_of<S, false, true>(e) : add_of<S, false, false>(e);
}

template <class S>
void mul(const BinaryArgs& e) {
  if (e.a_signed)
    e.b_signed ? mul_of<S, true, true>(e) : mul_of<S, true, false>(e);
  else
    e.b_signed ? mul_of<S, false, true>(e) : mul_of<S, false, false>(e);
}

}  // namespace octensor::kernels
