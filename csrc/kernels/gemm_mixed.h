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
#include "kernels/gemm_plain.h"
#include "kernels/mixed_block.h"

namespace octensor::kernels {

// R rows x V vectors of sums.
template <class S, int R, int V>
struct MixedSums {
  using F = typename S::Mixed;
  using Words = typename S::Words;
  using Bytes = typename F::Wide;
  static constexpr int kRow = 2 * F::kGroup;  // bytes of a row and group
  typename S::I32 c0, c1;
  MixedSums<S, R - 1, V> below;

  [[gnu::always_inline]] void start(const int32_t* initial, int64_t stride, const int32_t* row_sums) {
    const typename S::I32 row = S::set(*row_sums);
    c0 = S::add(S::load(initial), row);
    if constexpr (V == 2) c1 = S::add(S::load(initial + S::kLanes), row);
    below.start(initial + stride, stride, row_sums + 1);
  }
  [[gnu::always_inline]] void single(const uint8_t* a, Bytes b0, Bytes b1) {
    const Bytes x = F::broadcast(a), m = F::broadcast(a + F::kGroup);
    c0 = F::dot(c0, x, F::flip(b0, m));
    if constexpr (V == 2) c1 = F::dot(c1, x, F::flip(b1, m));
    below.single(a + kRow, b0, b1);
  }
  // Two groups: activations a and e, weights b and, in memory, d, for which there are no registers left.
  [[gnu::always_inline]] void twins(const uint8_t* a, const uint8_t* e, Bytes b0, Bytes b1, const int8_t* d) {
    constexpr int kVector = S::kLanes * F::kGroup;
    const Bytes x = F::broadcast(a), m = F::broadcast(a + F::kGroup);
    typename Words::Wide p0 = F::pairs(x, F::flip(b0, m)), p1 = p0;
    if constexpr (V == 2) p1 = F::pairs(x, F::flip(b1, m));
    const Bytes y = F::broadcast(e), n = F::broadcast(e + F::kGroup);
    c0 = Words::dot(c0, Words::add(p0, F::pairs(y, F::flip(d, n))), Words::set(1));
    if constexpr (V == 2) c1 = Words::dot(c1, Words::add(p1, F::pairs(y, F::flip(d + kVector, n))), Words::set(1));
    below.twins(a + kRow, e + kRow, b0, b1, d);
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
  [[gnu::always_inline]] void single(const uint8_t*, Bytes, Bytes) {}
  [[gnu::always_inline]] void twins(const uint8_t*, const uint8_t*, Bytes, Bytes, const int8_t*) {}
  [[gnu::always_inline]] void save(int32_t*) const {}
};

// `a`: the tile's activations from the block on. `initial` holds rows of sums `stride` apart, to which the rows' sums
// are added; sums [R][kPanel] may be the same memory.
template <class S, int R, int V>
[[gnu::always_inline]] inline void mixed_tile(const uint8_t* a, const MixedBlock& block, const int32_t* initial,
                                              int64_t stride, const int32_t* row_sums, int32_t* sums) {
  using F = typename S::Mixed;
  constexpr int kVector = S::kLanes * F::kGroup, kSecond = (V - 1) * kVector;
  const auto activations = [&](uint16_t place) [[gnu::always_inline]] { return a + int64_t{place} * F::kRows; };
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
  tile.save(sums);
}

// All rows times one block of one panel, which begins at group k.
template <class S, int V, bool kPlain>
void mixed_rows(const GemmArgs& g, const MixedBlock& block, int64_t k, const int32_t* offset) {
  constexpr int kRows = S::Mixed::kRows, kBytes = (kPlain ? 1 : 2) * S::Mixed::kGroup * kRows;  // of a group
  static constexpr int32_t kNone[kRows] = {};
  const auto* a = static_cast<const uint8_t*>(g.a);
  const int64_t stride = k ? S::kPanel : 0;
  const int64_t begin = k * kBytes, end = g.groups * kBytes;
  for (int64_t i = 0; i < g.rows; i += kRows, a += kRows * g.lda) {
    int32_t* sums = g.scratch + i * S::kPanel;
    const int32_t* initial = k ? sums : offset;
    const auto tile = [&]<int R>() {
      if constexpr (kPlain)
        plain_tile<S, R, V>(a + begin, block, initial, stride, sums);
      else
        mixed_tile<S, R, V>(a + begin, block, initial, stride, k ? kNone : reinterpret_cast<const int32_t*>(a + end),
                            sums);
    };
    switch (g.rows - i) {
      case 1:
        tile.template operator()<1>();
        break;
      case 2:
        tile.template operator()<2>();
        break;
      case 3:
        tile.template operator()<3>();
        break;
      default:
        tile.template operator()<kRows>();
    }
  }
}

// What the sums of panel columns [j, j + kPanel) begin with: activations hold their zero point, less `taken`.
template <class S>
[[gnu::always_inline]] inline void zero_offsets(const GemmArgs& g, int64_t j, int32_t taken, int32_t* offset) {
  for (int c = 0; c < S::kPanel; c += S::kLanes)
    S::store(offset + c,
             g.weight_sums ? S::mul(S::set(taken - g.code_zero), S::load(g.weight_sums + j + c)) : S::set(0));
}

// Sums of the panel of columns [j, j + kPanel) for all rows.
template <class S, int V>
void mixed_panel(const GemmArgs& g, int64_t j) {
  using F = typename S::Mixed;
  static_assert(F::kRows == 4);
  const int64_t panel = j / S::kPanel, blocks = (g.groups + F::kBlock - 1) / F::kBlock;
  int32_t offset[S::kPanel];
  zero_offsets<S>(g, j, g.plain ? 0 : 128, offset);
  for (int64_t k = 0; k == 0 || k < g.groups; k += F::kBlock) {  // once even for K = 0
    const int64_t groups = g.groups - k < F::kBlock ? g.groups - k : F::kBlock;
    const uint16_t* order = g.order + panel * g.groups + k;
    const uint16_t* ends = g.ends + 2 * (panel * blocks + k / F::kBlock);
    const int8_t* b = g.b + (panel * g.groups + k) * S::kPanel * F::kGroup;
    const MixedBlock block = groups ? MixedBlock{b, order, order + ends[0], order + ends[1], order + groups}
                                    : MixedBlock{b, order, order, order, order};
    g.plain ? mixed_rows<S, V, true>(g, block, k, offset) : mixed_rows<S, V, false>(g, block, k, offset);
  }
}

// rows <= kRows rows of `groups` groups of codes, `stride` apart -> one interleaved tile of
// kRows * (groups * 8 + 4) bytes.
template <class S>
void pack_flipped(const uint8_t* from, int64_t stride, int64_t rows, int64_t groups, uint8_t* out) {
  using F = typename S::Mixed;
  constexpr int kRows = F::kRows, kCodes = S::kLanes * F::kGroup, kBytes = 2 * F::kGroup * kRows;  // of a group
  typename S::I32 negative = S::set(0);
  auto pack = [&](const uint8_t* const(&row)[kRows], uint8_t* to) [[gnu::always_inline]] {
    typename F::Wide a[kRows];
    F::interleave(row, a);
    for (int i = 0; i < kRows; ++i, to += 2 * kBytes) {
      const typename F::Wide x = F::distances(a[i]), m = F::below(a[i]);
      negative = F::dot(negative, x, m);
      F::store_in_turns(to, x, m);
    }
  };
  const uint8_t* row[kRows];
  for (int r = 0; r < kRows; ++r) row[r] = from + (r < rows ? r : 0) * stride;
  int64_t q = 0;
  for (; q + S::kLanes <= groups; q += S::kLanes) {
    pack(row, out + q * kBytes);
    for (const uint8_t*& r : row) r += kCodes;
  }
  if (q < groups) {  // through copies; codes of 128 add nothing
    uint8_t rest[kRows][kCodes], to[S::kLanes * kBytes];
    for (int r = 0; r < kRows; ++r)
      for (int i = 0; i < kCodes; ++i) rest[r][i] = i < 4 * (groups - q) ? row[r][i] : 128;
    pack({rest[0], rest[1], rest[2], rest[3]}, to);
    __builtin_memcpy(out + q * kBytes, to, (groups - q) * kBytes);
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
