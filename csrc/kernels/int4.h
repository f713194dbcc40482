// 8-bit activations times 4-bit weights with a scale for every group of K.
//
//   S[i][g][j] = sum over k of group g of (a[i][k] - za[i]) * (w[k][j] - zw[g][j])                exact, int32
//   y[i][j]    = (((0 + f32(S[i][0][j]) * s[0][j]) + f32(S[i][1][j]) * s[1][j]) + ...) * sa[i] + bias[j]
//
// Every float operation rounds once, in the order written. The kernel sums a * w alone, of signed activation bytes and
// nibbles 0 ... 15; the rest of S is a pair of products of int16,
//
//   S = sum a * w  -  za * sum (w - zw)  -  zw * sum a
//
// A block holds one group of one panel of 2 * kLanes columns, the blocks of a panel one after the other:
//
//   int16 {sum over k of (w - zw), zw} [columns]   float s[columns]   nibbles [k / 8][2 vectors][kLanes][4]
//
// A byte of the nibbles' vectors holds k % 8 = 0 ... 3 of its column in its lower half and the same k + 4 in the upper.
// K is padded with weights and activations 0, neither of which is in the sums, to whole multiples of kInt4Chunk.
//
// Bound: with AVX2 one multiply and one addition for 32 multiply-adds, and for every 32 K of a vector of columns a
// widening multiply and an addition; of the group, five operations more. With few rows the weights are taken apart in
// registers, and reading them is the bound; with more, a block is taken apart once and kept in L1 for all of them.
#pragma once
#include <cstdint>

#include "simd/int4.h"

namespace octensor {

inline constexpr int kInt4Chunk = 32;      // K is padded to whole multiples of this
inline constexpr int kInt4MaxGroup = 128;  // K of a group at most: the sum of 128 activation bytes fits int16
inline constexpr int kInt4MaxRows = 96;

// Bytes of a block, of `k` (padded) and a panel of `columns`.
inline constexpr int64_t int4_block_bytes(int64_t columns, int64_t k) { return columns * (8 + k / 2); }

// One block of rows times a run of panels.
struct Int4Args {
  const int8_t* a;        // [groups][rows][group_size]; of a group's last bytes only its (padded) K are read
  const int16_t* terms;   // [groups][rows][2]: -za, -sum of the group's activations
  const float* a_scale;   // [rows]
  int64_t rows;           // at most kInt4MaxRows
  const uint8_t* w;       // the panels' blocks, aligned to 64 bytes
  int64_t k, group_size;  // k padded; a last group may be shorter
  const float* bias;      // [columns], or null
  int64_t columns;        // from w's first panel on
  bool relu;              // at least 0
  float* out;             // row stride ldo
  int64_t ldo;
};

}  // namespace octensor

namespace octensor::kernels {

template <class S>
struct Int4Weights {  // nibbles, taken apart in registers
  using Q = simd::Int4<S>;
  static constexpr int kVector = 4 * S::kLanes;
  const uint8_t* p;
  // Two steps of K of both vectors of columns.
  [[gnu::always_inline]] void steps(int i, typename Q::Bytes (&w0)[2], typename Q::Bytes (&w1)[2]) const {
    const typename Q::Bytes x = Q::load(p + i * kVector), y = Q::load(p + (i + 1) * kVector);
    w0[0] = Q::low(x), w0[1] = Q::high(x), w1[0] = Q::low(y), w1[1] = Q::high(y);
  }
};
template <class S>
struct Int4Bytes {  // the same, taken apart before
  using Q = simd::Int4<S>;
  static constexpr int kVector = 4 * S::kLanes;
  const uint8_t* p;
  [[gnu::always_inline]] void steps(int i, typename Q::Bytes (&w0)[2], typename Q::Bytes (&w1)[2]) const {
    const uint8_t* q = p + 2 * i * kVector;
    w0[0] = Q::load(q), w1[0] = Q::load(q + kVector), w0[1] = Q::load(q + 2 * kVector),
    w1[1] = Q::load(q + 3 * kVector);
  }
};

// R x 2 vectors of running sums as named members: GCC keeps these in registers, arrays it does not.
template <class S, int R>
struct Int4Sums {
  using Q = simd::Int4<S>;
  typename Q::Sum c0, c1;
  const int8_t* row;
  Int4Sums<S, R - 1> below;

  [[gnu::always_inline]] void start(const int8_t* a, int64_t lda) {
    row = a;
    below.start(a + lda, lda);
  }
  [[gnu::always_inline]] void first(int k, typename Q::Bytes w0, typename Q::Bytes w1) {
    const typename Q::Bytes x = Q::quad(row + k);
    c0 = Q::first(w0, x);
    c1 = Q::first(w1, x);
    below.first(k, w0, w1);
  }
  [[gnu::always_inline]] void step(int k, typename Q::Bytes w0, typename Q::Bytes w1) {
    const typename Q::Bytes x = Q::quad(row + k);
    c0 = Q::step(c0, w0, x);
    c1 = Q::step(c1, w1, x);
    below.step(k, w0, w1);
  }
  [[gnu::always_inline]] void drain(int32_t* sums) const {
    S::store(sums, Q::drain(S::load(sums), c0));
    S::store(sums + S::kLanes, Q::drain(S::load(sums + S::kLanes), c1));
    below.drain(sums + 2 * S::kLanes);
  }
};
template <class S>
struct Int4Sums<S, 0> {
  using Q = simd::Int4<S>;
  [[gnu::always_inline]] void start(const int8_t*, int64_t) {}
  [[gnu::always_inline]] void first(int, typename Q::Bytes, typename Q::Bytes) {}
  [[gnu::always_inline]] void step(int, typename Q::Bytes, typename Q::Bytes) {}
  [[gnu::always_inline]] void drain(int32_t*) const {}
};

// One group of one panel, as a block begins.
template <class S>
struct Int4Head {
  static constexpr int kPanel = 2 * S::kLanes;
  const int16_t* pairs;
  const float* scales;
  const uint8_t* nibbles;
  explicit Int4Head(const uint8_t* block)
      : pairs(reinterpret_cast<const int16_t*>(block)),
        scales(reinterpret_cast<const float*>(block + 4 * kPanel)),
        nibbles(block + 8 * kPanel) {}
};

// reals[R][2 * kLanes] += f32(S) * s of one group.
template <class S, int R, class Weights>
void int4_tile(const int8_t* a, int64_t lda, const int16_t* terms, const Int4Head<S>& head, Weights w, int k_end,
               float* reals) {
  using Q = simd::Int4<S>;
  constexpr int kLanes = S::kLanes;
  alignas(64) int32_t sums[R * 2 * kLanes];
  for (int i = 0; i < R; ++i) {
    S::store(sums + 2 * i * kLanes, Q::correct(head.pairs, terms + 2 * i));
    S::store(sums + (2 * i + 1) * kLanes, Q::correct(head.pairs + 2 * kLanes, terms + 2 * i));
  }
  Int4Sums<S, R> tile;
  tile.start(a, lda);
  typename Q::Bytes w0[2], w1[2];
  for (int k = 0; k < k_end;) {
    const int end = k_end - k < 4 * Q::kSteps ? k_end : k + 4 * Q::kSteps;
    w.steps(k / 4, w0, w1);
    tile.first(k, w0[0], w1[0]);
    tile.step(k + 4, w0[1], w1[1]);
#pragma GCC unroll 3
    for (k += 8; k < end; k += 8) {
      w.steps(k / 4, w0, w1);
      tile.step(k, w0[0], w1[0]);
      tile.step(k + 4, w0[1], w1[1]);
    }
    tile.drain(sums);
  }
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < 2; ++v) {
      float* y = reals + (2 * i + v) * kLanes;
      const typename S::F32 s = S::to_float(S::load(sums + (2 * i + v) * kLanes));
      S::fstore(y, S::fadd(S::fload(y), S::fmul(s, S::fload(head.scales + v * kLanes))));
    }
}

template <class S, class Weights, int R = simd::Int4<S>::kRows>
void int4_tile_of(int rows, const int8_t* a, int64_t lda, const int16_t* terms, const Int4Head<S>& head, Weights w,
                  int k_end, float* reals) {
  if constexpr (R > 1)
    if (rows < R) return int4_tile_of<S, Weights, R - 1>(rows, a, lda, terms, head, w, k_end, reals);
  int4_tile<S, R, Weights>(a, lda, terms, head, w, k_end, reals);
}

template <class S>
void int4_gemm(const Int4Args& g) {
  using Q = simd::Int4<S>;
  constexpr int kPanel = 2 * S::kLanes, kVector = 4 * S::kLanes;
  constexpr int kApartRows = 2 * Q::kRows;  // from here on taking a block apart beforehand pays
  alignas(64) float reals[kInt4MaxRows * kPanel];
  alignas(64) uint8_t apart[kInt4MaxGroup * kPanel];
  const uint8_t* block = g.w;
  for (int64_t j = 0; j < g.columns; j += kPanel) {
    for (int64_t i = 0; i < g.rows * kPanel; ++i) reals[i] = 0.0f;
    const int8_t* a = g.a;
    const int16_t* terms = g.terms;
    for (int64_t k = 0; k < g.k; k += g.group_size) {
      const int size = static_cast<int>(g.k - k < g.group_size ? g.k - k : g.group_size);
      const Int4Head<S> head(block);
      if (g.rows >= kApartRows)
        for (int64_t i = 0; i < size / 4; i += 2) {
          const typename Q::Bytes x = Q::load(head.nibbles + i * kVector),
                                  y = Q::load(head.nibbles + (i + 1) * kVector);
          uint8_t* to = apart + 2 * i * kVector;
          Q::store(to, Q::low(x));
          Q::store(to + kVector, Q::low(y));
          Q::store(to + 2 * kVector, Q::high(x));
          Q::store(to + 3 * kVector, Q::high(y));
        }
      for (int64_t i = 0; i < g.rows; i += Q::kRows) {
        const int rows = static_cast<int>(g.rows - i < Q::kRows ? g.rows - i : Q::kRows);
        const int8_t* at = a + i * g.group_size;
        if (g.rows >= kApartRows)
          int4_tile_of<S>(rows, at, g.group_size, terms + 2 * i, head, Int4Bytes<S>{apart}, size, reals + i * kPanel);
        else
          int4_tile_of<S>(rows, at, g.group_size, terms + 2 * i, head, Int4Weights<S>{head.nibbles}, size,
                          reals + i * kPanel);
      }
      block += int4_block_bytes(kPanel, size);
      a += g.rows * g.group_size;
      terms += 2 * g.rows;
    }
    const int64_t columns = g.columns - j < kPanel ? g.columns - j : kPanel;
    for (int64_t i = 0; i < g.rows; ++i)
      for (int64_t c = 0; c < columns; ++c) {
        const float scaled = reals[i * kPanel + c] * g.a_scale[i];
        const float y = g.bias ? scaled + g.bias[j + c] : scaled;
        g.out[i * g.ldo + j + c] = !g.relu || y > 0.0f ? y : 0.0f;
      }
  }
}

}  // namespace octensor::kernels
