// Reductions of rows of floats, and the ops made of them: softmax and its logarithm, norms, sums.
//
// A sum has 32 lanes whatever the vectors' width: element i goes to lane i mod 32. Lanes are added up for blocks of
// 2,048 elements, from 0; a block's lanes are added to totals, from 0; then lane l to lane l + 16, to lane l + 8, ... +
// 1:
// ((l0 + l16) + (l8 + l24)) + ... A row's last elements are followed by zeros up to 32.
//
//   softmax       m = the largest, e[i] = exp(x[i] - m), y = e[i] * (1 / sum e)
//   log_softmax   (x[i] - m) - log(sum e)
//   norm          c = x - mean, mean = sum x / n;  v = sum of fma(c, c, .) / n;  t = c * (1 / sqrt(v + eps));
//                 y = fma(t, weight, bias), t * weight or t + bias where one is missing; rms norm has c = x
//
// each operation rounded once; a NaN result is the quiet one without sign and payload. Bound: exp's multiplications, or
// three passes over a row that lies in the L1 cache. `out` may be `x`.
#pragma once
#include "kernels/float_curves.h"
#include "kernels/float_gemm.h"

namespace octensor {

struct FloatNormArgs {
  const float* x;
  int64_t n;
  float eps;
  bool centre;                 // false: rms norm
  const float *weight, *bias;  // or null
  int64_t run;                 // elements that share an entry of them: 1, or a channel's of a group norm
  float* out;
};

}  // namespace octensor

namespace octensor::kernels {

inline constexpr int kRowLanes = 32;

inline constexpr int64_t kRowBlock = 64 * kRowLanes;

// The lanes of a sum.
template <class S>
struct RowSum {
  using F32 = typename S::F32;
  static constexpr int kLanes = S::kLanes, kVectors = kRowLanes / kLanes;
  F32 total[kVectors];

  [[gnu::always_inline]] RowSum() {
    for (F32& t : total) t = S::fset(0.0f);
  }
  // The next block, of at most kRowBlock elements: lane = term(lane, x).
  template <class Term>
  [[gnu::always_inline]] void add(const float* x, int64_t n, Term term) {
    F32 lanes[kVectors];
    for (F32& t : lanes) t = S::fset(0.0f);
    int64_t i = 0;
    for (; i + kRowLanes <= n; i += kRowLanes)
      for (int v = 0; v < kVectors; ++v) lanes[v] = term(lanes[v], S::fload(x + i + v * kLanes));
    if (i < n) {
      float part[kRowLanes] = {};
      for (int64_t t = i; t < n; ++t) part[t - i] = x[t];
      for (int v = 0; v < kVectors; ++v) lanes[v] = term(lanes[v], S::fload(part + v * kLanes));
    }
    for (int v = 0; v < kVectors; ++v) total[v] = S::fadd(total[v], lanes[v]);
  }
  [[gnu::always_inline]] float value() const {
    float lanes[kLanes];
    F32 sums[kVectors];
    for (int v = 0; v < kVectors; ++v) sums[v] = total[v];
    for (int half = kVectors / 2; half > 0; half /= 2)
      for (int v = 0; v < half; ++v) sums[v] = S::fadd(sums[v], sums[v + half]);
    S::fstore(lanes, sums[0]);
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
  }
};

template <class S, class Term>
[[gnu::always_inline]] inline float float_row_sum(const float* x, int64_t n, Term term) {
  RowSum<S> sum;
  for (int64_t i = 0; i < n; i += kRowBlock) sum.add(x + i, n - i < kRowBlock ? n - i : kRowBlock, term);
  return sum.value();
}

template <class S>
float float_sum(const float* x, int64_t n) {
  return float_row_sum<S>(x, n, [](typename S::F32 sum, typename S::F32 x) { return S::fadd(sum, x); });
}

template <class S>
float float_squares(const float* x, int64_t n) {
  return float_row_sum<S>(x, n, [](typename S::F32 sum, typename S::F32 x) { return S::ffma(x, x, sum); });
}

// The largest; where there is a NaN, any of the elements.
template <class S>
float float_largest(const float* x, int64_t n) {
  constexpr int kLanes = S::kLanes;
  constexpr float kNone = -__builtin_inff();
  typename S::F32 a = S::fset(kNone), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = S::fmax(a, S::fload(x + i)), b = S::fmax(b, S::fload(x + i + kLanes));
    c = S::fmax(c, S::fload(x + i + 2 * kLanes)), d = S::fmax(d, S::fload(x + i + 3 * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) a = S::fmax(a, S::fload(x + i));
  float lanes[kLanes], largest = kNone;
  S::fstore(lanes, S::fmax(S::fmax(a, b), S::fmax(c, d)));
  for (float lane : lanes) largest = lane > largest ? lane : largest;
  for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// out[i] = f(vectors of x) for a row; f takes FloatVectors<S, N> and the index.
template <class S, class F>
[[gnu::always_inline]] inline void float_row_map(const float* x, int64_t n, float* out, F f) {
  constexpr int kLanes = S::kLanes, kMany = 4;
  int64_t i = 0;
  for (; i + kMany * kLanes <= n; i += kMany * kLanes) {
    Vectors<S, kMany> v(x, i);
    f(v.v);
    v.store(out, i);
  }
  for (; i + kLanes <= n; i += kLanes) {
    Vectors<S, 1> v(x, i);
    f(v.v);
    v.store(out, i);
  }
  if (i == n) return;
  float part[kLanes] = {};
  for (int64_t t = i; t < n; ++t) part[t - i] = x[t];
  Vectors<S, 1> v(part, 0);
  f(v.v);
  v.store(part, 0);
  for (int64_t t = i; t < n; ++t) out[t] = part[t - i];
}

template <class S>
void float_softmax(const float* x, int64_t n, bool log, float* out) {
  using F32 = typename S::F32;
  if (n == 0) return;
  const F32 largest = S::fset(float_largest<S>(x, n));
  const auto shift_exp = [&]<int N>(F32(&v)[N]) [[gnu::always_inline]] {
    for (int i = 0; i < N; ++i) v[i] = S::fsub(v[i], largest);
    float_exp<S, N>(v);
  };
  if (!log) {
    float_row_map<S>(x, n, out, shift_exp);
    const F32 inverse = S::fset(1.0f / float_sum<S>(out, n));
    return float_row_map<S>(out, n, out, [&]<int N>(F32(&v)[N]) [[gnu::always_inline]] {
      for (int i = 0; i < N; ++i) v[i] = plain_nan<S>(S::fmul(v[i], inverse));
    });
  }
  float e[kRowBlock];  // the exponentials are only summed
  RowSum<S> total;
  for (int64_t i = 0; i < n; i += kRowBlock) {
    const int64_t some = n - i < kRowBlock ? n - i : kRowBlock;
    float_row_map<S>(x + i, some, e, shift_exp);
    total.add(e, some, [](F32 sum, F32 x) { return S::fadd(sum, x); });
  }
  F32 sum[1] = {S::fset(total.value())};
  float_log<S, 1>(sum);
  float_row_map<S>(x, n, out, [&]<int N>(F32(&v)[N]) [[gnu::always_inline]] {
    for (int i = 0; i < N; ++i) v[i] = plain_nan<S>(S::fsub(S::fsub(v[i], largest), sum[0]));
  });
}

template <class S>
void float_norm(const FloatNormArgs& g) {
  using F32 = typename S::F32;
  const float count = static_cast<float>(g.n);
  const float* c = g.x;
  if (g.centre) {
    const F32 mean = S::fset(float_sum<S>(g.x, g.n) / count);
    float_row_map<S>(g.x, g.n, g.out, [&]<int N>(F32(&v)[N]) [[gnu::always_inline]] {
      for (int i = 0; i < N; ++i) v[i] = S::fsub(v[i], mean);
    });
    c = g.out;
  }
  const float inverse = 1.0f / __builtin_sqrtf(float_squares<S>(c, g.n) / count + g.eps);
  const auto finish = [&](F32 t, const F32* weight, const F32* bias) [[gnu::always_inline]] {
    t = S::fmul(t, S::fset(inverse));
    return plain_nan<S>(weight && bias ? S::ffma(t, *weight, *bias)
                        : weight       ? S::fmul(t, *weight)
                        : bias         ? S::fadd(t, *bias)
                                       : t);
  };
  if (g.run != 1 || (!g.weight && !g.bias)) {
    const int64_t run = g.run != 1 ? g.run : g.n;
    for (int64_t first = 0, k = 0; first < g.n; first += run, ++k) {
      const F32 weight = S::fset(g.weight ? g.weight[k] : 0.0f), bias = S::fset(g.bias ? g.bias[k] : 0.0f);
      float_row_map<S>(c + first, run, g.out + first, [&]<int N>(F32(&v)[N]) [[gnu::always_inline]] {
        for (int i = 0; i < N; ++i) v[i] = finish(v[i], g.weight ? &weight : nullptr, g.bias ? &bias : nullptr);
      });
    }
    return;
  }
  constexpr int kLanes = S::kLanes;
  int64_t i = 0;
  for (; i + kLanes <= g.n; i += kLanes) {
    const F32 weight = g.weight ? S::fload(g.weight + i) : S::fset(0.0f);
    const F32 bias = g.bias ? S::fload(g.bias + i) : S::fset(0.0f);
    S::fstore(g.out + i, finish(S::fload(c + i), g.weight ? &weight : nullptr, g.bias ? &bias : nullptr));
  }
  if (i == g.n) return;
  float part[kLanes] = {}, weights[kLanes] = {}, biases[kLanes] = {};
  for (int64_t t = i; t < g.n; ++t) {
    part[t - i] = c[t];
    if (g.weight) weights[t - i] = g.weight[t];
    if (g.bias) biases[t - i] = g.bias[t];
  }
  const F32 weight = S::fload(weights), bias = S::fload(biases);
  S::fstore(part, finish(S::fload(part), g.weight ? &weight : nullptr, g.bias ? &bias : nullptr));
  for (int64_t t = i; t < g.n; ++t) g.out[t] = part[t - i];
}

}  // namespace octensor::kernels
