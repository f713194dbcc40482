// exp, sigmoid and tanh in float32, with one order of operations and no fused multiply-add, so that they give the same
// bits on every instruction set. Arguments are numbers: the callers refuse NaN.
//
//   exp      n = round(x / ln 2), r = x - n ln2_hi - n ln2_lo, |r| <= ln(2) / 2;
//            2^n (1 + r + r^2 p(r)), p of degree 5 (the minimax coefficients of Cephes' expf), x clamped
//            to [-87, 88]; relative error below 2e-7
//   sigmoid  1 / (1 + exp(-x))
//   tanh     2 sigmoid(2 x) - 1; absolute error below 2e-7
//
// Each is one chain of some 25 dependent operations, and a core's schedulers see four or five chains ahead at best:
// the functions take N vectors and step through them together, which keeps the multiply ports busy. Bound of a sigmoid
// on those ports: 13 multiplications, minimum and maximum, and the division, about 12 cycles on two ports.
#pragma once
#include <cstdint>

namespace octensor {
enum class Curve : uint8_t { exp, sigmoid, tanh };
}

namespace octensor::kernels {

// x <- f(x) for N vectors.
template <class S, int N>
[[gnu::always_inline]] inline void exp_vectors(typename S::F32 (&x)[N]) {
  using F32 = typename S::F32;
  constexpr float kTerms[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
  typename S::I32 n[N];
  F32 r[N], p[N];
  for (int i = 0; i < N; ++i) x[i] = S::fmin(S::fmax(x[i], S::fset(-87.0f)), S::fset(88.0f));
  for (int i = 0; i < N; ++i) n[i] = S::round(S::fmul(x[i], S::fset(1.44269504f)));
  for (int i = 0; i < N; ++i) {
    const F32 nf = S::to_float(n[i]);
    r[i] = S::fadd(S::fadd(x[i], S::fmul(nf, S::fset(-0.693359375f))), S::fmul(nf, S::fset(2.12194440e-4f)));
    p[i] = S::fset(1.9875691500e-4f);
  }
  for (float c : kTerms)
    for (int i = 0; i < N; ++i) p[i] = S::fadd(S::fmul(p[i], r[i]), S::fset(c));
  for (int i = 0; i < N; ++i) p[i] = S::fadd(S::fadd(S::fmul(S::fmul(r[i], r[i]), p[i]), r[i]), S::fset(1.0f));
  for (int i = 0; i < N; ++i) x[i] = S::fmul(p[i], S::pow2(n[i]));
}

template <class S, int N>
[[gnu::always_inline]] inline void sigmoid_vectors(typename S::F32 (&x)[N]) {
  const typename S::F32 one = S::fset(1.0f);
  for (int i = 0; i < N; ++i) x[i] = S::fmul(x[i], S::fset(-1.0f));
  exp_vectors<S, N>(x);
  for (int i = 0; i < N; ++i) x[i] = S::fdiv(one, S::fadd(one, x[i]));
}

template <class S, int N>
[[gnu::always_inline]] inline void tanh_vectors(typename S::F32 (&x)[N]) {
  const typename S::F32 two = S::fset(2.0f);
  for (int i = 0; i < N; ++i) x[i] = S::fmul(two, x[i]);
  sigmoid_vectors<S, N>(x);
  for (int i = 0; i < N; ++i) x[i] = S::fadd(S::fmul(two, x[i]), S::fset(-1.0f));
}

// Step::run<N>(in, out, i) takes elements [i, i + N kLanes) of every run: four vectors at a time, then one, then the
// tail through copies of kLanes elements. Outputs may be inputs.
template <class S, class Step, int Inputs, int Outputs>
[[gnu::always_inline]] inline void for_vectors(int64_t n, const float* const (&in)[Inputs],
                                               float* const (&out)[Outputs]) {
  constexpr int kLanes = S::kLanes;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) Step::template run<4>(in, out, i);
  for (; i + kLanes <= n; i += kLanes) Step::template run<1>(in, out, i);
  if (i == n) return;
  float copies[Inputs + Outputs][kLanes] = {};
  const float* from[Inputs];
  float* to[Outputs];
  for (int k = 0; k < Inputs; ++k) {
    from[k] = copies[k];
    for (int64_t t = i; t < n; ++t) copies[k][t - i] = in[k][t];
  }
  for (int k = 0; k < Outputs; ++k) to[k] = copies[Inputs + k];
  Step::template run<1>(from, to, 0);
  for (int k = 0; k < Outputs; ++k)
    for (int64_t t = i; t < n; ++t) out[k][t] = to[k][t - i];
}

// N vectors of a run from element i on.
template <class S, int N>
struct Vectors {
  typename S::F32 v[N];
  [[gnu::always_inline]] Vectors(const float* p, int64_t i) {
    for (int k = 0; k < N; ++k) v[k] = S::fload(p + i + k * S::kLanes);
  }
  [[gnu::always_inline]] void store(float* p, int64_t i) const {
    for (int k = 0; k < N; ++k) S::fstore(p + i + k * S::kLanes, v[k]);
  }
};

template <class S, Curve kCurve>
struct CurveStep {
  template <int N>
  [[gnu::always_inline]] static void run(const float* const (&in)[1], float* const (&out)[1], int64_t i) {
    Vectors<S, N> x(in[0], i);
    if constexpr (kCurve == Curve::exp) exp_vectors<S, N>(x.v);
    if constexpr (kCurve == Curve::sigmoid) sigmoid_vectors<S, N>(x.v);
    if constexpr (kCurve == Curve::tanh) tanh_vectors<S, N>(x.v);
    x.store(out[0], i);
  }
};

template <class S>
void curve(Curve which, const float* x, int64_t n, float* out) {
  which == Curve::exp       ? for_vectors<S, CurveStep<S, Curve::exp>, 1, 1>(n, {x}, {out})
  : which == Curve::sigmoid ? for_vectors<S, CurveStep<S, Curve::sigmoid>, 1, 1>(n, {x}, {out})
                            : for_vectors<S, CurveStep<S, Curve::tanh>, 1, 1>(n, {x}, {out});
}

}  // namespace octensor::kernels
