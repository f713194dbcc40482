// GEMM: packed activations times packed int8 weights, exact in int32.
//
//   sum[i][j] = sum_k a[i][k] * w[k][j]  -  code_zero * weight_sums[j]  -  row_sums[i] * weight_zero[j]
//
// then one epilogue (kernels/args.h): int32 out, reals, or bias, multiplier, rounding and clamp to codes. The sums
// may wrap on the way: the caller has proved that the true value fits in int32.
//
// Activations are int16 with their zero point subtracted, or bytes, as the instruction set wants them; where it has
// a mixed product, sums come from kernels/gemm_mixed.h and gemm_row.h, else from here.
//
// Bound: kernels/tile.h. With more than a few row tiles, weights that are multiplied as words are first widened in
// blocks of a panel that stay in the L1 cache, which takes the widening out of the inner loop; with few rows they are
// widened on the fly, because then the weights' bytes are the bound.
#pragma once
#include "kernels/args.h"
#include "kernels/finish.h"
#include "kernels/gemm_mixed.h"
#include "kernels/gemm_row.h"
#include "kernels/real_epilogue.h"
#include "kernels/requantize.h"
#include "kernels/rounding.h"
#include "kernels/tile.h"
#include "kernels/tile_blocks.h"

namespace octensor::kernels {

// Whether a tile's registers can give the codes (kernels/finish.h).
inline bool finishes(const GemmArgs& g) { return g.codes && g.requantize.within && !g.weight_zero; }

// Codes of all rows for columns [j, j + columns) of one panel, two rows at a time.
template <class S>
void codes_epilogue(const GemmArgs& g, const int32_t* sums, int64_t j, int64_t columns) {
  using Codes = typename S::Codes;
  static_assert(Codes::kCount == 2 * S::kPanel);
  const Requantize& r = g.requantize;
  const Narrow<S> narrow(r.lo, r.hi, r.zero_point);
  const int64_t second = columns > S::kLanes ? S::kLanes : 0;  // a panel of one vector has it twice
  const typename S::F32 hi = S::fset(r.hi), m0 = S::fload(r.multiplier + j), m1 = S::fload(r.multiplier + j + second);
  const typename S::I32 b0 = S::load(r.bias + j), b1 = S::load(r.bias + j + second);
  auto code = [&](const int32_t* sum, typename S::I32 bias, typename S::F32 multiplier) [[gnu::always_inline]] {
    // Below int32 `fixed` gives its end, which narrowing saturates.
    return S::fixed(S::fmin(S::fmul(S::to_float(S::add(S::load(sum), bias)), multiplier), hi));
  };
  uint8_t* out = g.codes + j;
  for (int64_t i = 0; i < g.rows; i += 2, out += 2 * g.ldc) {
    const bool pair = i + 1 < g.rows;
    const int32_t *x = sums + i * S::kPanel, *y = pair ? x + S::kPanel : x;
    const typename Codes::Vec codes =
        narrow.codes(code(x, b0, m0), code(x + second, b1, m1), code(y, b0, m0), code(y + second, b1, m1));
    if (pair && columns == S::kPanel) {
      Codes::store_halves(out, out + g.ldc, codes);
      continue;
    }
    uint8_t part[Codes::kCount];
    Codes::store(part, codes);
    copy_codes(out, part, columns);
    if (pair) copy_codes(out + g.ldc, part + S::kPanel, columns);
  }
}

// One panel's finished sums -> output columns [j, j + columns).
template <class S>
void gemm_epilogue(const GemmArgs& g, int32_t* sums, int64_t j, int64_t columns) {
  if (g.weight_zero)
    for (int64_t i = 0; i < g.rows; ++i)
      for (int64_t c = 0; c < columns; ++c)
        sums[i * S::kPanel + c] =
            static_cast<int32_t>(static_cast<uint32_t>(sums[i * S::kPanel + c]) -
                                 static_cast<uint32_t>(g.row_sums[i]) * static_cast<uint32_t>(g.weight_zero[j + c]));
  if (g.codes) return codes_epilogue<S>(g, sums, j, columns);
  if (g.reals) return reals_epilogue<S>(g, sums, j, columns);
  for (int64_t i = 0; i < g.rows; ++i, sums += S::kPanel)
    for (int64_t c = 0; c < columns; ++c) g.sums[i * g.ldc + j + c] = sums[c];
}

// What the epilogue needs of one row.
inline GemmArgs row_of(const GemmArgs& g, int64_t row) {
  GemmArgs one = g;
  one.rows = 1;
  if (g.weight_zero) one.row_sums += row;
  if (g.codes) one.codes += row * g.ldc;
  if (g.sums) one.sums += row * g.ldc;
  if (!g.reals) return one;
  one.reals += row * g.ldc;
  one.real.row_scale += row;
  if (g.real.row_zero) one.real.row_zero += row;
  return one;
}

// All rows of the panel of columns from j on: `groups` groups of K from k on, their weights at b, V vectors of columns.
// Where k is 0 sums begin at `offset`.
template <class S, int V, class Weight>
void gemm_rows(const GemmArgs& g, const Weight* b, int64_t j, int64_t k, int64_t groups, const int32_t* offset,
               const Finish<S, V>* finish) {
  using Operand = typename S::Operand;
  for (int64_t i = 0; i < g.rows; i += S::kRows) {
    const int rows = static_cast<int>(g.rows - i < S::kRows ? g.rows - i : S::kRows);
    const auto* a = static_cast<const typename Operand::Activation*>(g.a) + i * g.lda + k * Operand::kGroup;
    int32_t* sums = g.scratch + i * S::kPanel;
    gemm_tile_of<S, Operand, V, Weight>(rows, a, g.lda, b, S::kPanel * Operand::kGroup, groups, k ? sums : offset,
                                        k ? S::kPanel : 0, sums, S::kPanel, finish,
                                        finish ? g.codes + i * g.ldc + j : nullptr);
  }
}

// The panel of columns [j, j + kPanel) for all rows: their sums or, with `finish`, codes.
template <class S, int V>
void gemm_panel(const GemmArgs& g, int64_t j, const Finish<S, V>* finish) {
  using Operand = typename S::Operand;
  constexpr bool kWide = sizeof(typename Operand::Activation) == 2;  // weights are widened to match
  constexpr int kBlock = 256;                                        // groups of K that a widened panel holds at a time
  constexpr int kWidenRows = 3 * S::kRows;                           // from here on widening beforehand pays
  constexpr int kStep = S::kPanel * Operand::kGroup;                 // packed values per group of K
  const int8_t* panel = g.b + j * g.groups * Operand::kGroup;
  int32_t offset[S::kPanel];
  first_sums<S>(g, j, finish, S::kPanel, offset);
  if constexpr (kWide)
    if (g.rows >= kWidenRows) {
      alignas(64) int16_t widened[kBlock * kStep];
      for (int64_t k = 0; k == 0 || k < g.groups; k += kBlock) {  // once even for K = 0
        const int64_t groups = g.groups - k < kBlock ? g.groups - k : kBlock;
        for (int64_t i = 0; i < groups * kStep; i += S::kLanes * Operand::kGroup)
          Operand::store(widened + i, Operand::load(panel + k * kStep + i));
        gemm_rows<S, V>(g, static_cast<const int16_t*>(widened), j, k, groups, offset,
                        k + groups == g.groups ? finish : nullptr);
      }
      return;
    }
  gemm_rows<S, V>(g, panel, j, 0, g.groups, offset, finish);
}

// Output columns [j, j + columns) of one panel of V vectors.
template <class S, int V>
void panel_of(const GemmArgs& g, int64_t j, int64_t columns) {
  if (!kBlocks<typename S::Operand> && finishes(g)) {
    const Finish<S, V> finish(g, j, columns);
    return gemm_panel<S, V>(g, j, &finish);
  }
  gemm_panel<S, V>(g, j, nullptr);
  gemm_epilogue<S>(g, g.scratch, j, columns);
}

template <class S>
void gemm(const GemmArgs& g) {
  if constexpr (kMixed<S>) {
    if (g.rows > S::Mixed::kFewRows)
      return mixed_gemm<S>(g, finishes(g),
                           [&](int32_t* sums, int64_t j, int64_t columns) { gemm_epilogue<S>(g, sums, j, columns); });
    gemm_few<S>(g, [&](int64_t row, int32_t* sums, int64_t j, int64_t columns) {
      const GemmArgs one = row_of(g, row);
      const int64_t step = g.codes ? S::kPanel : columns;
      for (int64_t c = 0; c < columns; c += step)
        gemm_epilogue<S>(one, sums + c, j + c, columns - c < step ? columns - c : step);
    });
  } else {
    const int64_t last = (g.columns - 1) / S::kPanel;
    for (int64_t panel = 0; panel <= last; ++panel) {
      const int64_t j = (g.backward ? last - panel : panel) * S::kPanel;
      const int64_t columns = g.columns - j < S::kPanel ? g.columns - j : S::kPanel;
      columns > S::kLanes ? panel_of<S, 2>(g, j, columns) : panel_of<S, 1>(g, j, columns);
    }
  }
}

// 8-bit codes -> the form in which GEMM reads activations.
template <class S, bool Signed>
void pack_codes_of(const uint8_t* codes, int64_t n, int32_t zero_point, int16_t* out) {
  using Words = typename S::Words;
  constexpr int kVector = S::kLanes * Words::kGroup;
  const typename Words::Wide zero = Words::set(static_cast<int16_t>(zero_point));
  int64_t i = 0;
  for (; i + kVector <= n; i += kVector)
    Words::store(out + i, Words::sub(Words::template widen<Signed>(codes + i), zero));
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
  auto* to = static_cast<typename S::Operand::Activation*>(out);
  is_signed ? pack_codes_of<S, true>(codes, n, zero_point, to) : pack_codes_of<S, false>(codes, n, zero_point, to);
}

}  // namespace octensor::kernels
