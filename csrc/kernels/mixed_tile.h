// The register tile of the mixed GEMM (kernels/gemm_mixed.h): R rows times one panel, a vector of kLanes columns.
//
// The fast product of bytes multiplies u8 by s8 and adds pairs in int16, which can overflow; this tile is exact for all
// codes a, because the weights decide how each group of four K is multiplied. With a' = a - 128 and m = w < 0 ? -1 : 0
//
//   plain     a w, in [-255 n, 255 p]: p the sum of the positive weights, n that of the negative ones' magnitudes
//   flipped   |w| (a' ^ m), in [-128 l, 127 l], l the sum of magnitudes; as a' ^ -1 = -a' - 1,
//             sum a w  =  sum |w| (a' ^ m)  +  sum of |w| where w < 0  +  128 sum w
//
// Plain sums of a pair stay in int16 where neither p nor n exceeds 128; flipped ones always do, and what they lack is
// one number per column. Where sums of four, a pair of each of two groups, stay in int16 too in all columns, the two
// groups are *twins*: one multiplication adds up the pairs of both. The others are *singles*. ops/mixed_groups.h lists
// the groups of a block in that order: plain twins, plain singles, flipped twins, flipped singles.
//
// a' ^ m = a ^ f, f = m ^ 0x80. Magnitudes and f are made once per block and panel (flip_weights).
//
// Bound: per row, group and vector, 32 multiply-adds, plain twins take 1.5 multiply instructions of 2.5, plain singles
// 2 of 3, flipped twins 1.5 of 3.5, flipped singles 2 of 4. On Zen 4 two multiply and four issue per cycle: 43, 32, 37
// and 32 multiply-adds per cycle. One vector of eight rows needs fewer loads than two of four: 1.1 per row and group,
// two of which fit into a cycle.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

template <class S>
inline constexpr bool kMixed = requires { S::Operand::kBlock; };

// One block of one panel.
struct MixedBlock {
  const int8_t* weights;  // [group][kLanes][4]
  const uint16_t* order;  // byte offsets of its groups in `weights`
  // How many groups there are, of these kinds and the ones before.
  int64_t twins, singles, flipped_twins, groups;
  const uint8_t* flipped;  // [flipped group][|w|, f][kLanes][4]
};

// R rows of sums; a row's values lie `step` bytes after those of the row before.
template <class S, int R>
struct MixedSums {
  using F = typename S::Mixed;
  using Words = typename S::Words;
  using Bytes = typename F::Wide;
  typename S::I32 sum;
  MixedSums<S, R - 1> below;

  [[gnu::always_inline]] void start(const int32_t* initial, int64_t stride) {
    sum = S::load(initial);
    below.start(initial + stride, stride);
  }
  [[gnu::always_inline]] void twins(const uint8_t* a, const uint8_t* e, int64_t step, Bytes b, Bytes d) {
    const Bytes x = F::broadcast(a), y = F::broadcast(e);
    sum = Words::dot(sum, Words::add(F::pairs(x, b), F::pairs(y, d)), Words::set(1));
    below.twins(a + step, e + step, step, b, d);
  }
  [[gnu::always_inline]] void single(const uint8_t* a, int64_t step, Bytes b) {
    sum = F::dot(sum, F::broadcast(a), b);
    below.single(a + step, step, b);
  }
  // Magnitudes b and d, flips f and g.
  [[gnu::always_inline]] void flipped_twins(const uint8_t* a, const uint8_t* e, int64_t step, Bytes b, Bytes f, Bytes d,
                                            Bytes g) {
    const Bytes x = F::flip(F::broadcast(a), f), y = F::flip(F::broadcast(e), g);
    sum = Words::dot(sum, Words::add(F::pairs(b, x), F::pairs(d, y)), Words::set(1));
    below.flipped_twins(a + step, e + step, step, b, f, d, g);
  }
  [[gnu::always_inline]] void flipped_single(const uint8_t* a, int64_t step, Bytes b, Bytes f) {
    sum = F::dot(sum, b, F::flip(F::broadcast(a), f));
    below.flipped_single(a + step, step, b, f);
  }
  [[gnu::always_inline]] void save(int32_t* out, int64_t stride) const {
    S::store(out, sum);
    below.save(out + stride, stride);
  }
};
template <class S>
struct MixedSums<S, 0> {
  using Bytes = typename S::Mixed::Wide;
  [[gnu::always_inline]] void start(const int32_t*, int64_t) {}
  [[gnu::always_inline]] void twins(const uint8_t*, const uint8_t*, int64_t, Bytes, Bytes) {}
  [[gnu::always_inline]] void single(const uint8_t*, int64_t, Bytes) {}
  [[gnu::always_inline]] void flipped_twins(const uint8_t*, const uint8_t*, int64_t, Bytes, Bytes, Bytes, Bytes) {}
  [[gnu::always_inline]] void flipped_single(const uint8_t*, int64_t, Bytes, Bytes) {}
  [[gnu::always_inline]] void save(int32_t*, int64_t) const {}
};

// Adds one block to the tile. `from` says where a row's values lie: those of the block's i-th group at
// a + from.place(block, i), the next row's from.step bytes on. Meanwhile as much is fetched from `ahead` on, as the
// order of groups is none that hardware could guess.
template <class S, int R, class From>
[[gnu::always_inline]] inline void add_block(MixedSums<S, R>& tile, const uint8_t* a, const From& from,
                                             const MixedBlock& block, const uint8_t* ahead) {
  using F = typename S::Mixed;
  constexpr int kVector = S::kLanes * F::kGroup;
  const auto at = [&](int64_t i) [[gnu::always_inline]] { return a + from.place(block, i); };
  const auto weights = [&](int64_t i) [[gnu::always_inline]] { return F::load(block.weights + block.order[i]); };
  int64_t i = 0;
  for (; i != block.twins; i += 2, ahead += 2 * kVector) {
    __builtin_prefetch(ahead);
    tile.twins(at(i), at(i + 1), from.step, weights(i), weights(i + 1));
  }
  for (; i != block.singles; ++i, ahead += kVector) {
    __builtin_prefetch(ahead);
    tile.single(at(i), from.step, weights(i));
  }
  const auto* flipped = reinterpret_cast<const int8_t*>(block.flipped);
  for (; i != block.flipped_twins; i += 2, flipped += 4 * kVector, ahead += 2 * kVector) {
    __builtin_prefetch(ahead);
    tile.flipped_twins(at(i), at(i + 1), from.step, F::load(flipped), F::load(flipped + kVector),
                       F::load(flipped + 2 * kVector), F::load(flipped + 3 * kVector));
  }
  for (; i != block.groups; ++i, flipped += 2 * kVector, ahead += kVector) {
    __builtin_prefetch(ahead);
    tile.flipped_single(at(i), from.step, F::load(flipped), F::load(flipped + kVector));
  }
}

// Magnitudes and flips of a block's flipped groups, in their order.
template <class S>
void flip_weights(const MixedBlock& block, uint8_t* out) {
  using F = typename S::Mixed;
  constexpr int kVector = S::kLanes * F::kGroup;
  for (const uint16_t *at = block.order + block.singles, *end = block.order + block.groups; at != end;
       ++at, out += 2 * kVector) {
    const typename F::Wide w = F::load(block.weights + *at);
    F::store(out, F::magnitudes(w));
    F::store(out + kVector, F::flips(w));
  }
}

}  // namespace octensor::kernels
