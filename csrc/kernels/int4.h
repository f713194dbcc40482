// 8-bit activations times 4-bit weights with a scale for every group of K. With activation bytes a = code - 128 and
// their zero point z = zero point - 128, weights w and their zero points zw, and every float operation rounded once in
// the order written,
//
//   S[i][g][j] = sum over k of group g of a[i][k] * (w[k][j] - zw[g][j])                       exact, int32
//   r[i][j]    = ((0 + f32(S[i][0][j]) * s[0][j]) + f32(S[i][1][j]) * s[1][j]) + ...
//   y[i][j]    = (r[i][j] - f32(z[i]) * c[j]) * sa[i] + bias[j]
//
// where c[j] is r for activations of 1. The kernel multiplies by nibbles u = 0 ... 15; with zero points zu among these,
// S = sum a * u - zu * sum a.
//
// A block holds one group of one panel of 2 * kLanes columns, the blocks of a panel one after the other:
//
//   float s[columns]   int32 zu[columns], only where some zu is not 8   nibbles [k / 8][2 vectors][kLanes][4]
//
// A byte of the nibbles' vectors holds k % 8 = 0 ... 3 of its column in its lower half and the same k + 4 in the upper.
// K is padded to whole multiples of kInt4Chunk with activations 0.
//
// Bound: with AVX2 a multiply and an addition for 32 multiply-adds (191 GMAC/s on a Zen 4 at 3.7 GHz, where the exact
// 8-bit tile's own bound is 103), one more of each for every 32 K of a vector of columns, and for a group four
// operations besides. With few rows the weights are taken apart in registers, and reading them is the bound; with more,
// a block is taken apart once and kept in L1 for all rows.
#pragma once
#include <cstdint>

#include "kernels/elementwise.h"
#include "simd/int4.h"

namespace octensor {

inline constexpr int kInt4Chunk = 32;      // K is padded to whole multiples of this
inline constexpr int kInt4MaxGroup = 128;  // K of a group at most
inline constexpr int kInt4MaxRows = 96;

// One block of rows times a run of panels.
struct Int4Args {
  const int8_t* a;        // [groups][rows][group_size]; of a last group only its (padded) K are read
  const int32_t* terms;   // [groups][rows]: minus the sum of the group's activations, times 8 unless `zeros`
  const float* a_scale;   // [rows]
  const float* a_zero;    // [rows], as floats
  int64_t rows;           // at most kInt4MaxRows
  const uint8_t* w;       // the panels' blocks, aligned to 64 bytes
  bool zeros;             // blocks hold zero points
  int64_t k, group_size;  // k padded; a last group may be shorter
  const float* ones;      // c, [columns]
  const float* bias;      // [columns], or null
  int64_t columns;        // from w's first panel on
  bool relu;              // at least 0
  float* out;             // row stride ldo
  int64_t ldo;
};

}  // namespace octensor

namespace octensor::kernels {

// One group of one panel, as a block begins.
template <class S, bool Zeros>
struct Int4Head {
  static constexpr int kPanel = 2 * S::kLanes;
  const float* scales;
  const int32_t* zeros;
  const uint8_t* nibbles;
  explicit Int4Head(const uint8_t* block)
      : scales(reinterpret_cast<const float*>(block)),
        zeros(reinterpret_cast<const int32_t*>(block + 4 * kPanel)),
        nibbles(block + (Zeros ? 8 : 4) * kPanel) {}
  // What the v-th vector of columns adds to a sum.
  [[gnu::always_inline]] typename S::I32 correction(int v, const int32_t* term) const {
    return Zeros ? S::mul(S::load(zeros + v * S::kLanes), S::set(*term)) : S::set(*term);
  }
};

// Where a chunk's weights come from: nibbles taken apart in registers, or before.
template <class S>
struct Int4Nibbles {
  using Q = simd::Int4<S>;
  static constexpr int kVector = 4 * S::kLanes;
  const uint8_t* p;
  // The i-th pair of steps of both vectors of columns.
  [[gnu::always_inline]] void pair(int i, typename Q::Bytes (&w0)[2], typename Q::Bytes (&w1)[2]) const {
    const typename Q::Bytes x = Q::load(p + 2 * i * kVector), y = Q::load(p + (2 * i + 1) * kVector);
    w0[0] = Q::low(x), w0[1] = Q::high(x), w1[0] = Q::low(y), w1[1] = Q::high(y);
  }
  [[gnu::always_inline]] void next() { p += kInt4Chunk / 4 * kVector; }
};
template <class S>
struct Int4Bytes {
  using Q = simd::Int4<S>;
  static constexpr int kVector = 4 * S::kLanes;
  const uint8_t* p;
  [[gnu::always_inline]] void pair(int i, typename Q::Bytes (&w0)[2], typename Q::Bytes (&w1)[2]) const {
    const uint8_t* q = p + 4 * i * kVector;
    w0[0] = Q::load(q), w1[0] = Q::load(q + kVector), w0[1] = Q::load(q + 2 * kVector),
    w1[1] = Q::load(q + 3 * kVector);
  }
  [[gnu::always_inline]] void next() { p += kInt4Chunk / 2 * kVector; }
};

// R x 2 vectors of running sums as named members: GCC keeps these in registers, arrays it does not. What was drained
// from them waits in memory, which the caller provides for the same reason.
template <class S, bool Zeros, int R>
struct Int4Sums {
  using Q = simd::Int4<S>;
  using Head = Int4Head<S, Zeros>;
  static constexpr int kLanes = S::kLanes;
  typename Q::Sum c0, c1;
  const int8_t* row;
  Int4Sums<S, Zeros, R - 1> below;

  [[gnu::always_inline]] void start(const int8_t* a, int64_t lda) {
    row = a;
    below.start(a + lda, lda);
  }
  template <bool First>
  [[gnu::always_inline]] void step(int64_t k, typename Q::Bytes w0, typename Q::Bytes w1) {
    const typename Q::Bytes x = Q::quad(row + k);
    c0 = First ? Q::first(w0, x) : Q::step(c0, w0, x);
    c1 = First ? Q::first(w1, x) : Q::step(c1, w1, x);
    below.template step<First>(k, w0, w1);
  }
  // `sums` begin as the correction.
  template <bool First>
  [[gnu::always_inline]] void drain(const Head& head, const int32_t* terms, int32_t* sums) const {
    S::store(sums, Q::drain(First ? head.correction(0, terms) : S::load(sums), c0));
    S::store(sums + kLanes, Q::drain(First ? head.correction(1, terms) : S::load(sums + kLanes), c1));
    below.template drain<First>(head, terms + 1, sums + 2 * kLanes);
  }
  // reals += f32(S) * scale; First: nothing was drained before.
  template <bool First>
  [[gnu::always_inline]] void finish(const Head& head, const int32_t* terms, const int32_t* sums, float* reals) const {
    for (int v = 0; v < 2; ++v) {
      const typename S::I32 sum =
          Q::drain(First ? head.correction(v, terms) : S::load(sums + v * kLanes), v == 0 ? c0 : c1);
      const typename S::F32 part = S::fmul(S::to_float(sum), S::fload(head.scales + v * kLanes));
      S::fstore(reals + v * kLanes, S::fadd(S::fload(reals + v * kLanes), part));
    }
    below.template finish<First>(head, terms + 1, sums + 2 * kLanes, reals + 2 * kLanes);
  }
};
template <class S, bool Zeros>
struct Int4Sums<S, Zeros, 0> {
  using Q = simd::Int4<S>;
  using Head = Int4Head<S, Zeros>;
  [[gnu::always_inline]] void start(const int8_t*, int64_t) {}
  template <bool First>
  [[gnu::always_inline]] void step(int64_t, typename Q::Bytes, typename Q::Bytes) {}
  template <bool First>
  [[gnu::always_inline]] void drain(const Head&, const int32_t*, int32_t*) const {}
  template <bool First>
  [[gnu::always_inline]] void finish(const Head&, const int32_t*, const int32_t*, float*) const {}
};

// Adds kInt4Chunk of K to the running sums.
template <class S, bool First, class Sums, class Weights>
[[gnu::always_inline]] inline void int4_chunk(Sums& tile, int64_t k, Weights& w) {
  typename simd::Int4<S>::Bytes w0[2], w1[2];
  w.pair(0, w0, w1);
  tile.template step<First>(k, w0[0], w1[0]);
  tile.template step<false>(k + 4, w0[1], w1[1]);
#pragma GCC unroll 3
  for (int i = 1; i < kInt4Chunk / 8; ++i) {
    w.pair(i, w0, w1);
    tile.template step<false>(k + 8 * i, w0[0], w1[0]);
    tile.template step<false>(k + 8 * i + 4, w0[1], w1[1]);
  }
  w.next();
}

// R rows of one group of one panel, `size` (a multiple of kInt4Chunk) of K: reals[R][2 * kLanes] += f32(S) * s.
template <class S, bool Zeros, int R, class Weights>
[[gnu::always_inline]] inline void int4_tile(const int8_t* a, int64_t lda, const int32_t* terms,
                                             const Int4Head<S, Zeros>& head, Weights w, int64_t size, int32_t* sums,
                                             float* reals) {
  constexpr bool kDrains = simd::Int4<S>::kDrains;
  Int4Sums<S, Zeros, R> tile;
  tile.start(a, lda);
  int4_chunk<S, true>(tile, 0, w);
  if (size == kInt4Chunk) return tile.template finish<true>(head, terms, sums, reals);
  if constexpr (kDrains) tile.template drain<true>(head, terms, sums);
  for (int64_t k = kInt4Chunk;;) {
    int4_chunk<S, kDrains>(tile, k, w);
    if ((k += kInt4Chunk) >= size) break;
    if constexpr (kDrains) tile.template drain<false>(head, terms, sums);
  }
  tile.template finish<!kDrains>(head, terms, sums, reals);
}

// The same for any number of rows: R at a time, and then what is left.
template <class S, bool Zeros, class Weights, int R = simd::Int4<S>::kRows>
void int4_group(int64_t rows, const int8_t* a, int64_t lda, const int32_t* terms, Int4Head<S, Zeros> head, Weights w,
                int64_t size, int32_t* sums, float* reals) {
  for (; rows >= R; rows -= R, a += R * lda, terms += R, reals += R * 2 * S::kLanes)
    int4_tile<S, Zeros, R>(a, lda, terms, head, w, size, sums, reals);
  if constexpr (R > 1)
    if (rows > 0) int4_group<S, Zeros, Weights, R - 1>(rows, a, lda, terms, head, w, size, sums, reals);
}

// Quantizes to int8 and returns the sum of the codes.
template <class S>
int32_t quantize_sum(const float* x, int64_t n, float scale, int32_t zero_point, float lo, float hi, int8_t* out) {
  auto* codes = reinterpret_cast<uint8_t*>(out);
  quantize<S>(x, n, scale, zero_point, lo, hi, codes);
  typename S::I32 sums = S::set(0);
  int64_t i = 0;
  for (; i + S::kLanes <= n; i += S::kLanes) sums = S::add(sums, S::template load_codes<true>(codes + i));
  int32_t lanes[S::kLanes], sum = 0;
  S::store(lanes, sums);
  for (int32_t lane : lanes) sum += lane;
  for (; i < n; ++i) sum += out[i];
  return sum;
}

// One panel's sums -> output columns [j, j + columns).
template <class S>
void int4_epilogue(const Int4Args& g, const float* reals, int64_t j, int64_t columns) {
  constexpr int kLanes = S::kLanes;
  float bias[2 * kLanes] = {}, ones[2 * kLanes] = {}, tail[kLanes];
  for (int64_t c = 0; c < columns; ++c) ones[c] = g.ones[j + c];
  for (int64_t c = 0; g.bias && c < columns; ++c) bias[c] = g.bias[j + c];
  const typename S::F32 lowest = S::fset(g.relu ? 0.0f : -__builtin_inff());
  for (int64_t i = 0; i < g.rows; ++i, reals += 2 * kLanes) {
    float* out = g.out + i * g.ldo + j;
    const typename S::F32 scale = S::fset(g.a_scale[i]), zero = S::fset(-g.a_zero[i]);
    for (int64_t c = 0; c < columns; c += kLanes) {
      const typename S::F32 real = S::fadd(S::fload(reals + c), S::fmul(zero, S::fload(ones + c)));
      const typename S::F32 scaled = S::fmul(real, scale);
      const typename S::F32 y = S::fmax(g.bias ? S::fadd(scaled, S::fload(bias + c)) : scaled, lowest);
      if (c + kLanes <= columns) {
        S::fstore(out + c, y);
      } else {
        S::fstore(tail, y);
        for (int64_t t = c; t < columns; ++t) out[t] = tail[t - c];
      }
    }
  }
}

template <class S, bool Zeros, bool OneRow>
void int4_gemm_of(const Int4Args& g) {
  using Q = simd::Int4<S>;
  constexpr int kPanel = 2 * S::kLanes, kVector = 4 * S::kLanes;
  constexpr int kApartRows = 2 * Q::kRows;  // from here on taking a block apart beforehand pays
  alignas(64) float reals[kInt4MaxRows * kPanel];
  alignas(64) uint8_t apart[kInt4MaxGroup * kPanel];
  alignas(64) int32_t sums[Q::kRows * kPanel];
  const uint8_t* block = g.w;
  for (int64_t j = 0; j < g.columns; j += kPanel) {
    for (int64_t i = 0; i < g.rows * kPanel; ++i) reals[i] = 0.0f;
    const int8_t* a = g.a;
    const int32_t* terms = g.terms;
    for (int64_t k = 0; k < g.k; k += g.group_size) {
      const int64_t size = g.k - k < g.group_size ? g.k - k : g.group_size;
      const Int4Head<S, Zeros> head(block);
      const Int4Nibbles<S> nibbles{head.nibbles};
      if constexpr (OneRow) {
        int4_tile<S, Zeros, 1>(a, 0, terms, head, nibbles, size, sums, reals);
      } else if (g.rows < kApartRows) {
        int4_group<S, Zeros>(g.rows, a, g.group_size, terms, head, nibbles, size, sums, reals);
      } else {
        for (int64_t i = 0; i < size / 4; i += 2) {
          const uint8_t* from = head.nibbles + i * kVector;
          const typename Q::Bytes x = Q::load(from), y = Q::load(from + kVector);
          uint8_t* to = apart + 2 * i * kVector;
          Q::store(to, Q::low(x));
          Q::store(to + kVector, Q::low(y));
          Q::store(to + 2 * kVector, Q::high(x));
          Q::store(to + 3 * kVector, Q::high(y));
        }
        int4_group<S, Zeros>(g.rows, a, g.group_size, terms, head, Int4Bytes<S>{apart}, size, sums, reals);
      }
      block = head.nibbles + size / 2 * kPanel;
      a += g.rows * g.group_size;
      terms += g.rows;
    }
    int4_epilogue<S>(g, reals, j, g.columns - j < kPanel ? g.columns - j : kPanel);
  }
}

template <class S>
void int4_gemm(const Int4Args& g) {
  if (g.zeros)
    g.rows == 1 ? int4_gemm_of<S, true, true>(g) : int4_gemm_of<S, true, false>(g);
  else
    g.rows == 1 ? int4_gemm_of<S, false, true>(g) : int4_gemm_of<S, false, false>(g);
}

}  // namespace octensor::kernels
