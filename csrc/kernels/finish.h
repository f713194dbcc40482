// A register tile's sums -> codes, without a way through memory: the epilogue of kernels/args.h where
// Requantize::within is proved and sums began at the bias.
//
//   code = narrow(round(float(sum) * multiplier))
//
// No clamp of the float: inside int32, narrowing to 8 bits clamps (kernels/rounding.h).
//
// Bound: per vector a conversion each way and a multiplication; per four vectors 8 operations that narrow. That is 5
// per vector beside the tile's 4 per vector and group of K, on four pipes.
#pragma once
#include "kernels/args.h"
#include "kernels/requantize.h"
#include "kernels/rounding.h"

namespace octensor::kernels {

// Codes of columns [j, j + columns) of one panel; V vectors of them.
template <class S, int V>
struct Finish {
  using Codes = typename S::Codes;
  static_assert(Codes::kCount == 2 * S::kPanel);
  typename S::F32 m0, m1;
  Narrow<S> narrow;
  int64_t columns, ldc;

  [[gnu::always_inline]] Finish(const GemmArgs& g, int64_t j, int64_t columns_)
      : m0(S::fload(g.requantize.multiplier + j)),
        m1(S::fload(g.requantize.multiplier + j + (V - 1) * S::kLanes)),
        narrow(g.requantize.lo, g.requantize.hi, g.requantize.zero_point),
        columns(columns_),
        ldc(g.ldc) {}
  [[gnu::always_inline]] static typename S::I32 code(typename S::I32 sum, typename S::F32 multiplier) {
    return S::round(S::fmul(S::to_float(sum), multiplier));
  }
  // Fewer columns, or one row.
  [[gnu::noinline]] void part(uint8_t* out, bool two, typename Codes::Vec codes) const {
    uint8_t copy[Codes::kCount];
    Codes::store(copy, codes);
    copy_codes(out, copy, columns);
    if (two) copy_codes(out + ldc, copy + S::kPanel, columns);
  }
  // Of N <= 4 rows, one vector each.
  template <int N>
  [[gnu::always_inline]] void panel(uint8_t* out, typename S::I32 x, typename S::I32 y, typename S::I32 z,
                                    typename S::I32 w) const {
    const typename Codes::Vec codes = narrow.codes(code(x, m0), code(y, m0), code(z, m0), code(w, m0));
    if (N == 4 && columns == S::kLanes) [[likely]]
      return Codes::store_quarters(out, ldc, codes);
    uint8_t copy[Codes::kCount];
    Codes::store(copy, codes);
    for (int i = 0; i < N; ++i) copy_codes(out + i * ldc, copy + i * S::kLanes, columns);
  }
  // Two rows, or one where they are the same.
  [[gnu::always_inline]] void rows(uint8_t* out, bool two, typename S::I32 x0, typename S::I32 x1, typename S::I32 y0,
                                   typename S::I32 y1) const {
    const typename Codes::Vec codes = narrow.codes(code(x0, m0), code(x1, m1), code(y0, m0), code(y1, m1));
    if (!two || columns != V * S::kLanes) return part(out, two, codes);
    if constexpr (V == 2) return Codes::store_halves(out, out + ldc, codes);
    uint8_t copy[Codes::kCount];
    Codes::store(copy, codes);
    __builtin_memcpy(out, copy, S::kLanes);
    __builtin_memcpy(out + ldc, copy + S::kPanel, S::kLanes);
  }
};

// The R rows of a tile whose sums are c0, c1 (where V is 2) and, of the next row, below.
template <class S, int R, int V, class Tile>
[[gnu::always_inline]] inline void finish_rows(const Tile& t, const Finish<S, V>& finish, uint8_t* out) {
  const auto second = [](const auto& row) [[gnu::always_inline]] { return V == 2 ? row.c1 : row.c0; };
  if constexpr (R == 1) finish.rows(out, false, t.c0, second(t), t.c0, second(t));
  if constexpr (R >= 2) {
    finish.rows(out, true, t.c0, second(t), t.below.c0, second(t.below));
    finish_rows<S, R - 2, V>(t.below.below, finish, out + 2 * finish.ldc);
  }
}

}  // namespace octensor::kernels
