// Pooling on channels-last codes: a row of output pixels, each the maximum or the mean of a box of taps.
//
//   max   the largest code of the box; `lowest` where it is empty
//   mean  clamp(round_half_even(float(sum) / float(divisor)), lo, hi) + zero_point, sum over the box of (q -
//   zero_point)
//
// A block of channels stays in registers while the taps pass by, and is stored once. Bound: every tap is loaded once
// (from the L1 cache, where windows overlap), 1 instruction per vector of codes for max, 8 for mean.
#pragma once
#include <type_traits>

#include "kernels/args.h"
#include "kernels/rounding.h"

namespace octensor {

// The taps of one output index along one axis: `count` of them from `first` on, all inside the input.
struct PoolWindow {
  int64_t first, count;
  int64_t divisor;  // cells that count for a mean, padding included where asked
};

struct PoolRow {
  const uint8_t* x;                   // first tap of the outer axes; column 0, first channel
  int64_t planes, rows;               // taps along the outer axes
  int64_t plane_stride, row_stride;   // between those taps, in bytes
  int64_t column_stride, tap_stride;  // between columns; between taps along the row
  const PoolWindow* windows;          // one per output pixel
  int64_t pixels, channels;
  bool is_signed;
  uint8_t* out;    // [pixels][channels], dense
  uint8_t lowest;  // max
  int64_t cells;   // mean: the outer axes' part of the divisor ...
  float divisor;   // ... or, unless 0, all of it
  float lo, hi;    // mean: bounds minus the zero point
  int32_t zero_point;
};

namespace kernels {

// body(x, window, out, n) for each pixel and each block of kBlock channels; the last block overlaps the one before it;
// fewer channels than a block are one block of n.
template <int kBlock, class Body>
[[gnu::always_inline]] inline void for_pool_blocks(const PoolRow& p, Body body) {
  const int64_t n = p.channels < kBlock ? p.channels : kBlock, end = p.channels - n;
  for (int64_t i = 0; i < p.pixels; ++i) {
    const PoolWindow& w = p.windows[i];
    const uint8_t* x = p.x + w.first * p.column_stride;
    uint8_t* out = p.out + i * p.channels;
    for (int64_t c = 0;; c = c + kBlock < end ? c + kBlock : end) {
      body(x + c, w, out + c, n);
      if (c == end) break;
    }
  }
}

// tap(address) for every tap of a window; 3 x 3 ones, which nearly all are, without loops.
template <class Tap>
[[gnu::always_inline]] inline void for_taps(const PoolRow& p, const PoolWindow& w, const uint8_t* x, Tap tap) {
  if (p.planes == 1 && p.rows == 3 && w.count == 3) {
    for (int j = 0; j < 3; ++j, x += p.row_stride) {
      tap(x);
      tap(x + p.tap_stride);
      tap(x + 2 * p.tap_stride);
    }
    return;
  }
  for (int64_t i = 0; i < p.planes; ++i, x += p.plane_stride) {
    const uint8_t* row = x;
    for (int64_t j = 0; j < p.rows; ++j, row += p.row_stride) {
      const uint8_t* at = row;
      for (int64_t k = 0; k < w.count; ++k, at += p.tap_stride) tap(at);
    }
  }
}

// kVectors vectors of running maxima as named members: GCC keeps these in registers, arrays it does not.
template <class S, int kVectors>
struct Maxima {
  using Codes = typename S::Codes;
  typename Codes::Vec largest;
  Maxima<S, kVectors - 1> rest;
  [[gnu::always_inline]] explicit Maxima(typename Codes::Vec lowest) : largest(lowest), rest(lowest) {}
  template <bool Signed>
  [[gnu::always_inline]] void take(const uint8_t* tap) {
    largest = Codes::template max<Signed>(largest, Codes::load(tap));
    rest.template take<Signed>(tap + Codes::kCount);
  }
  [[gnu::always_inline]] void store(uint8_t* out) const {
    Codes::store(out, largest);
    rest.store(out + Codes::kCount);
  }
};
template <class S>
struct Maxima<S, 0> {
  [[gnu::always_inline]] explicit Maxima(typename S::Codes::Vec) {}
  template <bool Signed>
  [[gnu::always_inline]] void take(const uint8_t*) {}
  [[gnu::always_inline]] void store(uint8_t*) const {}
};

template <class S, bool Signed, int kVectors>
void max_pool_of(const PoolRow& p) {
  constexpr int kBlock = S::Codes::kCount * kVectors;
  for_pool_blocks<kBlock>(
      p, [&](const uint8_t* x, const PoolWindow& w, uint8_t* out, int64_t n) [[gnu::always_inline]] {
        if (n == kBlock) {
          Maxima<S, kVectors> maxima(S::Codes::set(p.lowest));
          for_taps(p, w, x, [&](const uint8_t* tap) [[gnu::always_inline]] { maxima.template take<Signed>(tap); });
          maxima.store(out);
          return;
        }
        using Code = std::conditional_t<Signed, int8_t, uint8_t>;
        Code largest[kBlock];
        for (int64_t c = 0; c < n; ++c) largest[c] = static_cast<Code>(p.lowest);
        for_taps(p, w, x, [&](const uint8_t* tap) [[gnu::always_inline]] {
          for (int64_t c = 0; c < n; ++c) {
            const Code code = static_cast<Code>(tap[c]);
            largest[c] = code > largest[c] ? code : largest[c];
          }
        });
        for (int64_t c = 0; c < n; ++c) out[c] = static_cast<uint8_t>(largest[c]);
      });
}

template <class S, bool Signed>
void mean_pool_of(const PoolRow& p) {
  constexpr int kBlock = S::Codes::kCount, kLanes = S::kLanes;
  using I32 = typename S::I32;
  const Narrow<S> narrow(p.lo, p.hi, p.zero_point);
  for_pool_blocks<kBlock>(
      p, [&](const uint8_t* x, const PoolWindow& w, uint8_t* out, int64_t n) [[gnu::always_inline]] {
        I32 s0 = S::set(0), s1 = s0, s2 = s0, s3 = s0;
        if (n == kBlock) {
          for_taps(p, w, x, [&](const uint8_t* tap) [[gnu::always_inline]] {
            s0 = S::add(s0, S::template load_codes<Signed>(tap));
            s1 = S::add(s1, S::template load_codes<Signed>(tap + kLanes));
            s2 = S::add(s2, S::template load_codes<Signed>(tap + 2 * kLanes));
            s3 = S::add(s3, S::template load_codes<Signed>(tap + 3 * kLanes));
          });
        } else {
          int32_t sums[kBlock] = {};
          for_taps(p, w, x, [&](const uint8_t* tap) [[gnu::always_inline]] {
            for (int64_t c = 0; c < n; ++c) sums[c] += Signed ? static_cast<int8_t>(tap[c]) : int32_t{tap[c]};
          });
          s0 = S::load(sums);
          s1 = S::load(sums + kLanes);
          s2 = S::load(sums + 2 * kLanes);
          s3 = S::load(sums + 3 * kLanes);
        }
        const I32 zeros = S::set(static_cast<int32_t>(p.planes * p.rows * w.count) * p.zero_point);
        const float divisor = p.divisor != 0.0f ? p.divisor : static_cast<float>(p.cells * w.divisor);
        const Reciprocal inverse(divisor);
        const Margin<S> margin(inverse.error, narrow);
        const typename S::F32 r = S::fset(inverse.factor), offset = S::fset(margin.offset);
        auto sum = [&](int i) [[gnu::always_inline]] {
          return S::to_float(S::sub(i == 0 ? s0 : i == 1 ? s1 : i == 2 ? s2 : s3, zeros));
        };
        uint8_t codes[kBlock];
        round_block<S>(
            margin, narrow, n == kBlock ? out : codes,
            [&](int i) [[gnu::always_inline]] { return S::roughly(sum(i), r, offset); },
            [&](uint8_t* to) [[gnu::always_inline]] { divide_block<S>(divisor, p.lo, p.hi, p.zero_point, to, sum); });
        if (n != kBlock)
          for (int64_t c = 0; c < n; ++c) out[c] = codes[c];
      });
}

// As many channels at a time as there are, up to 4 vectors: the walk over the taps costs as much as 2.
template <class S, bool Signed>
void max_pool_by_width(const PoolRow& p) {
  constexpr int kCount = S::Codes::kCount;
  if (p.channels >= 4 * kCount)
    max_pool_of<S, Signed, 4>(p);
  else if (p.channels >= 2 * kCount)
    max_pool_of<S, Signed, 2>(p);
  else
    max_pool_of<S, Signed, 1>(p);
}

template <class S>
void max_pool(const PoolRow& p) {
  p.is_signed ? max_pool_by_width<S, true>(p) : max_pool_by_width<S, false>(p);
}

template <class S>
void mean_pool(const PoolRow& p) {
  p.is_signed ? mean_pool_of<S, true>(p) : mean_pool_of<S, false>(p);
}

}  // namespace kernels
}  // namespace octensor
