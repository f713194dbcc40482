// Grouped convolution: a vector's lanes are adjacent output channels, each fed from its own group's inputs.
//
//   sum[p][l] = bias[l] + sum over steps i, g < kGroup of source_i[p][l][g] * w_i[l][g]
//
// A vector of output channels may cross groups, so its lanes multiply different inputs. `spread` lays codes out as
// lanes want them, once per input position: a vector holds, for every lane, kGroup input channels of that lane's
// group. All taps of the kernel then read the same vectors, and summing is a product of two streams with no shuffle
// left in it; positions lie so that those of adjacent outputs are adjacent for every tap (ops/grouped.cpp).
//
// F is the form of the operands: S::Words, whose codes have the zero point subtracted, or S::Bytes, whose codes do
// not; there the bias holds - zero point * sum of weights.
//
// Bound: the multiply ports. A step loads one vector of weights for kGroupedPixels products, and every product
// loads one vector: with two loads a cycle 8/9 of two products a cycle. Sums begin and end in registers.
#pragma once
#include <type_traits>

#include "kernels/args.h"
#include "kernels/requantize.h"

namespace octensor::kernels {

template <class S>
struct GroupedBytes {
  using Form = typename S::Words;
};
template <class S>
  requires requires { typename S::Bytes; }
struct GroupedBytes<S> {
  using Form = typename S::Bytes;
};

inline constexpr int kGroupedPixels = 8;

// P vectors of sums as named members: GCC keeps these in registers, arrays it does not.
template <class S, class F, int P>
struct LaneSums {
  static constexpr int kVector = S::kLanes * F::kGroup;
  typename S::I32 c;
  LaneSums<S, F, P - 1> next;

  [[gnu::always_inline]] void start(typename S::I32 bias) {
    c = bias;
    next.start(bias);
  }
  template <class Value>
  [[gnu::always_inline]] void step(const Value* x, typename F::Wide w) {
    c = F::dot(c, F::load(x), w);
    next.step(x + kVector, w);
  }
  template <class Finish>
  [[gnu::always_inline]] void finish(uint8_t* out, int64_t stride, const Finish& store) const {
    store(out, c);
    next.finish(out + stride, stride, store);
  }
};
template <class S, class F>
struct LaneSums<S, F, 0> {
  [[gnu::always_inline]] void start(typename S::I32) {}
  template <class Value>
  [[gnu::always_inline]] void step(const Value*, typename F::Wide) {}
  template <class Finish>
  [[gnu::always_inline]] void finish(uint8_t*, int64_t, const Finish&) const {}
};

// Weights and spread activations as F::load takes them: bytes of either sign come in one type.
template <class S, class F, int P, class Value>
void grouped_pixels(const GroupedArgs& g, int64_t pixel) {
  constexpr int kVector = S::kLanes * F::kGroup;
  const auto* weights = static_cast<const Value*>(g.weights);
  LaneSums<S, F, P> sums;
  sums.start(S::load(g.requantize.bias));
  for (int64_t i = 0; i < g.steps; ++i)
    sums.step(static_cast<const Value*>(g.sources[i]) + pixel * kVector, F::load(weights + i * kVector));
  const typename S::F32 multiplier = S::fload(g.requantize.multiplier);
  const typename S::F32 lo = S::fset(g.requantize.lo), hi = S::fset(g.requantize.hi);
  const typename S::I32 zero = S::set(g.requantize.zero_point);
  uint8_t* out = g.out + pixel * g.out_stride;
  if (g.channels == S::kLanes) {
    sums.finish(out, g.out_stride, [&](uint8_t* to, typename S::I32 c) __attribute__((always_inline)) {
      S::store_codes(to, requantize_vector<S>(c, multiplier, lo, hi, zero));
    });
  } else {
    sums.finish(out, g.out_stride, [&](uint8_t* to, typename S::I32 c) __attribute__((always_inline)) {
      uint8_t codes[S::kLanes];
      S::store_codes(codes, requantize_vector<S>(c, multiplier, lo, hi, zero));
      for (int64_t l = 0; l < g.channels; ++l) to[l] = codes[l];
    });
  }
}

template <class S, class F, class Value, int P>
void grouped_rest(const GroupedArgs& g, int64_t pixel, int64_t left) {
  if constexpr (P > 0) {
    if (left == P) return grouped_pixels<S, F, P, Value>(g, pixel);
    grouped_rest<S, F, Value, P - 1>(g, pixel, left);
  }
}

template <class S, class F>
void grouped(const GroupedArgs& g) {
  using Value = std::conditional_t<sizeof(typename F::Activation) == 1, int8_t, int16_t>;
  int64_t p = 0;
  for (; p + kGroupedPixels <= g.pixels; p += kGroupedPixels) grouped_pixels<S, F, kGroupedPixels, Value>(g, p);
  grouped_rest<S, F, Value, kGroupedPixels - 1>(g, p, g.pixels - p);
}

template <class S, class F, bool Signed>
[[gnu::always_inline]] inline void spread_position(const uint8_t* from, const int32_t* windows, const uint8_t* index,
                                                   int32_t zero_point, typename F::Activation* out) {
  typename F::Wide codes = F::template pick<Signed>(from, windows, index);
  if constexpr (sizeof(*out) == 2) codes = F::sub(codes, F::set(static_cast<int16_t>(zero_point)));
  F::store(out, codes);
}

// Where a window of 16 bytes could leave the input, or lanes are too far apart for one: values fetched one by one.
template <class S, class F, bool Signed>
[[gnu::noinline]] void spread_far(const uint8_t* from, const int32_t* offsets, int32_t zero_point,
                                  typename F::Activation* out) {
  constexpr int kVector = S::kLanes * F::kGroup, kWindows = (kVector + 15) / 16;
  uint8_t lanes[kWindows * 16] = {}, index[kWindows * 16];
  int32_t windows[kWindows];
  for (int v = 0; v < kVector; ++v) lanes[v] = from[offsets[v]];
  for (int v = 0; v < kWindows * 16; ++v) index[v] = v % 16;
  for (int w = 0; w < kWindows; ++w) windows[w] = 16 * w;
  spread_position<S, F, Signed>(lanes, windows, index, zero_point, out);
}

// `n` input positions as vectors of one step.
template <class S, class F, bool Signed>
void spread_step(const SpreadArgs& a, int64_t step, const uint8_t* from, int64_t n, typename F::Activation* out) {
  constexpr int kVector = S::kLanes * F::kGroup, kWindows = (kVector + 15) / 16;
  const uint8_t* const last = a.last;
  const int32_t* offsets = a.offsets + step * kVector;
  const int64_t advance = a.advance;
  const int32_t zero_point = a.zero_point;
  uint8_t index[kWindows * 16];  // of our own, so that no store into `out` may change them
  int32_t windows[kWindows];
  for (int v = 0; v < kWindows * 16; ++v) index[v] = a.index[step * kWindows * 16 + v];
  for (int w = 0; w < kWindows; ++w) windows[w] = a.windows[step * kWindows + w];
  for (int64_t i = 0; i < n; ++i, from += advance, out += kVector) {
    if (from <= last) [[likely]]
      spread_position<S, F, Signed>(from, windows, index, zero_point, out);
    else
      spread_far<S, F, Signed>(from, offsets, zero_point, out);
  }
}

// Few positions at a time, so that all steps find the input in the L1 cache, however far apart positions lie.
template <class S, class F, bool Signed>
void spread_of(const SpreadArgs& a) {
  constexpr int64_t kBlock = 16;
  constexpr int kVector = S::kLanes * F::kGroup;
  for (int64_t i = 0; i < a.positions; i += kBlock) {
    const int64_t n = a.positions - i < kBlock ? a.positions - i : kBlock;
    auto* out = static_cast<typename F::Activation*>(a.out) + i * kVector;
    for (int64_t s = 0; s < a.steps; ++s, out += a.plane * kVector)
      spread_step<S, F, Signed>(a, s, a.codes + i * a.advance, n, out);
  }
}

template <class S, class F>
void spread(const SpreadArgs& a) {
  a.is_signed ? spread_of<S, F, true>(a) : spread_of<S, F, false>(a);
}

}  // namespace octensor::kernels
