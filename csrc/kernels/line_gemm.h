// GEMM over patches that overlap in memory: a convolution of few channels multiplies codes where its input lines lie.
//
// A kernel row's taps are one run of adjacent values, and a group of kGroup K may begin at any value of a line: row i
// of the tile reads group q at  a + i * lda + offsets[q].  Nothing is gathered; neighbouring outputs share all but
// `lda` of a run's values. What a run leaves of its last group the caller may gather from several lines into one of its
// own.
//
// Mixed operands (kernels/gemm_mixed.h) lie as magnitudes and, `signs` bytes on, signs; pack_line makes both. Weights
// lie in the order in which a panel multiplies its groups: twins, then the others.
//
// Codes come from the tile's registers, so Requantize::within must be proved (kernels/finish.h).
//
// Outputs are computed by whole tiles: up to kRows - 1 beyond the last are read, of which nothing is written.
//
// Bound: the tile's (kernels/tile.h, gemm_mixed.h), and 9 cycles of four operations per 32 codes.
#pragma once
#include "kernels/finish.h"
#include "kernels/gemm.h"

namespace octensor {

struct LineArgs {
  // `a` are the lines, `lda` the values from an output to the next, `rows` the outputs; `order` and `scratch` are not
  // used, nor is `row_sums`.
  GemmArgs gemm;
  const int64_t* offsets;  // [panels][groups] of the first output's values
  // Mixed GEMM only:
  int64_t signs;
  const int32_t* negative;  // per output, the magnitudes of negative values that its groups read; whole tiles
};

// Mixed GEMM only: codes -> magnitudes and signs, and what of them is negative.
struct LinePackArgs {
  const uint8_t* codes;
  int64_t n;          // rounded up to vectors of codes, readable and writable
  uint8_t* out;       // magnitudes ...
  int64_t signs;      // ... and, so many bytes on, signs
  uint8_t* rest;      // room for the magnitudes of negative values
  int32_t* negative;  // their sum for each position, whose `length` values begin `advance` after the one before's
  int64_t positions, advance, length;  // positions rounded up to vectors
};

namespace kernels {

// Where a row of the tile finds the values of a group: in lines. See Interleaved in kernels/gemm_mixed.h.
struct InLines {
  const uint8_t* row;
  int64_t advance, magnitude, sign;
  [[gnu::always_inline]] const uint8_t* magnitudes() const { return row + magnitude; }
  [[gnu::always_inline]] const uint8_t* signs() const { return row + sign; }
  [[gnu::always_inline]] InLines below() const { return {row + advance, advance, magnitude, sign}; }
};

template <class S>
constexpr int line_rows() {
  if constexpr (kMixed<S>)
    return S::Operand::kRows;
  else
    return S::kRows;
}

// One tile's codes. Sums begin at `start`; `first` is its first output.
template <class S, int V>
[[gnu::always_inline]] inline void line_tile(const LineArgs& l, int64_t first, const int64_t* offsets, int64_t twins,
                                             const int8_t* b, const int32_t* start, const Finish<S, V>& codes,
                                             uint8_t* out) {
  using F = typename S::Operand;
  constexpr int kRows = line_rows<S>();
  static_assert(kRows % 2 == 0);
  constexpr int kVector = S::kLanes * F::kGroup, kSecond = (V - 1) * kVector, kStep = 2 * kVector;
  const int64_t advance = l.gemm.lda, groups = l.gemm.groups;
  const auto* a = static_cast<const typename F::Activation*>(l.gemm.a) + first * advance;
  const int64_t* const end = offsets + groups;
  const auto finish = [&](const auto& tile) [[gnu::always_inline]] {
    const int64_t rows = l.gemm.rows - first;
    if constexpr (!kBlocks<F>)
      if (rows >= kRows) [[likely]]
        return finish_rows<S, kRows, V>(tile, codes, out);
    int32_t sums[kRows * S::kPanel];
    if constexpr (kMixed<S>)
      tile.save(sums);
    else
      tile.save(sums, S::kPanel);
    for (int64_t i = 0; i < (rows < kRows ? rows : kRows); ++i) {
      const typename S::I32 x0 = S::load(sums + i * S::kPanel),
                            x1 = S::load(sums + i * S::kPanel + (V - 1) * S::kLanes);
      codes.rows(out + i * codes.ldc, false, x0, x1, x0, x1);
    }
  };
  if constexpr (kMixed<S>) {
    const int64_t signs = l.signs;
    const auto at = [&](int64_t offset) [[gnu::always_inline]] { return InLines{a, advance, offset, offset + signs}; };
    MixedSums<S, kRows, V> tile;
    tile.start(start, 0, l.negative + first);
    for (const int64_t* singles = offsets + twins; offsets != singles; offsets += 2, b += 2 * kStep)
      tile.twins(at(offsets[0]), at(offsets[1]), F::load(b), F::load(b + kSecond), b + kStep);
    for (; offsets != end; ++offsets, b += kStep) tile.single(at(*offsets), F::load(b), F::load(b + kSecond));
    finish(tile);
  } else {
    TileSums<S, F, kRows, V> tile;
    tile.start(a, advance, start, 0);
    for (; offsets != end; ++offsets, b += kStep) tile.step(*offsets, F::load(b), F::load(b + kSecond));
    finish(tile);
  }
}

template <class S, int V>
void line_panel(const LineArgs& l, int64_t j, int64_t columns) {
  constexpr int kRows = line_rows<S>();
  const GemmArgs& g = l.gemm;
  const int64_t panel = j / S::kPanel, outputs = g.rows;
  const int64_t* offsets = l.offsets + panel * g.groups;
  const int8_t* b = g.b + j * g.groups * S::Operand::kGroup;
  alignas(64) int32_t start[S::kPanel];
  first_sums<S>(g, j, kMixed<S> ? 128 : 0, true, start);
  int64_t twins = 0;
  if constexpr (kMixed<S>) twins = g.ends[2 * panel];
  const Finish<S, V> codes(g, j, columns);
  uint8_t* out = g.codes + j;
  for (int64_t i = 0; i < outputs; i += kRows, out += kRows * codes.ldc)
    line_tile<S, V>(l, i, offsets, twins, b, start, codes, out);
}

template <class S>
void line_gemm(const LineArgs& l) {
  for (int64_t j = 0; j < l.gemm.columns; j += S::kPanel) {
    const int64_t columns = l.gemm.columns - j < S::kPanel ? l.gemm.columns - j : S::kPanel;
    columns > S::kLanes ? line_panel<S, 2>(l, j, columns) : line_panel<S, 1>(l, j, columns);
  }
}

template <class S>
void pack_line(const LinePackArgs& a) {
  using F = typename S::Mixed;
  for (int64_t i = 0; i < a.n; i += S::kLanes * F::kGroup) {
    const typename F::Wide codes = F::load(reinterpret_cast<const int8_t*>(a.codes + i));
    const typename F::Wide x = F::distances(codes), m = F::below(codes);
    F::store(a.out + i, x);
    F::store(a.out + a.signs + i, m);
    F::store(a.rest + i, F::both(x, m));
  }
  for (int64_t p = 0; p < a.positions; p += S::kLanes) {
    typename S::I32 sum = S::set(0);
    for (int64_t i = 0; i < a.length; i += 8)
      sum = S::add(sum, F::sums(a.rest + p * a.advance + i, a.advance, a.length - i < 8 ? a.length - i : 8));
    S::store(a.negative + p, sum);
  }
}

}  // namespace kernels
}  // namespace octensor
