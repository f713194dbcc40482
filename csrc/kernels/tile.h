// The register tile under every matrix product: R rows times V vectors of columns, summed over K.
//
//   sums[R][V * kLanes] = initial + a[R][k] * b[k][V * kLanes]
//
// F is the form of the operands, S::Words, S::Bytes or S::Blocks (simd/scalar.h). Rows of `a` are lda apart; b is
// packed as [group][column][kGroup], `step` values from one group to the next.
//
// Bound: R * V multiply instructions per group against R broadcasts and V loads, so the multiply ports are
// the limit as soon as R * V / (R + V) exceeds their number by that of the load ports.
#pragma once
#include <cstdint>

#include "kernels/finish.h"

namespace octensor::kernels {

// Whether an instruction multiplies two rows with two columns: sums then are those of kernels/tile_blocks.h.
template <class F>
inline constexpr bool kBlocks = requires { typename F::TwoRows; };

// R x V vectors of sums as named members: GCC keeps these in registers, arrays it does not.
template <class S, class F, int R, int V>
struct TileSums {
  typename S::I32 c0, c1;
  const typename F::Activation* row;
  TileSums<S, F, R - 1, V> below;

  // Sums begin at `initial`, whose rows are `stride` apart, or at 0.
  [[gnu::always_inline]] void start(const typename F::Activation* a, int64_t lda, const int32_t* initial,
                                    int64_t stride) {
    c0 = initial ? S::load(initial) : S::set(0);
    if constexpr (V == 2) c1 = initial ? S::load(initial + S::kLanes) : S::set(0);
    row = a;
    below.start(a + lda, lda, initial ? initial + stride : nullptr, stride);
  }
  [[gnu::always_inline]] void step(int64_t k, typename F::Wide b0, typename F::Wide b1) {
    const typename F::Wide x = F::broadcast(row + k);
    c0 = F::dot(c0, x, b0);
    if constexpr (V == 2) c1 = F::dot(c1, x, b1);
    below.step(k, b0, b1);
  }
  [[gnu::always_inline]] void add(const TileSums& other) {
    c0 = S::add(c0, other.c0);
    if constexpr (V == 2) c1 = S::add(c1, other.c1);
    below.add(other.below);
  }
  [[gnu::always_inline]] void save(int32_t* out, int64_t stride) const {
    S::store(out, c0);
    if constexpr (V == 2) S::store(out + S::kLanes, c1);
    below.save(out + stride, stride);
  }
};
template <class S, class F, int V>
struct TileSums<S, F, 0, V> {
  [[gnu::always_inline]] void start(const typename F::Activation*, int64_t, const int32_t*, int64_t) {}
  [[gnu::always_inline]] void step(int64_t, typename F::Wide, typename F::Wide) {}
  [[gnu::always_inline]] void add(const TileSums&) {}
  [[gnu::always_inline]] void save(int32_t*, int64_t) const {}
};

// Sums go to `out`, which may be `initial`; with `finish` (not where kBlocks) codes go to `codes` instead. Weight is
// int8_t or, in Words, int16_t. Weights that come from beyond the L2 cache are fetched kAhead bytes before they are
// needed, where that is not 0: no address is read for it.
template <class S, class F, int R, int V, class Weight, int kAhead = 0>
void gemm_tile(const typename F::Activation* a, int64_t lda, const Weight* b, int64_t step, int64_t groups,
               const int32_t* initial, int64_t initial_stride, int32_t* out, int64_t out_stride,
               const Finish<S, V>* finish, uint8_t* codes) {
  constexpr int kVector = S::kLanes * F::kGroup;
  TileSums<S, F, R, V> tile;
  tile.start(a, lda, initial, initial_stride);
  int64_t k = 0;
  auto add_group = [&](TileSums<S, F, R, V>& sums) [[gnu::always_inline]] {
    const typename F::Wide b0 = F::load(b), b1 = V == 2 ? F::load(b + kVector) : b0;
    if constexpr (kAhead > 0) __builtin_prefetch(reinterpret_cast<const char*>(b) + kAhead);
    b += step;
    sums.step(k, b0, b1);
    k += F::kGroup;
  };
  if constexpr (R == 1 && !kBlocks<F>) {  // too few sums to hide the latency of a dot step: take turns
    TileSums<S, F, R, V> turn1, turn2, turn3;
    turn1.start(a, lda, nullptr, 0);
    turn2.start(a, lda, nullptr, 0);
    turn3.start(a, lda, nullptr, 0);
    while (k + 3 * F::kGroup < groups * F::kGroup) {
      add_group(tile);
      add_group(turn1);
      add_group(turn2);
      add_group(turn3);
    }
    turn1.add(turn2);
    tile.add(turn3);
    tile.add(turn1);
  }
  while (k < groups * F::kGroup) add_group(tile);
  if constexpr (!kBlocks<F>)
    if (finish) return finish_rows<S, R, V>(tile, *finish, codes);
  tile.save(out, out_stride);
}

template <class S, class F, int V, class Weight, int kAhead = 0, int R = S::kRows>
void gemm_tile_of(int rows, const typename F::Activation* a, int64_t lda, const Weight* b, int64_t step, int64_t groups,
                  const int32_t* initial, int64_t initial_stride, int32_t* out, int64_t out_stride,
                  const Finish<S, V>* finish = nullptr, uint8_t* codes = nullptr) {
  if constexpr (R > 1)
    if (rows < R)
      return gemm_tile_of<S, F, V, Weight, kAhead, R - 1>(rows, a, lda, b, step, groups, initial, initial_stride, out,
                                                          out_stride, finish, codes);
  gemm_tile<S, F, R, V, Weight, kAhead>(a, lda, b, step, groups, initial, initial_stride, out, out_stride, finish,
                                        codes);
}

}  // namespace octensor::kernels
