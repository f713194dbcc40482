// add and mul of codes, on contiguous runs.
//
//   add  clamp(round_half_even(((a - za) * sa + (b - zb) * sb) / so), lo, hi) + zo, every operation rounded
//   mul  clamp(round_half_even(float((a - za) * (b - zb)) * m), lo, hi) + zo
//
// add's result is d = fl(fl(A + B) / so), A = fl((a - za) * sa), B = fl((b - zb) * sb). It is estimated (rounding.h) as
// p = a * ra + (b * rb + c) with ra ~ sa / so, rb ~ sb / so, c ~ -(za * ra + zb * rb), which are 2 operations, not 6.
// With T = 255 (sa + sb) / so, u = 2^-24 and |d| <= 256:
//   d  is off the exact quotient by u T (A and B), 2 * 256 u (the sum, the division), and 2^-23 where A or B is
//   denormal; p  by 2 u T (its coefficients), u T (the inner sum: b * rb + c is within T), u T (the products, where
//   they are rounded)
//      and 256 u (the outer sum).
// Together e = u (5 T + 768) + 2^-23, and a little more for products of errors. Where |d| > 256, the same terms with
// |d| <= T in place of 256 leave |p| > 255.75 as long as e < 1/64. Beyond that (a sum in steps 200 times as coarse as
// the result's), and where A or B might overflow, every block divides.
//
// mul needs no division. A product of two differences is below 2^17, so float32 multiplies them exactly.
//
// Bound: 3 bytes per element. On AVX2 add spends 52 instructions on 32 codes.
#pragma once
#include "kernels/args.h"
#include "kernels/rounding.h"

namespace octensor::kernels {

template <class S, bool SignedA, bool SignedB>
void add_of(const BinaryArgs& e) {
  const typename S::I32 za = S::set(e.a_zero), zb = S::set(e.b_zero);
  const typename S::F32 sa = S::fset(e.a_scale), sb = S::fset(e.b_scale), so = S::fset(e.out_scale);
  const typename S::F32 lo = S::fset(e.lo), hi = S::fset(e.hi);
  const double ratio_a = double(e.a_scale) / e.out_scale, ratio_b = double(e.b_scale) / e.out_scale;
  const double error = 1.01 * (0x1p-24 * (5 * 255 * (ratio_a + ratio_b) + 768) + 0x1p-23);
  const bool is_safe = error < 0x1p-6 && e.a_scale < 0x1p118f && e.b_scale < 0x1p118f;
  const int32_t slack = is_safe ? slack_of(static_cast<float>(error)) : kNoSlack;
  const typename S::F32 ra = S::fset(static_cast<float>(ratio_a)), rb = S::fset(static_cast<float>(ratio_b));
  const typename S::F32 c = S::fset(static_cast<float>(-(e.a_zero * ratio_a + e.b_zero * ratio_b)));
  const Narrow<S> narrow(e.lo, e.hi, e.out_zero);
  for_blocks<S::Codes::kCount>(
      e.a, e.b, e.n, e.out, [&](const uint8_t* a, const uint8_t* b, uint8_t* out) [[gnu::always_inline]] {
        auto code_a = [&](int i) [[gnu::always_inline]] { return S::template load_codes<SignedA>(a + i * S::kLanes); };
        auto code_b = [&](int i) [[gnu::always_inline]] { return S::template load_codes<SignedB>(b + i * S::kLanes); };
        round_block<S>(
            slack, narrow, out,
            [&](int i) [[gnu::always_inline]] {
              return S::roughly(S::to_float(code_a(i)), ra, S::roughly(S::to_float(code_b(i)), rb, c));
            },
            [&](int i) [[gnu::always_inline]] {
              const typename S::F32 x = S::fmul(S::to_float(S::sub(code_a(i), za)), sa);
              const typename S::F32 y = S::fmul(S::to_float(S::sub(code_b(i), zb)), sb);
              // inf - inf cannot be rounded; both can only be infinite for scales near float32's end
              return divide_and_round<S>(S::fadd(x, y), so, lo, hi);
            });
      });
}

template <class S, bool SignedA, bool SignedB>
void mul_of(const BinaryArgs& e) {
  const typename S::I32 za = S::set(e.a_zero), zb = S::set(e.b_zero);
  const typename S::F32 m = S::fset(e.out_scale), lo = S::fset(e.lo), hi = S::fset(e.hi);
  const Narrow<S> narrow(e.lo, e.hi, e.out_zero);
  for_blocks<S::Codes::kCount>(
      e.a, e.b, e.n, e.out, [&](const uint8_t* a, const uint8_t* b, uint8_t* out) [[gnu::always_inline]] {
        auto code = [&](int i) [[gnu::always_inline]] {
          const typename S::F32 x = S::to_float(S::sub(S::template load_codes<SignedA>(a + i * S::kLanes), za));
          const typename S::F32 y = S::to_float(S::sub(S::template load_codes<SignedB>(b + i * S::kLanes), zb));
          return S::round(S::fmin(S::fmax(S::fmul(S::fmul(x, y), m), lo), hi));
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
