// GEMM: packed activations times packed int8 weights, exact in int32.
//
//   sum[i][j] = column_offset[j]  +  sum_k a[i][k] * w[k][j]  -  row_sums[i] * weight_zero[j]
//
// Activations are int16 with their zero point subtracted, or bytes, as the instruction set wants them.
//
// then one epilogue (kernels/args.h): int32 out, reals, or bias, multiplier, rounding and clamp to codes. The sums
// may wrap on the way: the caller has proved that the true value fits in int32.
//
// Bound: the tile does kRows * kPanel * kGroup multiply-adds in 2 * kRows multiply instructions. With
// more than a few row tiles a panel is first widened to int16 in blocks of kBlock groups that stay in
// the L1 cache, which takes the widening out of the inner loop; with few rows it is widened on the fly,
// because then the weights' bytes are the bound.
#pragma once
#include "kernels/args.h"
#include "kernels/real_epilogue.h"
#include "kernels/requantize.h"

namespace octensor::kernels {

// kRows x 2 vectors of sums as named members: GCC keeps these in registers, arrays it does not.
template <class S, int R>
struct TileSums {
  typename S::I32 c0, c1;
  const typename S::Activation* row;
  TileSums<S, R - 1> below;

  // Sums begin at `initial`, whose rows are `stride` apart, or at 0.
  [[gnu::always_inline]] void start(const typename S::Activation* a, int64_t lda, const int32_t* initial,
                                    int64_t stride) {
    c0 = initial ? S::load(initial) : S::set(0);
    c1 = initial ? S::load(initial + S::kLanes) : S::set(0);
    row = a;
    below.start(a + lda, lda, initial ? initial + stride : nullptr, stride);
  }
  [[gnu::always_inline]] void step(int64_t k, typename S::Wide b0, typename S::Wide b1) {
    const typename S::Wide x = S::broadcast(row + k);
    c0 = S::dot(c0, x, b0);
    c1 = S::dot(c1, x, b1);
    below.step(k, b0, b1);
  }
  [[gnu::always_inline]] void save(int32_t* out) const {
    S::store(out, c0);
    S::store(out + S::kLanes, c1);
    below.save(out + S::kPanel);
  }
};
template <class S>
struct TileSums<S, 0> {
  [[gnu::always_inline]] void start(const typename S::Activation*, int64_t, const int32_t*, int64_t) {}
  [[gnu::always_inline]] void step(int64_t, typename S::Wide, typename S::Wide) {}
  [[gnu::always_inline]] void save(int32_t*) const {}
};

template <class S>
[[gnu::always_inline]] inline typename S::Wide load_weights(const int8_t* p) {
  return S::load_weights(p);
}
template <class S>
[[gnu::always_inline]] inline typename S::Wide load_weights(const int16_t* p) {  // widened before
  return S::wide_load(p);
}

// sums[R][kPanel] = initial + a[R][groups] * b[groups][kPanel]; Weight is int8_t, or int16_t when widened before.
template <class S, int R, class Weight>
void gemm_tile(const typename S::Activation* a, int64_t lda, const Weight* b, int64_t groups, const int32_t* initial,
               int64_t stride, int32_t* sums) {
  constexpr int kVector = S::kLanes * S::kGroup;
  TileSums<S, R> tile;
  tile.start(a, lda, initial, stride);
  for (int64_t k = 0; k < groups * S::kGroup; k += S::kGroup) {
    const typename S::Wide b0 = load_weights<S>(b), b1 = load_weights<S>(b + kVector);
    b += 2 * kVector;
    tile.step(k, b0, b1);
  }
  tile.save(sums);
}

template <class S, class Weight, int R = S::kRows>
void gemm_tile_of(int rows, const typename S::Activation* a, int64_t lda, const Weight* b, int64_t groups,
                  const int32_t* initial, int64_t stride, int32_t* sums) {
  if constexpr (R > 1)
    if (rows < R) return gemm_tile_of<S, Weight, R - 1>(rows, a, lda, b, groups, initial, stride, sums);
  gemm_tile<S, R, Weight>(a, lda, b, groups, initial, stride, sums);
}

// One panel's finished sums -> output columns [j, j + columns).
template <class S>
void gemm_epilogue(const GemmArgs& g, int32_t* sums, int64_t j, int64_t columns) {
  for (int64_t i = 0; i < g.rows; ++i, sums += S::kPanel) {
    if (g.weight_zero)
      for (int64_t c = 0; c < columns; ++c)
        sums[c] =
            static_cast<int32_t>(static_cast<uint32_t>(sums[c]) -
                                 static_cast<uint32_t>(g.row_sums[i]) * static_cast<uint32_t>(g.weight_zero[j + c]));
    if (g.codes) {
      requantize_run<S>(sums, g.requantize, j, columns, g.codes + i * g.ldc + j);
    } else if (g.sums) {
      for (int64_t c = 0; c < columns; ++c) g.sums[i * g.ldc + j + c] = sums[c];
    } else {
      reals_run<S>(sums, g.real, i, j, columns, g.reals + i * g.ldc + j);
    }
  }
}

template <class S>
void gemm(const GemmArgs& g) {
  using Activation = typename S::Activation;
  constexpr bool kWide = sizeof(Activation) == 2;  // weights are widened to match
  constexpr int kBlock = 256;                      // groups of K that a widened panel holds at a time
  constexpr int kWidenRows = 3 * S::kRows;         // from here on widening beforehand pays
  constexpr int kStep = S::kPanel * S::kGroup;     // packed values per group of K
  alignas(64) int16_t widened[kWide ? kBlock * kStep : 1];
  for (int64_t j = 0; j < g.columns; j += S::kPanel) {
    const int8_t* panel = g.b + j * g.groups * S::kGroup;
    const int32_t* offset = g.column_offset ? g.column_offset + j : nullptr;
    const bool widen = kWide && g.rows >= kWidenRows;
    const int64_t block = widen || g.groups == 0 ? kBlock : g.groups;
    for (int64_t k = 0; k == 0 || k < g.groups; k += block) {  // once even for K = 0
      const int64_t groups = g.groups - k < block ? g.groups - k : block;
      const int8_t* b = panel + k * kStep;
      if constexpr (kWide)
        if (widen)
          for (int64_t i = 0; i < groups * kStep; i += S::kLanes * S::kGroup)
            S::wide_store(widened + i, load_weights<S>(b + i));
      for (int64_t i = 0; i < g.rows; i += S::kRows) {
        const int rows = static_cast<int>(g.rows - i < S::kRows ? g.rows - i : S::kRows);
        const Activation* a = static_cast<const Activation*>(g.a) + i * g.lda + k * S::kGroup;
        int32_t* sums = g.scratch + i * S::kPanel;
        const int32_t* initial = k > 0 ? sums : offset;
        const int64_t stride = k > 0 ? S::kPanel : 0;
        if constexpr (kWide)
          if (widen) {
            gemm_tile_of<S>(rows, a, g.lda, static_cast<const int16_t*>(widened), groups, initial, stride, sums);
            continue;
          }
        gemm_tile_of<S>(rows, a, g.lda, b, groups, initial, stride, sums);
      }
    }
    gemm_epilogue<S>(g, g.scratch, j, g.columns - j < S::kPanel ? g.columns - j : S::kPanel);
  }
}

// 8-bit codes -> the form in which GEMM reads activations.
template <class S, bool Signed>
void pack_codes_of(const uint8_t* codes, int64_t n, int32_t zero_point, int16_t* out) {
  constexpr int kVector = S::kLanes * S::kGroup;
  const typename S::Wide zero = S::wide_set(static_cast<int16_t>(zero_point));
  int64_t i = 0;
  for (; i + kVector <= n; i += kVector)
    S::wide_store(out + i, S::wide_sub(S::template widen<Signed>(codes + i), zero));
  for (; i < n; ++i)
    out[i] = static_cast<int16_t>((Signed ? static_cast<int8_t>(codes[i]) : int32_t{codes[i]}) - zero_point);
}

// As bytes: codes whose signedness is not the instruction set's have their top bit flipped.
template <class S, bool Signed, class Byte>
  requires(sizeof(Byte) == 1)
void pack_codes_of(const uint8_t* codes, int64_t n, int32_t, Byte* out) {
  constexpr uint8_t kFlip = Signed == (static_cast<Byte>(-1) < 0) ? 0 : 0x80;
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<Byte>(codes[i] ^ kFlip);
}

template <class S>
void pack_codes(const uint8_t* codes, bool is_signed, int64_t n, int32_t zero_point, void* out) {
  auto* to = static_cast<typename S::Activation*>(out);
  is_signed ? pack_codes_of<S, true>(codes, n, zero_point, to) : pack_codes_of<S, false>(codes, n, zero_point, to);
}

// n activations of real 0, whose packed value is `zero`.
template <class S>
void pack_padding(int64_t n, int32_t zero, void* out) {
  auto* to = static_cast<typename S::Activation*>(out);
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<typename S::Activation>(zero);
}

}  // namespace octensor::kernels
