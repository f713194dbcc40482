// GEMM where the fast product of bytes can overflow: exact by choosing the product per group of K.
//
// In a panel (2 * kLanes columns) a group of four K is *safe* when in each column the weights of either sign in
// (k0, k1), and in (k2, k3), sum to at most 128: with activations of at most 255 every pair then stays in int16
// and Mixed::dot is exact. The others are taken as two pairs of 16-bit words, (k0, k2) and (k1, k3), which
// always are. Packing (ops/packed.cpp) lists the groups of each block of kBlock, the safe ones first, so that the tile
// has two loops without a branch; weights and activations both lie in K's own order.
//
// Activations come interleaved in tiles of kRows rows (pack_tile): [group][row][4] bytes, then the same values
// as words [group][even, odd][row][2]. A last tile of R rows is interleaved by R.
//
// A single row has a kernel of its own (kernels/gemm_row.h).
//
// Bound: either product takes two multiply instructions per row, vector and group, 16 multiply-adds each. A safe
// group takes one addition beside them, the other two; on Zen 4 two multiplies issue per cycle, and 1.6 pairs of
// multiply and addition.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

template <class S>
inline constexpr bool kMixed = requires { S::Operand::kBlock; };

// A group's weights as words: (k0, k2) and (k1, k3) of one vector of columns.
template <class S>
struct WordPairs {
  typename S::Words::Wide even, odd;

  [[gnu::always_inline]] static WordPairs of(const int8_t* p) {
    const typename S::Mixed::Wide b = S::Mixed::load(p);
    return {S::Mixed::even_weights(b), S::Mixed::odd_weights(b)};
  }
  [[gnu::always_inline]] static WordPairs of(const int16_t* p) {  // widened before
    return {S::Words::load(p), S::Words::load(p + 2 * S::kLanes)};
  }
};

// R rows x V vectors of sums.
template <class S, int R, int V>
struct MixedSums {
  using F = typename S::Mixed;
  using Words = typename S::Words;
  typename S::I32 c0, c1;
  MixedSums<S, R - 1, V> below;

  [[gnu::always_inline]] void start(const int32_t* initial, int64_t stride) {
    c0 = S::load(initial);
    if constexpr (V == 2) c1 = S::load(initial + S::kLanes);
    below.start(initial + stride, stride);
  }
  [[gnu::always_inline]] void safe(const uint8_t* a, typename F::Wide b0, typename F::Wide b1) {
    const typename F::Wide x = F::broadcast(a);
    c0 = F::dot(c0, x, b0);
    if constexpr (V == 2) c1 = F::dot(c1, x, b1);
    below.safe(a + 4, b0, b1);
  }
  [[gnu::always_inline]] void words(typename Words::Wide even, typename Words::Wide odd, const WordPairs<S>& b0,
                                    const WordPairs<S>& b1) {
    c0 = Words::dot(c0, even, b0.even);
    if constexpr (V == 2) c1 = Words::dot(c1, even, b1.even);
    c0 = Words::dot(c0, odd, b0.odd);
    if constexpr (V == 2) c1 = Words::dot(c1, odd, b1.odd);
  }
  [[gnu::always_inline]] void exact(const int16_t* even, const int16_t* odd, const WordPairs<S>& b0,
                                    const WordPairs<S>& b1) {
    words(Words::broadcast(even), Words::broadcast(odd), b0, b1);
    below.exact(even + 2, odd + 2, b0, b1);
  }
  [[gnu::always_inline]] void save(int32_t* out) const {
    S::store(out, c0);
    if constexpr (V == 2) S::store(out + S::kLanes, c1);
    below.save(out + S::kPanel);
  }
};
template <class S, int V>
struct MixedSums<S, 0, V> {
  using F = typename S::Mixed;
  [[gnu::always_inline]] void start(const int32_t*, int64_t) {}
  [[gnu::always_inline]] void safe(const uint8_t*, typename F::Wide, typename F::Wide) {}
  [[gnu::always_inline]] void exact(const int16_t*, const int16_t*, const WordPairs<S>&, const WordPairs<S>&) {}
  [[gnu::always_inline]] void save(int32_t*) const {}
};

// What the rows of tiles share: one block of one panel.
template <class Weight>
struct MixedBlock {
  const int8_t* bytes;    // the block's packed groups
  const Weight* unsafe;   // the unsafe ones: widened, one after the other, or the same
  const uint16_t* order;  // 4 times each group's place in the block, the safe ones first
  int64_t safe_groups, groups;
};

// `initial` holds rows of sums `stride` apart; sums [R][kPanel] may be the same memory.
template <class S, int R, int V, class Weight>
[[gnu::always_inline]] inline void mixed_tile(const uint8_t* a, const int16_t* words, const MixedBlock<Weight>& block,
                                              const int32_t* initial, int64_t stride, int32_t* sums) {
  using F = typename S::Mixed;
  constexpr int kVector = S::kLanes * F::kGroup, kStep = 2 * kVector;
  constexpr int kSecond = sizeof(Weight) * kVector;  // of widened weights a vector is as many words as bytes
  MixedSums<S, R, V> tile;
  tile.start(initial, stride);
  const uint16_t* order = block.order;
  for (const uint16_t* end = order + block.safe_groups; order != end; ++order) {
    const int8_t* b = block.bytes + int64_t{*order} * (kStep / F::kGroup);
    tile.safe(a + int64_t{*order} * R, F::load(b), F::load(b + (V - 1) * kVector));
  }
  const Weight* next = block.unsafe;
  for (const uint16_t* end = block.order + block.groups; order != end; ++order, next += kStep) {
    const Weight* u = next;
    if constexpr (sizeof(Weight) == 1) u = block.unsafe + int64_t{*order} * (kStep / F::kGroup);
    const auto b0 = WordPairs<S>::of(u), b1 = WordPairs<S>::of(u + (V - 1) * kSecond / sizeof(Weight));
    const int16_t* w = words + int64_t{*order} * R;
    tile.exact(w, w + 2 * R, b0, b1);
  }
  tile.save(sums);
}

template <class S, int V, class Weight, int R = S::Mixed::kRows - 1>
void mixed_tile_of(int rows, const uint8_t* a, const int16_t* words, const MixedBlock<Weight>& block,
                   const int32_t* initial, int64_t stride, int32_t* sums) {
  if constexpr (R > 0) {
    if (rows < R) return mixed_tile_of<S, V, Weight, R - 1>(rows, a, words, block, initial, stride, sums);
    mixed_tile<S, R, V, Weight>(a, words, block, initial, stride, sums);
  }
}

// All rows times one block of one panel, which begins at group k.
template <class S, int V, class Weight>
void mixed_rows(const GemmArgs& g, const MixedBlock<Weight>& block, int64_t k, const int32_t* offset) {
  constexpr int kRows = S::Mixed::kRows;
  const int64_t stride = k ? S::kPanel : 0;
  int64_t i = 0;
  auto tile = [&](int64_t rows, auto multiply) [[gnu::always_inline]] {
    const uint8_t* bytes = static_cast<const uint8_t*>(g.a) + i * g.lda;
    const auto* words = reinterpret_cast<const int16_t*>(bytes + rows * g.groups * 4);
    int32_t* sums = g.scratch + i * S::kPanel;
    multiply(bytes + rows * k * 4, words + rows * k * 4, k ? sums : offset, sums);
  };
  for (; i + kRows <= g.rows; i += kRows)
    tile(kRows,
         [&](const uint8_t* a, const int16_t* words, const int32_t* initial, int32_t* sums)
             [[gnu::always_inline]] { mixed_tile<S, kRows, V, Weight>(a, words, block, initial, stride, sums); });
  if (i < g.rows)
    tile(g.rows - i, [&](const uint8_t* a, const int16_t* words, const int32_t* initial, int32_t* sums) {
      mixed_tile_of<S, V, Weight>(static_cast<int>(g.rows - i), a, words, block, initial, stride, sums);
    });
}

// What the sums of panel columns [j, j + kPanel) begin with: activations still hold their zero point.
template <class S>
[[gnu::always_inline]] inline void zero_offsets(const GemmArgs& g, int64_t j, int32_t* offset) {
  for (int c = 0; c < S::kPanel; c += S::kLanes)
    S::store(offset + c, g.weight_sums ? S::mul(S::set(-g.code_zero), S::load(g.weight_sums + j + c)) : S::set(0));
}

// Sums of the panel of columns [j, j + kPanel) for all rows.
template <class S, int V>
void mixed_panel(const GemmArgs& g, int64_t j) {
  using F = typename S::Mixed;
  constexpr int kStep = S::kPanel * F::kGroup, kVector = S::kLanes * F::kGroup;
  constexpr int kWidenRows = 3 * F::kRows;  // from here on widening beforehand pays
  const int64_t panel = j / S::kPanel, blocks = (g.groups + F::kBlock - 1) / F::kBlock;
  alignas(64) int16_t widened[F::kBlock * kStep];
  int32_t offset[S::kPanel];
  zero_offsets<S>(g, j, offset);
  for (int64_t k = 0; k == 0 || k < g.groups; k += F::kBlock) {  // once even for K = 0
    const int64_t groups = g.groups - k < F::kBlock ? g.groups - k : F::kBlock;
    const int64_t safe = g.groups ? g.safe_groups[panel * blocks + k / F::kBlock] : 0;
    const int8_t* b = g.b + (panel * g.groups + k) * kStep;
    const uint16_t* order = g.order + panel * g.groups + k;
    if (g.rows < kWidenRows) {
      mixed_rows<S, V>(g, MixedBlock<int8_t>{b, b, order, safe, groups}, k, offset);
      continue;
    }
    int16_t* to = widened;
    for (const uint16_t* at = order + safe; at != order + groups; ++at)
      for (int i = 0; i < kStep; i += kVector, to += kVector) {
        const WordPairs<S> pairs = WordPairs<S>::of(b + int64_t{*at} * (kStep / F::kGroup) + i);
        S::Words::store(to, pairs.even);
        S::Words::store(to + 2 * S::kLanes, pairs.odd);
      }
    mixed_rows<S, V>(g, MixedBlock<int16_t>{b, widened, order, safe, groups}, k, offset);
  }
}

// kLanes groups of kRows rows -> their bytes, and their words unless `word` is null.
template <class S>
[[gnu::always_inline]] inline void pack_groups(const uint8_t* from, int64_t stride, uint8_t* byte, uint8_t* word) {
  using F = typename S::Mixed;
  typename F::Wide x[F::kRows];
  F::interleave(from, stride, x);
  for (int i = 0; i < F::kRows; ++i) F::store(byte + 2 * i * 4 * F::kRows, x[i]);
  if (!word) return;
  for (int i = 0; i < F::kRows; ++i) {
    const auto even = F::even_codes(x[i]), odd = F::odd_codes(x[i]);
    F::store(word + 2 * i * 8 * F::kRows, F::low_halves(even, odd));
    F::store(word + (2 * i + 1) * 8 * F::kRows, F::high_halves(even, odd));
  }
}

// rows <= kRows rows of `groups` groups of bytes, `stride` apart -> one interleaved tile of rows * groups * 12
// bytes; without `words` only the bytes are written.
template <class S>
void pack_tile(const uint8_t* from, int64_t stride, int64_t rows, int64_t groups, bool words, uint8_t* out) {
  using F = typename S::Mixed;
  constexpr int kBytes = 4 * F::kRows, kWords = 2 * kBytes;  // of one group
  uint8_t* word = words ? out + rows * groups * 4 : nullptr;
  int64_t q = 0;
  if (rows == F::kRows) {
    for (; q + S::kLanes <= groups; q += S::kLanes)
      pack_groups<S>(from + 4 * q, stride, out + q * kBytes, words ? word + q * kWords : nullptr);
    if (q == groups) return;
    if (groups >= S::kLanes) {  // the last whole vector, part of it once more
      q = groups - S::kLanes;
      return pack_groups<S>(from + 4 * q, stride, out + q * kBytes, words ? word + q * kWords : nullptr);
    }
    // Through copies: never read past a row, never write past the tile.
    uint8_t rest[kBytes * S::kLanes], byte[kBytes * S::kLanes], pairs[kWords * S::kLanes];
    for (int64_t i = 0; i < groups; ++i)
      for (int64_t r = 0; r < F::kRows; ++r)
        __builtin_memcpy(rest + (r * S::kLanes + i) * 4, from + r * stride + 4 * i, 4);
    pack_groups<S>(rest, 4 * S::kLanes, byte, words ? pairs : nullptr);
    for (int64_t i = 0; i < groups; ++i) __builtin_memcpy(out + i * kBytes, byte + i * kBytes, kBytes);
    for (int64_t i = 0; words && i < groups; ++i) __builtin_memcpy(word + i * kWords, pairs + i * kWords, kWords);
    return;
  }
  for (; q < groups; ++q)
    for (int64_t r = 0; r < rows; ++r) {
      const uint8_t* x = from + r * stride + 4 * q;
      uint8_t* to = out + (q * rows + r) * 4;
      for (int i = 0; i < 4; ++i) to[i] = x[i];
      if (!words) continue;
      uint8_t *even = word + (2 * q * rows + r) * 4, *odd = word + ((2 * q + 1) * rows + r) * 4;
      even[0] = x[0], even[1] = 0, even[2] = x[2], even[3] = 0;
      odd[0] = x[1], odd[1] = 0, odd[2] = x[3], odd[3] = 0;
    }
}

}  // namespace octensor::kernels
