// The functions of float ops, element by element: float32, one written order of operations with explicit fused
// multiply-adds, so the same bits on every instruction set. Any argument is allowed; NaN gives NaN.
//
//   exp       n = round(x / ln 2), r = x - n ln2 (two fma), q = r + r^2 p(r), p Cephes' of degree 5 in fma form;
//             2^n (1 + q), as two factors so that the ends are right           1.1 ulp where normal
//   expm1     2^n q + (2^n - 1), one fma                                         2 ulp
//   log1p     e in [0, 1] or log(m 2^n), m in [2/3, 4/3): 2 atanh(s), s = e / (2 + e) or (m - 1) / (m + 1), an odd
//             polynomial in s                                                    2 ulp (log: 2 ulp)
//   sigmoid   1 / (1 + exp(-x))                                                  3 ulp
//   tanh      |x| < 0.625: x + x s P(s), s = x^2 (Cephes); else 1 - 2 / (exp(2 |x|) + 1)      2 ulp
//   erf       two polynomials, below and above 475 / 512, the latter in an exponential (N. Juffa)    1.1 ulp
//
// tests/test_float_kernels.py measures these bounds. Functions take N vectors, as those of kernels/transcendental.h do,
// which the integer ops keep: results there are on record.
#pragma once
#include "kernels/transcendental.h"

namespace octensor::kernels {

template <class S, int N>
using FloatVectors = typename S::F32 (&)[N];

// x <- polynomial of `at`, the highest term first.
template <class S, int N, int Terms>
[[gnu::always_inline]] inline void horner(const float (&terms)[Terms], const typename S::F32 (&at)[N],
                                          typename S::F32 (&x)[N]) {
  for (int i = 0; i < N; ++i) x[i] = S::fset(terms[0]);
  for (int t = 1; t < Terms; ++t)
    for (int i = 0; i < N; ++i) x[i] = S::ffma(x[i], at[i], S::fset(terms[t]));
}

// exp(x) = 2^n (1 + q).
template <class S, int N>
struct ExpParts {
  typename S::I32 n[N];
  typename S::F32 q[N];
  [[gnu::always_inline]] explicit ExpParts(const typename S::F32 (&x)[N]) {
    constexpr float kTerms[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    typename S::F32 r[N];
    for (int i = 0; i < N; ++i) {
      const typename S::F32 at = S::fmin(S::fmax(x[i], S::fset(-104.0f)), S::fset(89.0f));
      n[i] = S::round(S::fmul(at, S::fset(1.44269504f)));
      const typename S::F32 whole = S::to_float(n[i]);
      r[i] = S::ffma(whole, S::fset(2.12194440e-4f), S::ffma(whole, S::fset(-0.693359375f), at));
    }
    horner<S, N>(kTerms, r, q);
    for (int i = 0; i < N; ++i) q[i] = S::ffma(S::fmul(r[i], r[i]), q[i], r[i]);
  }
};

template <class S, int N>
[[gnu::always_inline]] inline void float_exp(typename S::F32 (&x)[N]) {
  const ExpParts<S, N> e(x);
  for (int i = 0; i < N; ++i) {
    const typename S::I32 half = S::template shift_right<1>(e.n[i]);
    const typename S::F32 y = S::fmul(S::fadd(e.q[i], S::fset(1.0f)), S::pow2(half));
    x[i] = S::where_number(x[i], S::fmul(y, S::pow2(S::sub(e.n[i], half))), x[i]);
  }
}

// Of x <= 0.
template <class S, int N>
[[gnu::always_inline]] inline void float_expm1(typename S::F32 (&x)[N]) {
  typename S::F32 at[N];
  for (int i = 0; i < N; ++i) at[i] = S::fmax(x[i], S::fset(-87.0f));
  const ExpParts<S, N> e(at);
  for (int i = 0; i < N; ++i) {
    const typename S::F32 power = S::pow2(e.n[i]);
    x[i] = S::where_number(x[i], S::ffma(e.q[i], power, S::fadd(power, S::fset(-1.0f))), x[i]);
  }
}

// 2 atanh(s), |s| <= 1/3: 2 s (1 + s^2 / 3 + s^4 / 5 ...).
template <class S, int N>
[[gnu::always_inline]] inline void twice_atanh(typename S::F32 (&s)[N]) {
  constexpr float kTerms[] = {2.0f / 15, 2.0f / 13, 2.0f / 11, 2.0f / 9, 2.0f / 7, 2.0f / 5, 2.0f / 3};
  typename S::F32 square[N], p[N];
  for (int i = 0; i < N; ++i) square[i] = S::fmul(s[i], s[i]);
  horner<S, N>(kTerms, square, p);
  for (int i = 0; i < N; ++i) s[i] = S::ffma(S::fmul(s[i], square[i]), p[i], S::fadd(s[i], s[i]));
}

// log(1 + e), e in [0, 1].
template <class S, int N>
[[gnu::always_inline]] inline void float_log1p(typename S::F32 (&e)[N]) {
  for (int i = 0; i < N; ++i) e[i] = S::fdiv(e[i], S::fadd(e[i], S::fset(2.0f)));
  twice_atanh<S, N>(e);
}

template <class S, int N>
[[gnu::always_inline]] inline void float_log(typename S::F32 (&x)[N]) {
  using F32 = typename S::F32;
  constexpr int32_t kTwoThirds = 0x3F2AAAAB;
  const F32 zero = S::fset(0.0f), tiny = S::fset(0x1p-126f), top = S::fset(__builtin_inff());
  F32 power[N], s[N];
  for (int i = 0; i < N; ++i) {
    const F32 normal = S::where_greater(tiny, x[i], S::fmul(x[i], S::fset(0x1p23f)), x[i]);
    const typename S::I32 bits = S::bits(normal);
    const typename S::I32 n = S::template shift_right<23>(S::sub(bits, S::set(kTwoThirds)));
    const F32 m = S::from_bits(S::sub(bits, S::template shift_left<23>(n)));
    power[i] = S::fsub(S::to_float(n), S::where_greater(tiny, x[i], S::fset(23.0f), zero));
    s[i] = S::fdiv(S::fsub(m, S::fset(1.0f)), S::fadd(m, S::fset(1.0f)));
  }
  twice_atanh<S, N>(s);
  for (int i = 0; i < N; ++i) {
    F32 y = S::ffma(power[i], S::fset(-2.12194440e-4f), s[i]);
    y = S::ffma(power[i], S::fset(0.693359375f), y);
    y = S::where_greater(top, x[i], y, x[i]);                          // infinity, NaN
    y = S::where_greater(zero, x[i], S::fset(__builtin_nanf("")), y);  // below 0
    x[i] = S::where_greater(x[i], zero, y,
                            S::where_greater(zero, x[i], y, S::where_number(x[i], S::fset(-__builtin_inff()), y)));
  }
}

template <class S, int N>
[[gnu::always_inline]] inline void float_sigmoid(typename S::F32 (&x)[N]) {
  const typename S::F32 one = S::fset(1.0f);
  for (int i = 0; i < N; ++i) x[i] = S::fmul(x[i], S::fset(-1.0f));
  float_exp<S, N>(x);
  for (int i = 0; i < N; ++i) x[i] = S::fdiv(one, S::fadd(one, x[i]));
}

template <class S>
[[gnu::always_inline]] inline typename S::F32 magnitude(typename S::F32 x) {
  return S::fmax(x, S::fsub(S::fset(0.0f), x));
}

template <class S, int N>
[[gnu::always_inline]] inline void float_tanh(typename S::F32 (&x)[N]) {
  using F32 = typename S::F32;
  constexpr float kTerms[] = {-5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f,
                              -3.33332819422e-1f};
  const F32 zero = S::fset(0.0f), one = S::fset(1.0f), two = S::fset(2.0f);
  F32 square[N], p[N], e[N];
  for (int i = 0; i < N; ++i) square[i] = S::fmul(x[i], x[i]);
  horner<S, N>(kTerms, square, p);
  for (int i = 0; i < N; ++i) e[i] = S::fmul(magnitude<S>(x[i]), two);
  float_exp<S, N>(e);
  for (int i = 0; i < N; ++i) {
    const F32 low = S::ffma(S::fmul(x[i], square[i]), p[i], x[i]);
    const F32 high = S::fsub(one, S::fdiv(two, S::fadd(e[i], one)));
    const F32 y = S::where_greater(zero, x[i], S::fsub(zero, high), high);
    x[i] = S::where_greater(magnitude<S>(x[i]), S::fset(0.625f), y, low);
  }
}

template <class S, int N>
[[gnu::always_inline]] inline void float_erf(typename S::F32 (&x)[N]) {
  using F32 = typename S::F32;
  constexpr float kLow[] = {-5.96761703e-4f, 4.99119423e-3f,  -2.67681349e-2f,
                            1.12819925e-1f,  -3.76125336e-1f, 1.28379166e-1f};
  constexpr float kHigh[] = {-1.06777877e-1f, -6.34846687e-1f, -1.28717512e-1f};
  const F32 zero = S::fset(0.0f), one = S::fset(1.0f);
  F32 t[N], low[N], e[N], square[N];
  for (int i = 0; i < N; ++i) {
    t[i] = S::fmin(magnitude<S>(x[i]), S::fset(4.0f));  // erf(4) is 1 in float32
    square[i] = S::fmul(t[i], t[i]);
  }
  horner<S, N>(kLow, square, low);
  for (int i = 0; i < N; ++i) {
    low[i] = S::ffma(low[i], x[i], x[i]);
    const F32 upper = S::ffma(S::fset(-1.72853470e-5f), t[i], S::fset(3.83197126e-4f));
    const F32 lower = S::ffma(S::fset(-3.88396438e-3f), t[i], S::fset(2.42546219e-2f));
    F32 r = S::ffma(upper, square[i], lower);
    for (float c : kHigh) r = S::ffma(r, t[i], S::fset(c));
    e[i] = S::ffma(r, t[i], S::fsub(zero, t[i]));
  }
  float_exp<S, N>(e);
  for (int i = 0; i < N; ++i) {
    const F32 high = S::fsub(one, e[i]);
    const F32 y = S::where_greater(zero, x[i], S::fsub(zero, high), high);
    const F32 at = S::where_greater(magnitude<S>(x[i]), S::fset(0.927734375f), y, low[i]);
    x[i] = S::where_number(x[i], at, x[i]);
  }
}

}  // namespace octensor::kernels
