// GEMM where the fast product of bytes can overflow: kernels/mixed_tile.h over all panels of kLanes columns.
//
// Activations are unsigned codes, interleaved in tiles of kRows rows (pack_tile): [group][row][4 bytes]. A tile has as
// many rows as mixed_height says, so that the last one is not much smaller than the others; what belongs to other rows
// is unused. Up to kFewRows have a kernel of their own (kernels/gemm_row.h).
//
// K is cut into blocks of kBlock groups, so that a tile's activations and a panel's weights share the L1 cache. Panels
// go in pairs, whose sums [rows][kPanel] end in one epilogue, unless the tile can finish them in registers.
#pragma once
#include "kernels/args.h"
#include "kernels/finish.h"
#include "kernels/mixed_tile.h"

namespace octensor::kernels {

// Rows of a tile, where there are `rows` in all.
template <class S>
int64_t mixed_height(int64_t rows) {
  constexpr int64_t kRows = S::Mixed::kRows;
  const int64_t tiles = (rows + kRows - 1) / kRows;
  return (rows + tiles - 1) / tiles;
}

// How rows are cut into tiles: `whole` ones of `height` rows, then the rest.
struct MixedCut {
  int64_t height, whole, rest;
};

template <class S>
[[gnu::always_inline]] inline MixedCut mixed_cut(int64_t rows) {
  const int64_t height = mixed_height<S>(rows);
  return {height, rows / height, rows % height};
}

// R rows of sums, kLanes each, -> codes; four rows at a time.
template <class S, int R>
[[gnu::always_inline]] inline void finish_tile(const int32_t* sums, const Finish<S, 1>& finish, uint8_t* out) {
  const auto row = [&](int i) [[gnu::always_inline]] { return S::load(sums + (i < R ? i : 0) * S::kLanes); };
  if constexpr (R > 0) {
    finish.template panel<(R < 4 ? R : 4)>(out, row(0), row(1), row(2), row(3));
    finish_tile<S, (R > 4 ? R - 4 : 0)>(sums + 4 * S::kLanes, finish, out + 4 * finish.ldc);
  }
}

// Where a mixed tile finds the values of groups: interleaved as the weights are.
template <class S>
struct Interleaved {
  static constexpr int64_t step = S::Mixed::kGroup;
  static_assert(S::Mixed::kRows == S::kLanes);
  [[gnu::always_inline]] static int64_t place(const MixedBlock& block, int64_t i) { return block.order[i]; }
};

// Where tiles of one block and panel begin, and where their sums or codes go.
template <class S, class From>
struct MixedRows {
  const uint8_t* a;  // the first tile's activations, from the block on
  From from;
  int64_t advance;  // bytes from a tile to the next
  const int32_t* initial;
  int64_t initial_stride;  // from row to row; 0: all begin alike
  int32_t* sums;           // [rows][kPanel]
  const Finish<S, 1>* finish;
  uint8_t* out;        // with `finish`
  const int8_t* next;  // the weights to come, fetched a share with each tile; or null
  int64_t next_bytes;
};

// `tiles` tiles of `height` <= R rows; moves `at` behind them.
template <class S, class From, int R = S::Mixed::kRows>
void mixed_tiles(int64_t height, int64_t tiles, const MixedBlock& block_, MixedRows<S, From>& to) {
  if constexpr (R > 1)
    if (height < R) return mixed_tiles<S, From, R - 1>(height, tiles, block_, to);
  constexpr int64_t kLine = 64;
  const MixedBlock block = block_;
  MixedRows<S, From> at = to;
  const int64_t share = at.next ? (at.next_bytes / kLine + tiles - 1) / tiles * kLine : 0;
  const int8_t* const end = at.next + at.next_bytes;
  alignas(64) int32_t before[R * S::kLanes];
  const auto finish_before = [&]() [[gnu::always_inline]] {
    finish_tile<S, R>(before, *at.finish, at.out);
    at.out += R * at.finish->ldc;
  };
  for (int64_t t = 0; t < tiles; ++t) {
    for (const int8_t* until = at.next + share < end ? at.next + share : end; at.next < until; at.next += kLine)
      __builtin_prefetch(at.next);
    MixedSums<S, R> tile;
    tile.start(at.initial, at.initial_stride);
    add_block<S, R>(tile, at.a, at.from, block, at.a + at.advance);
    if (at.finish) {
      // A tile's codes are made after the next one's products, so that these do not wait for them.
      if (t > 0) finish_before();
      tile.save(before, S::kLanes);
    } else {
      tile.save(at.sums, S::kPanel);
      at.sums += R * S::kPanel;
    }
    at.a += at.advance;
    at.initial += R * at.initial_stride;
  }
  if (at.finish && tiles > 0) finish_before();
  to = at;
}

template <class S, class From>
void mixed_rows(const MixedCut& cut, const MixedBlock& block, MixedRows<S, From> at) {
  mixed_tiles<S, From>(cut.height, cut.whole, block, at);
  at.next = nullptr;
  if (cut.rest > 0) mixed_tiles<S, From>(cut.rest, 1, block, at);
}

// What the sums of `count` columns from j on begin with: activations hold their zero point, sums may lack what flipping
// takes; and the bias, where the tile finishes them.
template <class S>
[[gnu::always_inline]] inline void first_sums(const GemmArgs& g, int64_t j, bool bias, int count, int32_t* offset) {
  for (int c = 0; c < count; c += S::kLanes) {
    typename S::I32 sum = g.weight_sums ? S::mul(S::set(-g.code_zero), S::load(g.weight_sums + j + c)) : S::set(0);
    if (g.flipped_sums) sum = S::add(sum, S::load(g.flipped_sums + j + c));
    S::store(offset + c, bias ? S::add(sum, S::load(g.requantize.bias + j + c)) : sum);
  }
}

// The i-th block of a panel, without flipped weights.
template <class S>
[[gnu::always_inline]] inline MixedBlock block_of(const GemmArgs& g, int64_t panel, int64_t i) {
  using F = typename S::Mixed;
  const int64_t blocks = (g.groups + F::kBlock - 1) / F::kBlock, k = i * F::kBlock;
  if (blocks == 0) return {};
  const uint16_t* ends = g.ends + 3 * (panel * blocks + i);
  return {.weights = g.b + (panel * g.groups + k) * S::kLanes * F::kGroup,
          .order = g.order + panel * g.groups + k,
          .twins = ends[0],
          .singles = ends[1],
          .flipped_twins = ends[2],
          .groups = g.groups - k < F::kBlock ? g.groups - k : F::kBlock,
          .flipped = nullptr};
}

// The panel of columns [j, j + kLanes) for all rows: their sums or, with `finish`, codes. `next`: the panel to come.
template <class S>
void mixed_panel(const GemmArgs& g, const MixedCut& cut, int64_t j, int64_t next, int32_t* sums,
                 const Finish<S, 1>* finish) {
  using F = typename S::Mixed;
  constexpr int64_t kRows = F::kRows, kBytes = S::kLanes * F::kGroup;  // of a group
  const int64_t panel = j / S::kLanes, blocks = (g.groups + F::kBlock - 1) / F::kBlock;
  int32_t offset[S::kLanes];
  first_sums<S>(g, j, finish, S::kLanes, offset);
  alignas(64) uint8_t flipped[F::kBlock * 2 * kBytes];
  for (int64_t i = 0; i == 0 || i < blocks; ++i) {  // once even for K = 0
    MixedBlock block = block_of<S>(g, panel, i);
    flip_weights<S>(block, flipped);
    block.flipped = flipped;
    const bool last = i + 1 >= blocks;
    const MixedBlock coming = last ? block_of<S>(g, next, 0) : block_of<S>(g, panel, i + 1);
    for (int64_t q = 0; q < coming.groups; q += 32) __builtin_prefetch(coming.order + q);
    mixed_rows<S, Interleaved<S>>(cut, block,
                                  {.a = static_cast<const uint8_t*>(g.a) + i * F::kBlock * F::kGroup * kRows,
                                   .from = {},
                                   .advance = g.lda * kRows,
                                   .initial = i ? sums : offset,
                                   .initial_stride = i ? S::kPanel : 0,
                                   .sums = sums,
                                   .finish = last ? finish : nullptr,
                                   .out = finish ? g.codes + j : nullptr,
                                   .next = coming.weights == block.weights ? nullptr : coming.weights,
                                   .next_bytes = coming.groups * kBytes});
  }
}

// Codes, where `direct`; else epilogue(sums, j, columns) receives the sums of columns [j, j + columns).
template <class S, class Epilogue>
void mixed_gemm(const GemmArgs& g, bool direct, Epilogue epilogue) {
  const int64_t last = (g.columns - 1) / S::kPanel;  // pair of panels
  const MixedCut cut = mixed_cut<S>(g.rows);
  const auto step = [&](int64_t i) { return g.backward ? last - i : i; };
  for (int64_t i = 0; i <= last; ++i) {
    const int64_t j = step(i) * S::kPanel, columns = g.columns - j < S::kPanel ? g.columns - j : S::kPanel;
    for (int64_t c = 0; c < columns; c += S::kLanes) {
      const int64_t next = c + S::kLanes < columns ? j + S::kLanes : step(i < last ? i + 1 : i) * S::kPanel;
      if (direct) {
        const Finish<S, 1> finish(g, j + c, columns - c < S::kLanes ? columns - c : S::kLanes);
        mixed_panel<S>(g, cut, j + c, next / S::kLanes, g.scratch + c, &finish);
      } else {
        mixed_panel<S>(g, cut, j + c, next / S::kLanes, g.scratch + c, nullptr);
      }
    }
    if (!direct) epilogue(g.scratch, j, columns);
  }
}

// rows <= kRows rows of `groups` groups of codes, `stride` apart -> one interleaved tile of kRows * groups * 4 bytes.
template <class S>
void pack_tile(const uint8_t* from, int64_t stride, int64_t rows, int64_t groups, uint8_t* out) {
  using F = typename S::Mixed;
  constexpr int kRows = F::kRows, kBytes = F::kGroup * kRows;  // of a group
  const auto at = [&](int64_t r, int64_t q) { return from + (r < rows ? r : 0) * stride + q * F::kGroup; };
  const auto pack = [&](auto load, int64_t count, uint8_t* to) [[gnu::always_inline]] {
    const typename F::Wide row[kRows] = {load(0), load(1), load(2), load(3), load(4), load(5), load(6), load(7)};
    typename F::Wide a[kRows];
    F::interleave(row, a);
    for (int64_t i = 0; i < count; ++i) F::store(to + i * kBytes, a[i]);
  };
  int64_t q = 0;
  for (; q + S::kLanes <= groups; q += S::kLanes)
    pack([&](int r) { return F::load(reinterpret_cast<const int8_t*>(at(r, q))); }, S::kLanes, out + q * kBytes);
  if (const int64_t left = groups - q)
    pack([&](int r) { return F::load_part(at(r, q), left); }, left, out + q * kBytes);
}

}  // namespace octensor::kernels
