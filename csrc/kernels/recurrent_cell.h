// One step of a recurrent cell for one sequence, in place: the same bits on every instruction set (transcendental.h).
//
// From the input's part gi and the hidden state's part gh of the gates, [gates * hidden] each, and the state h, c:
//   lstm (i, f, g, o)  c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c')     i ... o of gi + gh
//   gru (r, z, n)      n = tanh(gi_n + sigmoid(gi_r + gh_r) gh_n),  h' = n + sigmoid(gi_z + gh_z) (h - n)
//   rnn                h' = tanh(gi + gh), or max(gi + gh, 0)
//
// Bound: the five (three, one) curves; everything is in the L1 cache.
#pragma once
#include "kernels/transcendental.h"

namespace octensor {
enum class RecurrentCell : uint8_t { lstm, gru, rnn_tanh, rnn_relu };
}

namespace octensor::kernels {

// x + y of two runs.
template <class S, int N>
struct Sums : Vectors<S, N> {
  [[gnu::always_inline]] Sums(const float* x, const float* y, int64_t i) : Vectors<S, N>(x, i) {
    for (int k = 0; k < N; ++k) this->v[k] = S::fadd(this->v[k], S::fload(y + i + k * S::kLanes));
  }
};

template <class S>
struct LstmStep {  // in: gi of i, f, g, o, then gh, then c; out: h, c
  template <int N>
  [[gnu::always_inline]] static void run(const float* const (&in)[9], float* const (&out)[2], int64_t i) {
    Sums<S, N> forget(in[1], in[5], i);
    sigmoid_vectors<S, N>(forget.v);
    Vectors<S, N> c(in[8], i);
    for (int k = 0; k < N; ++k) c.v[k] = S::fmul(forget.v[k], c.v[k]);
    Sums<S, N> input(in[0], in[4], i), candidate(in[2], in[6], i);
    sigmoid_vectors<S, N>(input.v);
    tanh_vectors<S, N>(candidate.v);
    for (int k = 0; k < N; ++k) c.v[k] = S::fadd(c.v[k], S::fmul(input.v[k], candidate.v[k]));
    c.store(out[1], i);
    Sums<S, N> h(in[3], in[7], i);
    sigmoid_vectors<S, N>(h.v);
    tanh_vectors<S, N>(c.v);
    for (int k = 0; k < N; ++k) h.v[k] = S::fmul(h.v[k], c.v[k]);
    h.store(out[0], i);
  }
};

template <class S>
struct GruStep {  // in: gi of r, z, n, then gh, then h; out: h
  template <int N>
  [[gnu::always_inline]] static void run(const float* const (&in)[7], float* const (&out)[1], int64_t i) {
    Sums<S, N> reset(in[0], in[3], i), update(in[1], in[4], i);
    sigmoid_vectors<S, N>(reset.v);
    Vectors<S, N> n(in[2], i), hidden(in[5], i), h(in[6], i);
    for (int k = 0; k < N; ++k) n.v[k] = S::fadd(n.v[k], S::fmul(reset.v[k], hidden.v[k]));
    tanh_vectors<S, N>(n.v);
    sigmoid_vectors<S, N>(update.v);
    for (int k = 0; k < N; ++k)
      h.v[k] = S::fadd(n.v[k], S::fmul(update.v[k], S::fadd(h.v[k], S::fmul(n.v[k], S::fset(-1.0f)))));
    h.store(out[0], i);
  }
};

template <class S, bool kRelu>
struct RnnStep {
  template <int N>
  [[gnu::always_inline]] static void run(const float* const (&in)[2], float* const (&out)[1], int64_t i) {
    Sums<S, N> h(in[0], in[1], i);
    if constexpr (kRelu)
      for (int k = 0; k < N; ++k) h.v[k] = S::fmax(h.v[k], S::fset(0.0f));
    else
      tanh_vectors<S, N>(h.v);
    h.store(out[0], i);
  }
};

template <class S>
void recurrent_cell(RecurrentCell cell, const float* gi, const float* gh, int64_t n, float* h, float* c) {
  switch (cell) {
    case RecurrentCell::lstm:
      return for_vectors<S, LstmStep<S>, 9, 2>(
          n, {gi, gi + n, gi + 2 * n, gi + 3 * n, gh, gh + n, gh + 2 * n, gh + 3 * n, c}, {h, c});
    case RecurrentCell::gru:
      return for_vectors<S, GruStep<S>, 7, 1>(n, {gi, gi + n, gi + 2 * n, gh, gh + n, gh + 2 * n, h}, {h});
    case RecurrentCell::rnn_tanh:
      return for_vectors<S, RnnStep<S, false>, 2, 1>(n, {gi, gh}, {h});
    case RecurrentCell::rnn_relu:
      return for_vectors<S, RnnStep<S, true>, 2, 1>(n, {gi, gh}, {h});
  }
}

}  // namespace octensor::kernels
