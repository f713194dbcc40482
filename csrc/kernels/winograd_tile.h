// Winograd's algorithm for 3-tap filters in integers: the one-dimensional transforms, applied along both axes.
//
// With n outputs per tile from n + 2 inputs d and the taps w:   scale[p] * y[p] = A^T [ (G w) * (B^T d) ]
// G (ops/winograd.cpp), B^T and A^T have integer entries; the fractions of the textbook form are the scales
//   F(2, 3)   2, 2                        points 0, 1, -1 and infinity
//   F(4, 3)   24, 12, 6, 6 = 3 * 2^k      points 0, 1, -1, 2, -2 and infinity
// so that in two dimensions the sums come out as scale[p] * scale[q] * acc. Everything from the products on may wrap
// modulo 2^32: `factor` inverts the odd part of the scale and lifts all positions to the same power of two, 2^kShift,
// which leaves acc modulo 2^(32 - kShift). docs/numerics.md has the ranges and the proof.
#pragma once
#include <cstdint>

namespace octensor::kernels {

struct Tile2 {
  static constexpr int kOut = 2, kIn = 4, kShift = 2;
  // The only row of B^T whose entries do not sum to 0, and their sum: where a constant in d shows.
  static constexpr int kConstantRow = 1, kConstant = 2;

  // W has add, sub and shift_left; at(i) gives d[i], put(i, value) takes the result.
  template <class W, class At, class Put>
  [[gnu::always_inline]] static void input(At at, Put put) {
    const auto d0 = at(0), d1 = at(1), d2 = at(2), d3 = at(3);
    put(0, W::sub(d0, d2));
    put(1, W::add(d1, d2));
    put(2, W::sub(d2, d1));
    put(3, W::sub(d1, d3));
  }
  template <class S, class At, class Put>
  [[gnu::always_inline]] static void output(At at, Put put) {
    const auto m0 = at(0), m1 = at(1), m2 = at(2), m3 = at(3);
    put(0, S::add(S::add(m0, m1), m2));
    put(1, S::sub(S::sub(m1, m2), m3));
  }
  [[gnu::always_inline]] static constexpr int32_t factor(int, int) { return 1; }
};

struct Tile4 {
  static constexpr int kOut = 4, kIn = 6, kShift = 6;
  static constexpr int kConstantRow = 1, kConstant = -6;

  //  4  0 -5  0  1  0
  //  0 -4 -4  1  1  0
  //  0  4 -4 -1  1  0
  //  0 -2 -1  2  1  0
  //  0  2 -1 -2  1  0
  //  0  4  0 -5  0  1
  template <class W, class At, class Put>
  [[gnu::always_inline]] static void input(At at, Put put) {
    const auto d0 = at(0), d1 = at(1), d2 = at(2), d3 = at(3), d4 = at(4), d5 = at(5);
    const auto even = W::sub(d4, W::template shift_left<2>(d2)), odd = W::sub(d3, W::template shift_left<2>(d1));
    const auto d42 = W::sub(d4, d2), d31 = W::sub(d3, d1), twice = W::add(d31, d31);
    put(0, W::add(W::template shift_left<2>(W::sub(d0, d2)), d42));
    put(1, W::add(even, odd));
    put(2, W::sub(even, odd));
    put(3, W::add(d42, twice));
    put(4, W::sub(d42, twice));
    put(5, W::sub(W::sub(d5, d3), W::add(twice, twice)));
  }
  //  1 -4 -4  1  1  0
  //  0 -2  2  1 -1  0
  //  0 -1 -1  1  1  0
  //  0 -1  1  2 -2  1
  template <class S, class At, class Put>
  [[gnu::always_inline]] static void output(At at, Put put) {
    const auto m1 = at(1), m2 = at(2), m3 = at(3), m4 = at(4);
    const auto s12 = S::add(m1, m2), d21 = S::sub(m2, m1), s34 = S::add(m3, m4), d34 = S::sub(m3, m4);
    put(0, S::add(S::sub(at(0), S::template shift_left<2>(s12)), s34));
    put(1, S::add(S::add(d21, d21), d34));
    put(2, S::sub(s34, s12));
    put(3, S::add(S::add(d21, S::add(d34, d34)), at(5)));
  }
  // scale[p] * scale[q] = 9 * 2^(k(p) + k(q)); 9 * 0x38E38E39 = 1 modulo 2^32.
  [[gnu::always_inline]] static constexpr int32_t factor(int p, int q) {
    return static_cast<int32_t>(uint32_t{0x38E38E39} << (kShift - twos(p) - twos(q)));
  }

 private:
  [[gnu::always_inline]] static constexpr int twos(int p) { return p < 2 ? 3 - p : 1; }
};

}  // namespace octensor::kernels
