// Float activations times 8-bit or 4-bit weights with a scale for every group of K. In float32, each operation rounded
// once, k in order:
//
//   t[i][g][j] = ((0 + x[i][k0] * w[k0][j]) + x[i][k0 + 1] * w[k0 + 1][j]) + ...
//   y[i][j]    = (((0 + t[i][0][j] * s[0][j]) + t[i][1][j] * s[1][j]) + ...) + bias[j]
//
// with k0, k0 + 1, ... the K of group g and w the code minus its zero point. A NaN result is the quiet one.
//
// Columns lie along the lanes, so that no instruction set's width shows in the order of a sum. A block holds one group
// of one panel of 2 * kLanes columns:
//
//   float s[columns]   int32 zero[columns], where there are zero points   codes
//
// codes are nibbles as in kernels/int4.h, less 8 where there are no zero points, or int8 [k][columns].
//
// Bound: two operations for kLanes multiply-adds; with one row, taking the codes apart costs as much again and more.
#pragma once
#include <cstdint>

#include "kernels/int4.h"

namespace octensor {

inline constexpr int kWeightOnlyGroup = 128;  // of 8-bit weights; at most, of 4-bit ones

// One block of rows times a run of panels.
struct WeightOnlyArgs {
  const float* x;     // row stride ldx
  int64_t rows, ldx;  // at most kInt4MaxRows
  const uint8_t* w;   // the panels' blocks
  bool nibbles, zeros;
  int64_t k, group_size;  // a last group may be shorter; nibbles are padded to kInt4Chunk
  const float* bias;      // [columns], or null
  int64_t columns;        // from w's first panel on
  bool relu;              // at least 0
  float* out;             // row stride ldo
  int64_t ldo;
};

}  // namespace octensor

namespace octensor::kernels {

// R x 2 vectors of sums as named members, as in kernels/gemm.h.
template <class S, int R>
struct FloatSums {
  static constexpr int kLanes = S::kLanes;
  typename S::F32 c0, c1;
  const float* row;
  FloatSums<S, R - 1> below;

  [[gnu::always_inline]] void start(const float* x, int64_t ldx) {
    c0 = c1 = S::fset(0.0f);
    row = x;
    below.start(x + ldx, ldx);
  }
  [[gnu::always_inline]] void step(int64_t k, typename S::F32 w0, typename S::F32 w1) {
    const typename S::F32 x = S::fset(row[k]);
    c0 = S::fadd(c0, S::fmul(x, w0));
    c1 = S::fadd(c1, S::fmul(x, w1));
    below.step(k, w0, w1);
  }
  [[gnu::always_inline]] void finish(const float* scales, float* reals) const {
    S::fstore(reals, S::fadd(S::fload(reals), S::fmul(c0, S::fload(scales))));
    S::fstore(reals + kLanes, S::fadd(S::fload(reals + kLanes), S::fmul(c1, S::fload(scales + kLanes))));
    below.finish(scales, reals + 2 * kLanes);
  }
};
template <class S>
struct FloatSums<S, 0> {
  [[gnu::always_inline]] void start(const float*, int64_t) {}
  [[gnu::always_inline]] void step(int64_t, typename S::F32, typename S::F32) {}
  [[gnu::always_inline]] void finish(const float*, float*) const {}
};

// One group of one panel for any number of rows: reals[rows][2 * kLanes] += t * s, R rows at a time, then what is left.
template <class S, int R = simd::Int4<S>::kRows>
void weight_only_group(int64_t rows, const float* x, int64_t ldx, const float* w, int64_t size, const float* scales,
                       float* reals) {
  constexpr int kPanel = 2 * S::kLanes;
  for (; rows >= R; rows -= R, x += R * ldx, reals += R * kPanel) {
    FloatSums<S, R> tile;
    tile.start(x, ldx);
    for (int64_t k = 0; k < size; ++k) tile.step(k, S::fload(w + k * kPanel), S::fload(w + k * kPanel + S::kLanes));
    tile.finish(scales, reals);
  }
  if constexpr (R > 1)
    if (rows > 0) weight_only_group<S, R - 1>(rows, x, ldx, w, size, scales, reals);
}

// The I-th nibble of 32 bits is k = I / 2 of its byte's lower half, or 4 + I / 2 of its upper.
template <class S, int I = 0>
[[gnu::always_inline]] inline void nibbles_to_floats(typename S::I32 x, typename S::I32 zero, float* to) {
  if constexpr (I < 8) {
    const typename S::I32 code = simd::Int4<S>::template nibble<I>(x);
    S::fstore(to + (I / 2 + I % 2 * 4) * 2 * S::kLanes, S::to_float(S::sub(code, zero)));
    nibbles_to_floats<S, I + 1>(x, zero, to);
  }
}

// A group's codes as floats [size][2 * kLanes]; returns where they end.
template <class S>
const uint8_t* codes_to_floats(const uint8_t* codes, bool nibbles, const int32_t* zeros, int64_t size, float* to) {
  constexpr int kLanes = S::kLanes, kPanel = 2 * kLanes;
  const typename S::I32 none = S::set(nibbles ? 8 : 0);
  const typename S::I32 zero[2] = {zeros ? S::load(zeros) : none, zeros ? S::load(zeros + kLanes) : none};
  if (nibbles) {
    const int64_t padded = (size + kInt4Chunk - 1) / kInt4Chunk * kInt4Chunk;
    for (int64_t k = 0; k < size; k += 8)
      for (int v = 0; v < 2; ++v)
        nibbles_to_floats<S>(S::load(reinterpret_cast<const int32_t*>(codes + k / 2 * kPanel + 4 * v * kLanes)),
                             zero[v], to + k * kPanel + v * kLanes);
    return codes + padded / 2 * kPanel;
  }
  for (int64_t k = 0; k < size; ++k)
    for (int v = 0; v < 2; ++v) {
      const int64_t at = k * kPanel + v * kLanes;
      S::fstore(to + at, S::to_float(S::sub(S::template load_codes<true>(codes + at), zero[v])));
    }
  return codes + size * kPanel;
}

template <class S>
void weight_only(const WeightOnlyArgs& g) {
  constexpr int kPanel = 2 * S::kLanes;
  alignas(64) float reals[kInt4MaxRows * kPanel];
  alignas(64) float w[kWeightOnlyGroup * kPanel];
  const uint8_t* block = g.w;
  for (int64_t j = 0; j < g.columns; j += kPanel) {
    for (int64_t i = 0; i < g.rows * kPanel; ++i) reals[i] = 0.0f;
    for (int64_t k = 0; k < g.k; k += g.group_size) {
      const int64_t size = g.k - k < g.group_size ? g.k - k : g.group_size;
      const float* scales = reinterpret_cast<const float*>(block);
      const int32_t* zeros = g.zeros ? reinterpret_cast<const int32_t*>(block + 4 * kPanel) : nullptr;
      block = codes_to_floats<S>(block + (g.zeros ? 8 : 4) * kPanel, g.nibbles, zeros, size, w);
      if (g.rows == 1)
        weight_only_group<S, 1>(1, g.x + k, g.ldx, w, size, scales, reals);
      else
        weight_only_group<S>(g.rows, g.x + k, g.ldx, w, size, scales, reals);
    }
    const int64_t columns = g.columns - j < kPanel ? g.columns - j : kPanel;
    for (int64_t i = 0; i < g.rows; ++i)
      for (int64_t c = 0; c < columns; ++c) {
        const float sum = reals[i * kPanel + c], y = g.bias ? sum + g.bias[j + c] : sum;
        g.out[i * g.ldo + j + c] = y != y ? __builtin_nanf("") : g.relu && !(y > 0.0f) ? 0.0f : y;
      }
  }
}

}  // namespace octensor::kernels
