// Element-wise float ops: a function of one number (with up to three parameters) and arithmetic on two, each operation
// rounded once in the order written. A NaN result is the quiet one without sign and payload.
//
//   relu          x > 0 ? x : 0                      clamp         min(max(x, a), b), -0 as 0
//   leaky_relu    x > 0 ? x : x * a                  hardsigmoid   min(max(x + 3, 0), 6) / 6
//   hardswish     (x * min(max(x + 3, 0), 6)) / 6    silu          x * sigmoid(x)
//   gelu          x * (0.5 * (1 + erf(x * f32(1 / sqrt 2))))
//   gelu_tanh     (x * 0.5) * (1 + tanh(f32(sqrt(2 / pi)) * fma(f32(0.044715) * (x * x), x, x)))
//   elu           x > 0 ? x * b : expm1(min(x, 0) * c) * f32(a * b)
//   softplus      t = x * a;  t > b ? x : (max(t, 0) + log1p(exp(-|t|))) / a
//   mish          x * tanh(softplus(x)), a = 1, b = 20
//
// Bound: the functions' multiplications; for the rest memory.
#pragma once
#include "kernels/float_curves.h"
#include "kernels/float_gemm.h"

namespace octensor {

enum class FloatUnary : uint8_t {
  exp,
  log,
  sqrt,
  erf,
  sigmoid,
  tanh,
  relu,
  clamp,
  leaky_relu,
  hardsigmoid,
  hardswish,
  silu,
  gelu,
  gelu_tanh,
  elu,
  softplus,
  mish
};
enum class FloatBinary : uint8_t { add, sub, mul, div };

struct FloatParameters {
  float a = 0.0f, b = 0.0f, c = 0.0f;
};

// out[i] = a[i * a_step] . b[i * b_step], steps 0 or 1; `out` may be an operand whose step is 1.
struct FloatBinaryArgs {
  FloatBinary op;
  bool relu;
  const float *a, *b;
  int64_t a_step, b_step, n;
  float* out;
};

// rows of `channels`: out = x * scale + shift, two roundings, then with relu at least 0.
struct FloatAffineArgs {
  const float* x;
  int64_t rows, channels;
  const float *scale, *shift;
  bool relu;
  float* out;
};

}  // namespace octensor

namespace octensor::kernels {

template <class S, FloatUnary kOp, int N>
[[gnu::always_inline]] inline void float_function(typename S::F32 (&x)[N], const FloatParameters& p) {
  using F32 = typename S::F32;
  const F32 zero = S::fset(0.0f), one = S::fset(1.0f), half = S::fset(0.5f);
  const F32 a = S::fset(p.a), b = S::fset(p.b), c = S::fset(p.c);
  F32 y[N];
  for (int i = 0; i < N; ++i) y[i] = x[i];
  const auto each = [&](auto f) [[gnu::always_inline]] {
    for (int i = 0; i < N; ++i) y[i] = f(x[i], y[i]);
  };
  if constexpr (kOp == FloatUnary::exp) float_exp<S, N>(y);
  if constexpr (kOp == FloatUnary::log) float_log<S, N>(y);
  if constexpr (kOp == FloatUnary::sqrt) each([&](F32 t, F32) { return S::fsqrt(t); });
  if constexpr (kOp == FloatUnary::erf) float_erf<S, N>(y);
  if constexpr (kOp == FloatUnary::sigmoid) float_sigmoid<S, N>(y);
  if constexpr (kOp == FloatUnary::tanh) float_tanh<S, N>(y);
  if constexpr (kOp == FloatUnary::relu) each([&](F32 t, F32) { return at_least_zero<S>(t); });
  if constexpr (kOp == FloatUnary::clamp)
    each([&](F32 t, F32) { return S::where_number(t, S::fadd(S::fmin(S::fmax(t, a), b), zero), t); });
  if constexpr (kOp == FloatUnary::leaky_relu)
    each([&](F32 t, F32) { return S::where_greater(t, zero, t, S::fmul(t, a)); });
  if constexpr (kOp == FloatUnary::hardsigmoid || kOp == FloatUnary::hardswish)
    each([&](F32 t, F32) {
      const F32 six = S::fset(6.0f), gate = S::fmin(S::fmax(S::fadd(t, S::fset(3.0f)), zero), six);
      return S::where_number(t, S::fdiv(kOp == FloatUnary::hardswish ? S::fmul(t, gate) : gate, six), t);
    });
  if constexpr (kOp == FloatUnary::silu) {
    float_sigmoid<S, N>(y);
    each([&](F32 t, F32 s) { return S::fmul(t, s); });
  }
  if constexpr (kOp == FloatUnary::gelu) {
    each([&](F32 t, F32) { return S::fmul(t, S::fset(0.70710678f)); });
    float_erf<S, N>(y);
    each([&](F32 t, F32 e) { return S::fmul(t, S::fmul(half, S::fadd(one, e))); });
  }
  if constexpr (kOp == FloatUnary::gelu_tanh) {
    each([&](F32 t, F32) {
      const F32 cubic = S::fmul(S::fset(0.044715f), S::fmul(t, t));
      return S::fmul(S::fset(0.79788456f), S::ffma(cubic, t, t));
    });
    float_tanh<S, N>(y);
    each([&](F32 t, F32 h) { return S::fmul(S::fmul(t, half), S::fadd(one, h)); });
  }
  if constexpr (kOp == FloatUnary::elu) {
    const F32 low = S::fset(p.a * p.b);
    each([&](F32 t, F32) { return S::fmul(S::where_greater(t, zero, zero, t), c); });
    float_expm1<S, N>(y);
    each([&](F32 t, F32 e) { return S::where_greater(t, zero, S::fmul(t, b), S::fmul(e, low)); });
  }
  if constexpr (kOp == FloatUnary::softplus || kOp == FloatUnary::mish) {
    constexpr bool kMish = kOp == FloatUnary::mish;
    const F32 rate = kMish ? one : a, limit = kMish ? S::fset(20.0f) : b;
    each([&](F32 t, F32) { return S::fsub(zero, magnitude<S>(S::fmul(t, rate))); });
    float_exp<S, N>(y);
    float_log1p<S, N>(y);
    each([&](F32 t, F32 e) {
      const F32 at = S::fmul(t, rate), sum = S::fadd(S::fmax(at, zero), e);
      return S::where_greater(at, limit, t, S::fdiv(sum, rate));
    });
    if constexpr (kMish) {
      float_tanh<S, N>(y);
      each([&](F32 t, F32 h) { return S::fmul(t, h); });
    }
  }
  for (int i = 0; i < N; ++i) x[i] = plain_nan<S>(S::where_number(x[i], y[i], x[i]));
}

template <class S, FloatUnary kOp>
void float_unary_of(const float* x, int64_t n, const FloatParameters& p, float* out) {
  constexpr int kLanes = S::kLanes, kMany = 4;
  int64_t i = 0;
  for (; i + kMany * kLanes <= n; i += kMany * kLanes) {
    Vectors<S, kMany> v(x, i);
    float_function<S, kOp, kMany>(v.v, p);
    v.store(out, i);
  }
  for (; i < n; i += kLanes) {
    float part[kLanes] = {};
    const bool whole = i + kLanes <= n;
    if (!whole)
      for (int64_t t = i; t < n; ++t) part[t - i] = x[t];
    Vectors<S, 1> v(whole ? x + i : part, 0);
    float_function<S, kOp, 1>(v.v, p);
    v.store(whole ? out + i : part, 0);
    if (!whole)
      for (int64_t t = i; t < n; ++t) out[t] = part[t - i];
  }
}

template <class S>
void float_unary(FloatUnary op, const float* x, int64_t n, const FloatParameters& p, float* out) {
  using enum FloatUnary;
  switch (op) {
    case exp:
      return float_unary_of<S, exp>(x, n, p, out);
    case log:
      return float_unary_of<S, log>(x, n, p, out);
    case sqrt:
      return float_unary_of<S, sqrt>(x, n, p, out);
    case erf:
      return float_unary_of<S, erf>(x, n, p, out);
    case sigmoid:
      return float_unary_of<S, sigmoid>(x, n, p, out);
    case tanh:
      return float_unary_of<S, tanh>(x, n, p, out);
    case relu:
      return float_unary_of<S, relu>(x, n, p, out);
    case clamp:
      return float_unary_of<S, clamp>(x, n, p, out);
    case leaky_relu:
      return float_unary_of<S, leaky_relu>(x, n, p, out);
    case hardsigmoid:
      return float_unary_of<S, hardsigmoid>(x, n, p, out);
    case hardswish:
      return float_unary_of<S, hardswish>(x, n, p, out);
    case silu:
      return float_unary_of<S, silu>(x, n, p, out);
    case gelu:
      return float_unary_of<S, gelu>(x, n, p, out);
    case gelu_tanh:
      return float_unary_of<S, gelu_tanh>(x, n, p, out);
    case elu:
      return float_unary_of<S, elu>(x, n, p, out);
    case softplus:
      return float_unary_of<S, softplus>(x, n, p, out);
    case mish:
      return float_unary_of<S, mish>(x, n, p, out);
  }
}

template <class S, FloatBinary kOp>
[[gnu::always_inline]] inline typename S::F32 float_arithmetic(typename S::F32 x, typename S::F32 y, bool relu) {
  typename S::F32 z = kOp == FloatBinary::add   ? S::fadd(x, y)
                      : kOp == FloatBinary::sub ? S::fsub(x, y)
                      : kOp == FloatBinary::mul ? S::fmul(x, y)
                                                : S::fdiv(x, y);
  if (relu) z = at_least_zero<S>(z);
  return plain_nan<S>(z);
}

template <class S, FloatBinary kOp>
void float_binary_of(const FloatBinaryArgs& g) {
  constexpr int kLanes = S::kLanes;
  const typename S::F32 a = S::fset(g.n ? *g.a : 0.0f), b = S::fset(g.n ? *g.b : 0.0f);
  int64_t i = 0;
  for (; i + kLanes <= g.n; i += kLanes)
    S::fstore(g.out + i,
              float_arithmetic<S, kOp>(g.a_step ? S::fload(g.a + i) : a, g.b_step ? S::fload(g.b + i) : b, g.relu));
  if (i == g.n) return;
  float x[kLanes] = {}, y[kLanes] = {};
  for (int64_t t = i; t < g.n; ++t) x[t - i] = g.a[t * g.a_step], y[t - i] = g.b[t * g.b_step];
  S::fstore(x, float_arithmetic<S, kOp>(S::fload(x), S::fload(y), g.relu));
  for (int64_t t = i; t < g.n; ++t) g.out[t] = x[t - i];
}

template <class S>
void float_binary(const FloatBinaryArgs& g) {
  using enum FloatBinary;
  g.op == add   ? float_binary_of<S, add>(g)
  : g.op == sub ? float_binary_of<S, sub>(g)
  : g.op == mul ? float_binary_of<S, mul>(g)
                : float_binary_of<S, div>(g);
}

template <class S>
void float_affine(const FloatAffineArgs& g) {
  constexpr int kLanes = S::kLanes;
  const auto one = [&](typename S::F32 x, typename S::F32 scale, typename S::F32 shift) [[gnu::always_inline]] {
    const typename S::F32 y = S::fadd(S::fmul(x, scale), shift);
    return plain_nan<S>(g.relu ? at_least_zero<S>(y) : y);
  };
  for (int64_t row = 0; row < g.rows; ++row) {
    const float* x = g.x + row * g.channels;
    float* out = g.out + row * g.channels;
    int64_t c = 0;
    for (; c + kLanes <= g.channels; c += kLanes)
      S::fstore(out + c, one(S::fload(x + c), S::fload(g.scale + c), S::fload(g.shift + c)));
    if (c == g.channels) continue;
    float part[kLanes] = {}, scale[kLanes] = {}, shift[kLanes] = {};
    for (int64_t t = c; t < g.channels; ++t) part[t - c] = x[t], scale[t - c] = g.scale[t], shift[t - c] = g.shift[t];
    S::fstore(part, one(S::fload(part), S::fload(scale), S::fload(shift)));
    for (int64_t t = c; t < g.channels; ++t) out[t] = part[t - c];
  }
}

}  // namespace octensor::kernels
