// GEMM where the fast product of bytes can overflow: exact for all weights and activations. Small weights have a faster
// form, kernels/gemm_plain.h; the one here takes any.
//
// As for a single row (kernels/gemm_row.h), a' = a - 128, x = |a'| <= 128 and m = a' < 0 ? -1 : 0 give
//
//   sum a' w  =  sum x (w ^ m)  +  sum of x where a' < 0
//
// whose second sum is one number per row, and pairs of x (w ^ m) stay in int16. So do sums of two pairs, from two
// groups of four K, where their weights are small enough: x (w ^ m) lies in [-128 l, 128 (l - 1)], l = max(w + 1, -w)
// the weight's *load*, and four of them in int16 where the loads sum to at most 256. Two groups for which this holds in
// each column of a panel (2 * kLanes columns) are *twins*: they share the multiplication that adds up pairs. Packing
// (ops/mixed_groups.h) lists the groups of each block of kBlock, twins first, so that the tile has two loops without a
// branch; weights and activations both lie in K's own order.
//
// Activations come interleaved in tiles of kRows rows (pack_flipped): [group][row][x 4 bytes, m 4 bytes], then each
// row's second sum as an int32. In a last tile of fewer rows the others are unused.
//
// Bound: per row, vector and group, 32 multiply-adds, twins take 1.5 multiply instructions of 3.5, other groups 2 of 4.
// On Zen 4 two multiply and four issue per cycle: 37 multiply-adds per cycle, or 32, the most that saturating products
// reach.
#pragma once
#include "kernels/args.h"
#include "kernels/finish.h"
#include "kernels/gemm_plain.h"
#include "kernels/mixed_block.h"

namespace octensor::kernels {

// Where a row finds the magnitudes and signs of a group: in interleaved tiles.
template <class F>
struct Interleaved {
  const uint8_t* place;
  [[gnu::always_inline]] const uint8_t* magnitudes() const { return place; }
  [[gnu::always_inline]] const uint8_t* signs() const { return place + F::kGroup; }
  [[gnu::always_inline]] Interleaved below() const { return {place + 2 * F::kGroup}; }
};

// R rows x V vectors of sums.
template <class S, int R, int V>
struct MixedSums {
  using F = typename S::Mixed;
  using Words = typename S::Words;
  using Bytes = typename F::Wide;
  typename S::I32 c0, c1;
  MixedSums<S, R - 1, V> below;

  [[gnu::always_inline]] void start(const int32_t* initial, int64_t stride, const int32_t* row_sums) {
    const typename S::I32 row = S::set(*row_sums);
    c0 = S::add(S::load(initial), row);
    if constexpr (V == 2) c1 = S::add(S::load(initial + S::kLanes), row);
    below.start(initial + stride, stride, row_sums + 1);
  }
  template <class At>
  [[gnu::always_inline]] void single(const At& a, Bytes b0, Bytes b1) {
    const Bytes x = F::broadcast(a.magnitudes()), m = F::broadcast(a.signs());
    c0 = F::dot(c0, x, F::flip(b0, m));
    if constexpr (V == 2) c1 = F::dot(c1, x, F::flip(b1, m));
    below.single(a.below(), b0, b1);
  }
  // Two groups: activations a and e, weights b and, in memory, d, for which there are no registers left.
  template <class At>
  [[gnu::always_inline]] void twins(const At& a, const At& e, Bytes b0, Bytes b1, const int8_t* d) {
    constexpr int kVector = S::kLanes * F::kGroup;
    const Bytes x = F::broadcast(a.magnitudes()), m = F::broadcast(a.signs());
    typename Words::Wide p0 = F::pairs(x, F::flip(b0, m)), p1 = p0;
    if constexpr (V == 2) p1 = F::pairs(x, F::flip(b1, m));
    const Bytes y = F::broadcast(e.magnitudes()), n = F::broadcast(e.signs());
    c0 = Words::dot(c0, Words::add(p0, F::pairs(y, F::flip(d, n))), Words::set(1));
    if constexpr (V == 2) c1 = Words::dot(c1, Words::add(p1, F::pairs(y, F::flip(d + kVector, n))), Words::set(1));
    below.twins(a.below(), e.below(), b0, b1, d);
  }
  [[gnu::always_inline]] void save(int32_t* out) const {
    S::store(out, c0);
    if constexpr (V == 2) S::store(out + S::kLanes, c1);
    below.save(out + S::kPanel);
  }
};
template <class S, int V>
struct MixedSums<S, 0, V> {
  using Bytes = typename S::Mixed::Wide;
  [[gnu::always_inline]] void start(const int32_t*, int64_t, const int32_t*) {}
  template <class At>
  [[gnu::always_inline]] void single(const At&, Bytes, Bytes) {}
  template <class At>
  [[gnu::always_inline]] void twins(const At&, const At&, Bytes, Bytes, const int8_t*) {}
  [[gnu::always_inline]] void save(int32_t*) const {}
};

// R rows of sums. `a`: the tile's activations from the block on; `initial`: rows `stride` apart, to which the rows'
// sums are added.
template <class S, int R, int V>
[[gnu::always_inline]] inline MixedSums<S, R, V> mixed_sums(const uint8_t* a, const MixedBlock& block,
                                                            const int32_t* initial, int64_t stride,
                                                            const int32_t* row_sums) {
  using F = typename S::Mixed;
  constexpr int kVector = S::kLanes * F::kGroup, kSecond = (V - 1) * kVector;
  const auto activations = [&](uint16_t place)
                               [[gnu::always_inline]] { return Interleaved<F>{a + int64_t{place} * F::kRows}; };
  const auto weights = [&](uint16_t place)
                           [[gnu::always_inline]] { return block.weights + int64_t{place} * (2 * kVector / 8); };
  MixedSums<S, R, V> tile;
  tile.start(initial, stride, row_sums);
  const uint16_t* order = block.order;
  for (const uint16_t* end = block.singles; order != end; order += 2) {
    const int8_t *b = weights(order[0]), *d = weights(order[1]);
    tile.twins(activations(order[0]), activations(order[1]), F::load(b), F::load(b + kSecond), d);
  }
  for (const uint16_t* end = block.end; order != end; ++order) {
    const int8_t* b = weights(*order);
    tile.single(activations(*order), F::load(b), F::load(b + kSecond));
  }
  return tile;
}

// R rows times one block of one panel: codes, or the sums [R][kPanel], which may be the same memory as `initial`.
template <class S, int R, int V, bool kPlain>
[[gnu::always_inline]] inline void mixed_tile(const uint8_t* a, const MixedBlock& block, const int32_t* initial,
                                              int64_t stride, const int32_t* row_sums, int32_t* sums,
                                              const Finish<S, V>* finish, uint8_t* out) {
  const auto leave = [&](const auto& tile) [[gnu::always_inline]] {
    if (finish)
      finish_rows<S, R, V>(tile, *finish, out);
    else
      tile.save(sums);
  };
  if constexpr (kPlain)
    leave(plain_sums<S, R, V>(a, block, initial, stride));
  else
    leave(mixed_sums<S, R, V>(a, block, initial, stride, row_sums));
}

// The last rows, fewer than a tile.
template <class S, int V, bool kPlain, int R>
[[gnu::noinline]] void mixed_rest(int64_t rows, const uint8_t* a, const MixedBlock& block, const int32_t* initial,
                                  int64_t stride, const int32_t* row_sums, int32_t* sums, const Finish<S, V>* finish,
                                  uint8_t* out) {
  if constexpr (R > 1)
    if (rows < R) return mixed_rest<S, V, kPlain, R - 1>(rows, a, block, initial, stride, row_sums, sums, finish, out);
  mixed_tile<S, R, V, kPlain>(a, block, initial, stride, row_sums, sums, finish, out);
}

// All rows times one block of one panel, which begins at group k and column j.
template <class S, int V, bool kPlain>
void mixed_rows(const GemmArgs& g, const MixedBlock& block_, int64_t k, int64_t j, const int32_t* offset,
                const Finish<S, V>* finish) {
  constexpr int kRows = S::Mixed::kRows, kBytes = (kPlain ? 1 : 2) * S::Mixed::kGroup * kRows;  // of a group
  static constexpr int32_t kNone[kRows] = {};
  const MixedBlock block = block_;
  const int64_t stride = k ? S::kPanel : 0, to_rows = (g.groups - k) * kBytes;
  const auto* a = static_cast<const uint8_t*>(g.a) + k * kBytes;
  const int64_t lda = g.lda * kRows, rows = g.rows, ldc = g.ldc * kRows;
  int32_t* sums = g.scratch;
  uint8_t* out = finish ? g.codes + j : nullptr;
  // While rows are multiplied the weights to come are fetched, a part with each tile.
  const int64_t lines = block.next ? block.next_groups : 0;
  const int64_t share = (lines * kRows + rows - 1) / rows;
  static_assert(S::kPanel * S::Mixed::kGroup == 64);
  int64_t line = 0;
  for (int64_t i = 0; i < rows; i += kRows, a += lda, sums += kRows * S::kPanel, out += ldc) {
    for (const int64_t until = line + share < lines ? line + share : lines; line < until; ++line)
      __builtin_prefetch(block.next + 64 * line);
    const int32_t *initial = k ? sums : offset, *row_sums = k ? kNone : reinterpret_cast<const int32_t*>(a + to_rows);
    if (i + kRows <= rows)
      mixed_tile<S, kRows, V, kPlain>(a, block, initial, stride, row_sums, sums, finish, out);
    else
      mixed_rest<S, V, kPlain, kRows - 1>(rows - i, a, block, initial, stride, row_sums, sums, finish, out);
  }
}

// What the sums of panel columns [j, j + kPanel) begin with: activations hold their zero point, less `taken`; and the
// bias, where the tile finishes them.
template <class S>
[[gnu::always_inline]] inline void first_sums(const GemmArgs& g, int64_t j, int32_t taken, bool bias, int32_t* offset) {
  for (int c = 0; c < S::kPanel; c += S::kLanes) {
    const typename S::I32 sum =
        g.weight_sums ? S::mul(S::set(taken - g.code_zero), S::load(g.weight_sums + j + c)) : S::set(0);
    S::store(offset + c, bias ? S::add(sum, S::load(g.requantize.bias + j + c)) : sum);
  }
}

// The panel of columns [j, j + kPanel) for all rows: their sums or, with `finish`, codes. `next`: the weights of the
// panel to come, or null.
template <class S, int V>
void mixed_panel(const GemmArgs& g, int64_t j, const int8_t* next, const Finish<S, V>* finish) {
  using F = typename S::Mixed;
  static_assert(F::kRows == 4);
  const int64_t panel = j / S::kPanel, blocks = (g.groups + F::kBlock - 1) / F::kBlock;
  const auto groups_at = [&](int64_t k) { return g.groups - k < F::kBlock ? g.groups - k : F::kBlock; };
  int32_t offset[S::kPanel];
  first_sums<S>(g, j, g.plain ? 0 : 128, finish, offset);
  for (int64_t k = 0; k == 0 || k < g.groups; k += F::kBlock) {  // once even for K = 0
    const int64_t groups = groups_at(k), end = k + groups;
    const uint16_t* order = g.order + panel * g.groups + k;
    const uint16_t* ends = g.ends + 2 * (panel * blocks + k / F::kBlock);
    const int8_t* b = g.b + (panel * g.groups + k) * S::kPanel * F::kGroup;
    const bool last = end == g.groups;
    const MixedBlock block{.weights = b,
                           .order = order,
                           .singles = order + (groups ? ends[0] : 0),
                           .splits = order + (groups ? ends[1] : 0),
                           .end = order + groups,
                           .next = last ? next : b + groups * S::kPanel * F::kGroup,
                           .next_groups = last ? groups_at(0) : groups_at(end)};
    const Finish<S, V>* codes = last ? finish : nullptr;
    g.plain ? mixed_rows<S, V, true>(g, block, k, j, offset, codes)
            : mixed_rows<S, V, false>(g, block, k, j, offset, codes);
  }
}

// rows <= kRows rows of `groups` groups of codes, `stride` apart -> one interleaved tile of
// kRows * (groups * 8 + 4) bytes.
template <class S>
void pack_flipped(const uint8_t* from, int64_t stride, int64_t rows, int64_t groups, uint8_t* out) {
  using F = typename S::Mixed;
  constexpr int kRows = F::kRows, kBytes = 2 * F::kGroup * kRows;  // of a group
  typename S::I32 negative = S::set(0);
  // Vectors x and m of two groups each, stored by `store`.
  auto pack = [&](const typename F::Wide(&row)[kRows], auto store) [[gnu::always_inline]] {
    typename F::Wide a[kRows];
    F::interleave(row, a);
    for (int i = 0; i < kRows; ++i) {
      const typename F::Wide x = F::distances(a[i]), m = F::below(a[i]);
      negative = F::dot(negative, x, m);
      store(i, x, m);
    }
  };
  auto at = [&](int64_t r, int64_t q) { return from + (r < rows ? r : 0) * stride + q * F::kGroup; };
  int64_t q = 0;
  for (; q + S::kLanes <= groups; q += S::kLanes) {
    auto row = [&](int r) { return F::load(reinterpret_cast<const int8_t*>(at(r, q))); };
    pack({row(0), row(1), row(2), row(3)},
         [&](int i, typename F::Wide x, typename F::Wide m) { F::store_in_turns(out + (q + 2 * i) * kBytes, x, m); });
  }
  if (const int64_t left = groups - q) {
    auto row = [&](int r) { return F::load_part(at(r, q), left); };
    pack({row(0), row(1), row(2), row(3)}, [&](int i, typename F::Wide x, typename F::Wide m) {
      uint8_t two[2 * kBytes];
      if (2 * i + 1 < left) return F::store_in_turns(out + (q + 2 * i) * kBytes, x, m);
      F::store_in_turns(two, x, m);
      if (2 * i < left) __builtin_memcpy(out + (q + 2 * i) * kBytes, two, kBytes);
    });
  }
  int32_t lanes[S::kLanes];  // [two groups][row]
  S::store(lanes, negative);
  for (int r = 0; r < kRows; ++r) {
    const int32_t sum = -(lanes[r] + lanes[r + kRows]);
    __builtin_memcpy(out + groups * kBytes + r * sizeof sum, &sum, sizeof sum);
  }
}

template <class S>
void pack_tile(const uint8_t* from, int64_t stride, int64_t rows, int64_t groups, bool plain, uint8_t* out) {
  plain ? pack_plain<S>(from, stride, rows, groups, out) : pack_flipped<S>(from, stride, rows, groups, out);
}

}  // namespace octensor::kernels
