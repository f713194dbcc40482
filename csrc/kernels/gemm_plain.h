// The mixed GEMM (kernels/gemm_mixed.h) where weights are small enough to take activations as they are, u8 codes a.
//
// A sum of products a w in int16 lies in [-255 n, 255 p], p the sum of its positive weights and n that of the negative
// ones' magnitudes: it fits where neither exceeds 128. Two groups of four K of which that holds together, for k0 and k1
// of both and for k2 and k3 of both, in each column of a panel, are *twins*: one multiplication adds up their pairs. A
// group of which it holds alone is a *single*; of any other, a *split*, codes are multiplied in two parts, their low
// seven bits, at most 2 * 127 * 128 per pair, and their top one, in [-2 * 128 * 128, 2 * 128 * 127].
//
// Activations come interleaved in tiles of kRows rows (pack_plain): [group][row][4 bytes].
//
// Bound: per row, vector and group, 32 multiply-adds, twins take 1.5 multiply instructions of 2.5, singles 2 of 3,
// splits 4 of 6. On Zen 4 two multiply and four issue per cycle: 43 multiply-adds per cycle, 32 or 16, and there is
// room left on the ports for everything else. ops/mixed_groups.h chooses between this and the other form.
#pragma once
#include "kernels/mixed_block.h"

namespace octensor::kernels {

// R rows x V vectors of sums.
template <class S, int R, int V>
struct PlainSums {
  using F = typename S::Mixed;
  using Words = typename S::Words;
  using Bytes = typename F::Wide;
  static constexpr int kVector = S::kLanes * F::kGroup;
  static constexpr int kRow = F::kGroup;  // bytes of a row and group
  typename S::I32 c0, c1;
  PlainSums<S, R - 1, V> below;

  [[gnu::always_inline]] void start(const int32_t* initial, int64_t stride) {
    c0 = S::load(initial);
    if constexpr (V == 2) c1 = S::load(initial + S::kLanes);
    below.start(initial + stride, stride);
  }
  // Two groups: activations a and e, weights b and d; the last vector stays in memory, for it there is no register.
  [[gnu::always_inline]] void twins(const uint8_t* a, const uint8_t* e, Bytes b0, Bytes b1, Bytes d0, const int8_t* d) {
    const Bytes x = F::broadcast(a), y = F::broadcast(e);
    c0 = Words::dot(c0, Words::add(F::pairs(x, b0), F::pairs(y, d0)), Words::set(1));
    if constexpr (V == 2) c1 = Words::dot(c1, Words::add(F::pairs(x, b1), F::pairs(y, d + kVector)), Words::set(1));
    below.twins(a + kRow, e + kRow, b0, b1, d0, d);
  }
  [[gnu::always_inline]] void single(const uint8_t* a, Bytes b0, Bytes b1) {
    const Bytes x = F::broadcast(a);
    c0 = F::dot(c0, x, b0);
    if constexpr (V == 2) c1 = F::dot(c1, x, b1);
    below.single(a + kRow, b0, b1);
  }
  [[gnu::always_inline]] void split(const uint8_t* a, Bytes b0, Bytes b1) {
    const Bytes x = F::broadcast(a), low = F::low_bits(x), top = F::top_bits(x);
    c0 = F::dot(F::dot(c0, low, b0), top, b0);
    if constexpr (V == 2) c1 = F::dot(F::dot(c1, low, b1), top, b1);
    below.split(a + kRow, b0, b1);
  }
  [[gnu::always_inline]] void save(int32_t* out) const {
    S::store(out, c0);
    if constexpr (V == 2) S::store(out + S::kLanes, c1);
    below.save(out + S::kPanel);
  }
};
template <class S, int V>
struct PlainSums<S, 0, V> {
  using Bytes = typename S::Mixed::Wide;
  [[gnu::always_inline]] void start(const int32_t*, int64_t) {}
  [[gnu::always_inline]] void twins(const uint8_t*, const uint8_t*, Bytes, Bytes, Bytes, const int8_t*) {}
  [[gnu::always_inline]] void single(const uint8_t*, Bytes, Bytes) {}
  [[gnu::always_inline]] void split(const uint8_t*, Bytes, Bytes) {}
  [[gnu::always_inline]] void save(int32_t*) const {}
};

// As mixed_sums of kernels/gemm_mixed.h.
template <class S, int R, int V>
[[gnu::always_inline]] inline PlainSums<S, R, V> plain_sums(const uint8_t* a, const MixedBlock& block,
                                                            const int32_t* initial, int64_t stride) {
  using F = typename S::Mixed;
  constexpr int kVector = S::kLanes * F::kGroup, kSecond = (V - 1) * kVector;
  const auto activations = [&](uint16_t place) [[gnu::always_inline]] { return a + int64_t{place} * (F::kRows / 2); };
  const auto weights = [&](uint16_t place)
                           [[gnu::always_inline]] { return block.weights + int64_t{place} * (2 * kVector / 8); };
  PlainSums<S, R, V> tile;
  tile.start(initial, stride);
  const uint16_t* order = block.order;
  for (const uint16_t* end = block.singles; order != end; order += 2) {
    const int8_t *b = weights(order[0]), *d = weights(order[1]);
    tile.twins(activations(order[0]), activations(order[1]), F::load(b), F::load(b + kSecond), F::load(d), d);
  }
  for (const uint16_t* end = block.splits; order != end; ++order) {
    const int8_t* b = weights(*order);
    tile.single(activations(*order), F::load(b), F::load(b + kSecond));
  }
  for (const uint16_t* end = block.end; order != end; ++order) {
    const int8_t* b = weights(*order);
    tile.split(activations(*order), F::load(b), F::load(b + kSecond));
  }
  return tile;
}

// rows <= kRows rows of `groups` groups of codes, `stride` apart -> one interleaved tile of kRows * groups * 4 bytes.
template <class S>
void pack_plain(const uint8_t* from, int64_t stride, int64_t rows, int64_t groups, uint8_t* out) {
  using F = typename S::Mixed;
  constexpr int kRows = F::kRows, kBytes = F::kGroup * kRows;  // of a group
  // Vectors of two groups each, stored by `store`.
  const auto pack = [](const typename F::Wide(&row)[kRows], auto store) [[gnu::always_inline]] {
    typename F::Wide a[kRows];
    F::interleave(row, a);
    for (int i = 0; i < kRows; ++i) store(i, a[i]);
  };
  const auto at = [&](int64_t r, int64_t q) { return from + (r < rows ? r : 0) * stride + q * F::kGroup; };
  int64_t q = 0;
  for (; q + S::kLanes <= groups; q += S::kLanes) {
    const auto row = [&](int r) { return F::load(reinterpret_cast<const int8_t*>(at(r, q))); };
    pack({row(0), row(1), row(2), row(3)}, [&](int i, typename F::Wide a) { F::store(out + (q + 2 * i) * kBytes, a); });
  }
  if (const int64_t left = groups - q) {
    const auto row = [&](int r) { return F::load_part(at(r, q), left); };
    pack({row(0), row(1), row(2), row(3)}, [&](int i, typename F::Wide a) {
      uint8_t two[2 * kBytes];
      F::store(two, a);
      const int64_t some = left - 2 * i;
      if (some > 0) __builtin_memcpy(out + (q + 2 * i) * kBytes, two, (some > 1 ? 2 : 1) * kBytes);
    });
  }
}

}  // namespace octensor::kernels
