// exp, sigmoid, tanh and the gates of recurrent cells in float32, with one order of operations and no
// fused multiply-add, so that they give the same bits on every instruction set. Arguments are numbers: the
// callers refuse NaN.
//
//   exp      n = round(x / ln 2), r = x - n ln2_hi - n ln2_lo, |r| <= ln(2) / 2;
//            2^n (1 + r + r^2 p(r)), p of degree 5 (the minimax coefficients of Cephes' expf), x clamped
//            to [-87, 88]; relative error below 2e-7
//   sigmoid  1 / (1 + exp(-x))
//   tanh     2 sigmoid(2 x) - 1; absolute error below 2e-7
#pragma once
#include <cstdint>

namespace octensor {
enum class Curve : uint8_t { exp, sigmoid, tanh };
}

namespace octensor::kernels {

template <class S>
[[gnu::always_inline]] inline typename S::F32 exp_vector(typename S::F32 x) {
  using F32 = typename S::F32;
  const F32 number = S::fmin(S::fmax(x, S::fset(-87.0f)), S::fset(88.0f));
  const typename S::I32 n = S::round(S::fmul(number, S::fset(1.44269504f)));
  const F32 nf = S::to_float(n);
  const F32 r = S::fadd(S::fadd(number, S::fmul(nf, S::fset(-0.693359375f))), S::fmul(nf, S::fset(2.12194440e-4f)));
  F32 p = S::fset(1.9875691500e-4f);
  constexpr float kTerms[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
  for (float c : kTerms) p = S::fadd(S::fmul(p, r), S::fset(c));
  const F32 y = S::fadd(S::fadd(S::fmul(S::fmul(r, r), p), r), S::fset(1.0f));
  return S::fmul(y, S::pow2(n));
}

template <class S>
[[gnu::always_inline]] inline typename S::F32 sigmoid_vector(typename S::F32 x) {
  const typename S::F32 one = S::fset(1.0f);
  return S::fdiv(one, S::fadd(one, exp_vector<S>(S::fmul(x, S::fset(-1.0f)))));
}

template <class S>
[[gnu::always_inline]] inline typename S::F32 tanh_vector(typename S::F32 x) {
  const typename S::F32 two = S::fset(2.0f);
  return S::fadd(S::fmul(two, sigmoid_vector<S>(S::fmul(two, x))), S::fset(-1.0f));
}

// body(pointers..., i) for whole vectors, then once more for the tail through copies of kLanes elements.
template <class S, int Inputs, int Outputs, class F>
[[gnu::always_inline]] inline void for_vectors(int64_t n, const float* const (&in)[Inputs],
                                               float* const (&out)[Outputs], F body) {
  constexpr int kLanes = S::kLanes;
  typename S::F32 x[Inputs], y[Outputs];
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < Inputs; ++k) x[k] = S::fload(in[k] + i);
    body(x, y);
    for (int k = 0; k < Outputs; ++k) S::fstore(out[k] + i, y[k]);
  }
  if (i == n) return;
  float tail[kLanes];
  for (int k = 0; k < Inputs; ++k) {
    for (int t = 0; t < kLanes; ++t) tail[t] = i + t < n ? in[k][i + t] : 0.0f;
    x[k] = S::fload(tail);
  }
  body(x, y);
  for (int k = 0; k < Outputs; ++k) {
    S::fstore(tail, y[k]);
    for (int64_t t = i; t < n; ++t) out[k][t] = tail[t - i];
  }
}

template <class S>
void curve(Curve which, const float* x, int64_t n, float* out) {
  for_vectors<S, 1, 1>(n, {x}, {out}, [which](const typename S::F32* v, typename S::F32* y) [[gnu::always_inline]] {
    y[0] = which == Curve::exp    ? exp_vector<S>(v[0])
           : which == Curve::tanh ? tanh_vector<S>(v[0])
                                  : sigmoid_vector<S>(v[0]);
  });
}

// One LSTM step of one sequence. gates [4 * hidden] in the order i, f, g, o (before their nonlinearity):
//   c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c')
template <class S>
void lstm_cell(const float* gates, const float* c, int64_t hidden, float* h_out, float* c_out) {
  const float* g = gates;
  for_vectors<S, 5, 2>(hidden, {g, g + hidden, g + 2 * hidden, g + 3 * hidden, c}, {h_out, c_out},
                       [](const typename S::F32* x, typename S::F32* y) [[gnu::always_inline]] {
                         y[1] = S::fadd(S::fmul(sigmoid_vector<S>(x[1]), x[4]),
                                        S::fmul(sigmoid_vector<S>(x[0]), tanh_vector<S>(x[2])));
                         y[0] = S::fmul(sigmoid_vector<S>(x[3]), tanh_vector<S>(y[1]));
                       });
}

// One GRU step. gi, gh [3 * hidden]: the input's and the hidden state's parts of r, z, n:
//   n = tanh(gi_n + sigmoid(gi_r + gh_r) gh_n),  h' = n + sigmoid(gi_z + gh_z) (h - n)
template <class S>
void gru_cell(const float* gi, const float* gh, const float* h, int64_t hidden, float* h_out) {
  for_vectors<S, 7, 1>(hidden, {gi, gi + hidden, gi + 2 * hidden, gh, gh + hidden, gh + 2 * hidden, h}, {h_out},
                       [](const typename S::F32* x, typename S::F32* y) [[gnu::always_inline]] {
                         const typename S::F32 r = sigmoid_vector<S>(S::fadd(x[0], x[3])),
                                               z = sigmoid_vector<S>(S::fadd(x[1], x[4]));
                         const typename S::F32 n = tanh_vector<S>(S::fadd(x[2], S::fmul(r, x[5])));
                         y[0] = S::fadd(n, S::fmul(z, S::fadd(x[6], S::fmul(n, S::fset(-1.0f)))));
                       });
}

}  // namespace octensor::kernels
