// Few rows times packed panels where the fast product of bytes can overflow: exact for all weights and activations.
// What a tile would gain by taking signs off the weights (kernels/mixed_tile.h) few rows do not repay.
//
// With a' = a - 128, x = |a'| <= 128 and m = a' < 0 ? -1 : 0, as w ^ -1 = -w - 1,
//
//   sum a w  =  sum x (w ^ m)  +  sum of x where a' < 0  +  128 sum w
//
// The second sum is one number for the row, the third one per column, known since packing. A pair of products
// x0 (w0 ^ m0) + x1 (w1 ^ m1) lies within [-2 * 128 * 128, 2 * 128 * 127] = [-32,768, 32,512]: in int16, so that no
// group of K needs another treatment.
//
// pack_row makes [group][x 4 bytes][m 4 bytes] of the codes, then the second sum as an int32.
//
// Rows go by two, which share the weights. Bound: of one row, reading the weights. A vector of 32 of them takes an
// exclusive or, two multiplies and an addition, one cycle on four pipes of which two multiply; the L2 cache delivers it
// in as long. Four panels at a time share the broadcasts.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

// From `codes`, 4 * groups unsigned ones; `out` has room for 8 * groups + 4 bytes.
template <class S>
void pack_row(const uint8_t* codes, int64_t groups, uint8_t* out) {
  using F = typename S::Mixed;
  typename S::I32 negative = S::set(0);
  auto pack = [&](typename F::Wide a, uint8_t* to) [[gnu::always_inline]] {
    const typename F::Wide x = F::distances(a), m = F::below(a);
    negative = F::dot(negative, x, m);
    F::store_in_turns(to, x, m);
  };
  int64_t q = 0;
  for (; q + S::kLanes <= groups; q += S::kLanes)
    pack(F::load(reinterpret_cast<const int8_t*>(codes + 4 * q)), out + 8 * q);
  if (q < groups) {  // codes of 128 add nothing
    uint8_t to[2 * S::kLanes * F::kGroup];
    pack(F::load_part(codes + 4 * q, groups - q), to);
    for (int64_t i = 0; i < 8 * (groups - q); ++i) out[8 * q + i] = to[i];
  }
  int32_t lanes[S::kLanes];
  S::store(lanes, negative);
  uint32_t sum = 0;
  for (int32_t lane : lanes) sum -= static_cast<uint32_t>(lane);
  __builtin_memcpy(out + 8 * groups, &sum, sizeof sum);
}

// R rows' vectors `At` ... V - 1 of sums, one to a panel of `panel` weights; R is 1 or 2.
template <class S, int R, int V, int At = 0>
struct RowSums {
  using F = typename S::Mixed;
  typename S::I32 sum, second;
  RowSums<S, R, V, At + 1> rest;

  [[gnu::always_inline]] void start(typename S::I32 first, typename S::I32 first2, typename S::I32 factor,
                                    const int32_t* weight_sums) {
    const typename S::I32 column = S::mul(factor, S::load(weight_sums + At * S::kLanes));
    sum = S::add(first, column);
    if constexpr (R == 2) second = S::add(first2, column);
    rest.start(first, first2, factor, weight_sums);
  }
  [[gnu::always_inline]] void step(typename F::Wide x, typename F::Wide m, typename F::Wide x2, typename F::Wide m2,
                                   const int8_t* b, int64_t panel) {
    const typename F::Wide w = F::load(b + At * panel);
    sum = F::dot(sum, x, F::flip(w, m));
    if constexpr (R == 2) second = F::dot(second, x2, F::flip(w, m2));
    rest.step(x, m, x2, m2, b, panel);
  }
  [[gnu::always_inline]] void save(int32_t* out, int64_t stride) const {
    S::store(out + At * S::kLanes, sum);
    if constexpr (R == 2) S::store(out + stride + At * S::kLanes, second);
    rest.save(out, stride);
  }
};
template <class S, int R, int V>
struct RowSums<S, R, V, V> {
  using Wide = typename S::Mixed::Wide;
  [[gnu::always_inline]] void start(typename S::I32, typename S::I32, typename S::I32, const int32_t*) {}
  [[gnu::always_inline]] void step(Wide, Wide, Wide, Wide, const int8_t*, int64_t) {}
  [[gnu::always_inline]] void save(int32_t*, int64_t) const {}
};

// Sums of R rows from `a` on and V panels from column j on; the second row's `stride` after the first one's.
template <class S, int R, int V>
void row_sums(const GemmArgs& g, const uint8_t* a, int64_t j, int32_t* sums, int64_t stride) {
  using F = typename S::Mixed;
  const int64_t panel = g.groups * S::kLanes * F::kGroup, below = (R - 1) * g.lda;
  const int8_t* b = g.b + j / S::kLanes * panel;
  const auto negative = [&](int64_t row) {
    int32_t sum;
    __builtin_memcpy(&sum, a + row + 8 * g.groups, sizeof sum);
    return S::set(sum);
  };
  RowSums<S, R, V> tile;
  tile.start(negative(0), negative(below), S::set(128 - g.code_zero), g.weight_sums + j);
  for (const uint8_t* end = a + 8 * g.groups; a != end; a += 8, b += S::kLanes * F::kGroup)
    tile.step(F::broadcast(a), F::broadcast(a + 4), F::broadcast(a + below), F::broadcast(a + below + 4), b, panel);
  tile.save(sums, stride);
}

template <class S, int R>
void row_columns(const GemmArgs& g, const uint8_t* a, int64_t j, int64_t columns, int32_t* sums, int64_t stride) {
  columns > 3 * S::kLanes   ? row_sums<S, R, 4>(g, a, j, sums, stride)
  : columns > 2 * S::kLanes ? row_sums<S, R, 3>(g, a, j, sums, stride)
  : columns > S::kLanes     ? row_sums<S, R, 2>(g, a, j, sums, stride)
                            : row_sums<S, R, 1>(g, a, j, sums, stride);
}

// finish(row, sums, j, columns) receives the sums of columns [j, j + columns), one after the other.
template <class S, class Finish>
[[gnu::always_inline]] inline void gemm_few(const GemmArgs& g, Finish finish) {
  constexpr int64_t kMost = 32 * S::kPanel, kFour = 4 * S::kLanes;
  alignas(64) int32_t sums[2 * kMost];
  const int64_t last = g.columns - 1;
  const auto step = [&](int64_t i, int64_t end) { return g.backward ? end - i : i; };
  for (int64_t i = 0; i <= last / kMost; ++i) {
    const int64_t first = step(i, last / kMost) * kMost;
    const int64_t columns = g.columns - first < kMost ? g.columns - first : kMost;
    const int64_t last_four = (columns - 1) / kFour;
    for (int64_t row = 0; row < g.rows; row += 2) {
      const auto* a = static_cast<const uint8_t*>(g.a) + row * g.lda;
      const bool two = row + 1 < g.rows;
      for (int64_t four = 0; four <= last_four; ++four) {
        const int64_t j = step(four, last_four) * kFour;
        two ? row_columns<S, 2>(g, a, first + j, columns - j, sums + j, kMost)
            : row_columns<S, 1>(g, a, first + j, columns - j, sums + j, kMost);
      }
      finish(row, sums, first, columns);
      if (two) finish(row + 1, sums + kMost, first, columns);
    }
  }
}

}  // namespace octensor::kernels
