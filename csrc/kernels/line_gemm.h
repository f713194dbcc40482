// GEMM over patches that overlap in memory: a convolution of few channels multiplies codes where its input lines lie.
//
// A kernel row's taps are one run of adjacent values, and a group of kGroup K may begin at any value of a line: row i
// of the tile reads group q at  a + i * lda + offsets[q].  Nothing is gathered; neighbouring outputs share all but
// `lda` of a run's values. What a run leaves of its last group the caller may gather from several lines into one of its
// own.
//
// Codes come from the tile's registers, so Requantize::within must be proved (kernels/finish.h).
//
// Bound: the tile's (kernels/tile.h, mixed_tile.h), and 9 cycles of four operations per 32 codes.
#pragma once
#include "kernels/finish.h"
#include "kernels/gemm.h"

namespace octensor {

struct LineArgs {
  // `a` are the lines, `lda` the values from an output to the next, `rows` the outputs, of which, where the tile is not
  // mixed, whole tiles are read; `scratch` and `row_sums` are not used.
  GemmArgs gemm;
  const int64_t* offsets;  // [panels][groups], in the order of multiplication, of the first output's values
};

namespace kernels {

// Where a mixed tile finds the values of groups. See Interleaved in kernels/gemm_mixed.h.
struct InLines {
  const int64_t* places;
  int64_t step;
  [[gnu::always_inline]] int64_t place(const MixedBlock&, int64_t i) const { return places[i]; }
};

// A panel of a mixed GEMM; all of K is one block.
template <class S>
void mixed_lines(const LineArgs& l, int64_t j, int64_t columns) {
  using F = typename S::Mixed;
  const GemmArgs& g = l.gemm;
  MixedBlock block = block_of<S>(g, j / S::kLanes, 0);
  alignas(64) uint8_t flipped[F::kBlock * 2 * S::kLanes * F::kGroup];
  flip_weights<S>(block, flipped);
  block.flipped = flipped;
  int32_t start[S::kLanes];
  first_sums<S>(g, j, true, S::kLanes, start);
  const Finish<S, 1> finish(g, j, columns);
  const MixedCut cut = mixed_cut<S>(g.rows);
  mixed_rows<S, InLines>(cut, block,
                         {.a = static_cast<const uint8_t*>(g.a),
                          .from = {l.offsets + j / S::kLanes * g.groups, g.lda},
                          .advance = cut.height * g.lda,
                          .initial = start,
                          .initial_stride = 0,
                          .sums = nullptr,
                          .finish = &finish,
                          .out = g.codes + j,
                          .next = nullptr,
                          .next_bytes = 0});
}

// One tile's codes. Sums begin at `start`; `first` is its first output.
template <class S, int V>
[[gnu::always_inline]] inline void line_tile(const LineArgs& l, int64_t first, const int64_t* offsets, const int8_t* b,
                                             const int32_t* start, const Finish<S, V>& codes, uint8_t* out) {
  using F = typename S::Operand;
  constexpr int kRows = S::kRows;
  static_assert(kRows % 2 == 0);
  constexpr int kVector = S::kLanes * F::kGroup, kSecond = (V - 1) * kVector, kStep = 2 * kVector;
  const auto* a = static_cast<const typename F::Activation*>(l.gemm.a) + first * l.gemm.lda;
  TileSums<S, F, kRows, V> tile;
  tile.start(a, l.gemm.lda, start, 0);
  for (const int64_t* end = offsets + l.gemm.groups; offsets != end; ++offsets, b += kStep)
    tile.step(*offsets, F::load(b), F::load(b + kSecond));
  const int64_t rows = l.gemm.rows - first;
  if constexpr (!kBlocks<F>)
    if (rows >= kRows) [[likely]]
      return finish_rows<S, kRows, V>(tile, codes, out);
  int32_t sums[kRows * S::kPanel];
  tile.save(sums, S::kPanel);
  for (int64_t i = 0; i < (rows < kRows ? rows : kRows); ++i) {
    const typename S::I32 x0 = S::load(sums + i * S::kPanel), x1 = S::load(sums + i * S::kPanel + (V - 1) * S::kLanes);
    codes.rows(out + i * codes.ldc, false, x0, x1, x0, x1);
  }
}

template <class S, int V>
void line_panel(const LineArgs& l, int64_t j, int64_t columns) {
  const GemmArgs& g = l.gemm;
  const int64_t* offsets = l.offsets + j / S::kPanel * g.groups;
  const int8_t* b = g.b + j * g.groups * S::Operand::kGroup;
  alignas(64) int32_t start[S::kPanel];
  first_sums<S>(g, j, true, S::kPanel, start);
  const Finish<S, V> codes(g, j, columns);
  uint8_t* out = g.codes + j;
  for (int64_t i = 0; i < g.rows; i += S::kRows, out += S::kRows * codes.ldc)
    line_tile<S, V>(l, i, offsets, b, start, codes, out);
}

template <class S>
void line_gemm(const LineArgs& l) {
  constexpr int64_t kColumns = kMixed<S> ? S::kLanes : S::kPanel;
  for (int64_t j = 0; j < l.gemm.columns; j += kColumns) {
    const int64_t columns = l.gemm.columns - j < kColumns ? l.gemm.columns - j : kColumns;
    if constexpr (kMixed<S>)
      mixed_lines<S>(l, j, columns);
    else
      columns > S::kLanes ? line_panel<S, 2>(l, j, columns) : line_panel<S, 1>(l, j, columns);
  }
}

}  // namespace kernels
}  // namespace octensor
