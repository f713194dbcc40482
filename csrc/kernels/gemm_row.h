// One row times packed panels where the fast product of bytes can overflow: exact for all weights and activations.
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
// Bound: reading the weights. A vector of 32 of them takes an exclusive or, two multiplies and an addition, one cycle
// on four pipes of which two multiply; the L2 cache delivers it in as long. Two panels at a time share the broadcasts.
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

// Vectors `At` ... V - 1 of sums, two to a panel.
template <class S, int V, int At = 0>
struct RowSums {
  using F = typename S::Mixed;
  typename S::I32 sum;
  RowSums<S, V, At + 1> rest;

  [[gnu::always_inline]] void start(typename S::I32 first, typename S::I32 factor, const int32_t* weight_sums) {
    sum = S::add(first, S::mul(factor, S::load(weight_sums + At * S::kLanes)));
    rest.start(first, factor, weight_sums);
  }
  [[gnu::always_inline]] void step(typename F::Wide x, typename F::Wide m, const int8_t* b, int64_t panel) {
    constexpr int kVector = S::kLanes * F::kGroup;
    sum = F::dot(sum, x, F::flip(F::load(b + At % 2 * kVector + At / 2 * panel), m));
    rest.step(x, m, b, panel);
  }
  [[gnu::always_inline]] void save(int32_t* out) const {
    S::store(out + At * S::kLanes, sum);
    rest.save(out);
  }
};
template <class S, int V>
struct RowSums<S, V, V> {
  using F = typename S::Mixed;
  [[gnu::always_inline]] void start(typename S::I32, typename S::I32, const int32_t*) {}
  [[gnu::always_inline]] void step(typename F::Wide, typename F::Wide, const int8_t*, int64_t) {}
  [[gnu::always_inline]] void save(int32_t*) const {}
};

// Sums of V vectors of columns from column j on, the first of a panel.
template <class S, int V>
void row_sums(const GemmArgs& g, int64_t j, int32_t* sums) {
  using F = typename S::Mixed;
  const auto* a = static_cast<const uint8_t*>(g.a);
  const int64_t panel = g.groups * S::kPanel * F::kGroup;
  const int8_t* b = g.b + j / S::kPanel * panel;
  int32_t negative;
  __builtin_memcpy(&negative, a + 8 * g.groups, sizeof negative);
  RowSums<S, V> tile;
  tile.start(S::set(negative), S::set(128 - g.code_zero), g.weight_sums + j);
  for (const uint8_t* end = a + 8 * g.groups; a != end; a += 8, b += S::kPanel * F::kGroup)
    tile.step(F::broadcast(a), F::broadcast(a + 4), b, panel);
  tile.save(sums);
}

// finish(sums, j, columns) receives the sums of columns [j, j + columns), one after the other.
template <class S, class Finish>
[[gnu::always_inline]] inline void gemm_row(const GemmArgs& g, Finish finish) {
  constexpr int64_t kMost = 32 * S::kPanel;
  alignas(64) int32_t sums[kMost];
  const int64_t last = g.columns - 1;
  auto step = [&](int64_t i, int64_t end) { return g.backward ? end - i : i; };
  for (int64_t i = 0; i <= last / kMost; ++i) {
    const int64_t first = step(i, last / kMost) * kMost;
    const int64_t columns = g.columns - first < kMost ? g.columns - first : kMost;
    const int64_t last_pair = (columns - 1) / (2 * S::kPanel);
    for (int64_t pair = 0; pair <= last_pair; ++pair) {
      const int64_t j = step(pair, last_pair) * 2 * S::kPanel;
      const int64_t left = columns - j;
      left > S::kPanel   ? row_sums<S, 4>(g, first + j, sums + j)
      : left > S::kLanes ? row_sums<S, 2>(g, first + j, sums + j)
                         : row_sums<S, 1>(g, first + j, sums + j);
    }
    finish(sums, first, columns);
  }
}

}  // namespace octensor::kernels
