// What reduces the taps of a window channel by channel, in float: depthwise convolution and pools. For tap t of a
// pixel, in order, one channel to a lane:
//
//   products  y = fma(x[t], w[t], y) from 0, then + bias, then with relu y > 0 ? y : 0
//   sums      y = y + x[t] from 0, then y / divisor
//   largest   y = x[t] > y or NaN ? x[t] : y from -infinity: of equal ones (0 and -0) the first
//
// A NaN result is the quiet one without sign and payload.
//
// Bound: the loads: one per tap, and with products the weight's, which four pixels share.
#pragma once
#include "kernels/float_gemm.h"

namespace octensor {

enum class FloatReduce : uint8_t { products, sums, largest };

struct FloatTapsArgs {
  const float* const* taps;        // where the first pixel's channels begin, for each tap
  int64_t count, pixels, advance;  // taps; pixels, and floats from one to the next, in all taps
  int64_t channels;
  FloatReduce reduce;
  const float* w;     // products: [count][channels]
  const float* bias;  // products: [channels], or null
  bool relu;
  float divisor;  // sums
  float* out;     // [pixels][channels]
};

}  // namespace octensor

namespace octensor::kernels {

template <class S, FloatReduce kReduce>
struct Reduction {
  using F32 = typename S::F32;
  static constexpr float kFirst = kReduce == FloatReduce::largest ? -__builtin_inff() : 0.0f;
  [[gnu::always_inline]] static F32 step(F32 y, F32 x, F32 w) {
    if constexpr (kReduce == FloatReduce::products) return S::ffma(x, w, y);
    if constexpr (kReduce == FloatReduce::sums) return S::fadd(y, x);
    return S::where_number(x, S::where_greater(x, y, x, y), x);
  }
  [[gnu::always_inline]] static F32 finish(F32 y, F32 bias, const FloatTapsArgs& a) {
    if constexpr (kReduce == FloatReduce::products) {
      if (a.bias) y = S::fadd(y, bias);
      if (a.relu) y = at_least_zero<S>(y);
    }
    if constexpr (kReduce == FloatReduce::sums) y = S::fdiv(y, S::fset(a.divisor));
    return plain_nan<S>(y);
  }
};

// P pixels of V vectors of channels.
template <class S, FloatReduce kReduce, int P, int V>
struct PixelSums {
  using F32 = typename S::F32;
  using How = Reduction<S, kReduce>;
  F32 c0, c1;
  PixelSums<S, kReduce, P - 1, V> below;

  [[gnu::always_inline]] void start() {
    c0 = S::fset(How::kFirst);
    if constexpr (V == 2) c1 = c0;
    below.start();
  }
  [[gnu::always_inline]] void step(const float* x, int64_t advance, F32 w0, F32 w1) {
    c0 = How::step(c0, S::fload(x), w0);
    if constexpr (V == 2) c1 = How::step(c1, S::fload(x + S::kLanes), w1);
    below.step(x + advance, advance, w0, w1);
  }
  [[gnu::always_inline]] void save(float* out, F32 b0, F32 b1, const FloatTapsArgs& a) const {
    S::fstore(out, How::finish(c0, b0, a));
    if constexpr (V == 2) S::fstore(out + S::kLanes, How::finish(c1, b1, a));
    below.save(out + a.channels, b0, b1, a);
  }
};
template <class S, FloatReduce kReduce, int V>
struct PixelSums<S, kReduce, 0, V> {
  using F32 = typename S::F32;
  [[gnu::always_inline]] void start() {}
  [[gnu::always_inline]] void step(const float*, int64_t, F32, F32) {}
  [[gnu::always_inline]] void save(float*, F32, F32, const FloatTapsArgs&) const {}
};

// Channels [c, c + V * kLanes) of P pixels from `pixel` on.
template <class S, FloatReduce kReduce, int P, int V>
void float_pixels(const FloatTapsArgs& a, int64_t pixel, int64_t c) {
  constexpr bool kWeights = kReduce == FloatReduce::products;
  const typename S::F32 none = S::fset(0.0f);
  const int64_t at = pixel * a.advance + c;
  PixelSums<S, kReduce, P, V> sums;
  sums.start();
  for (int64_t t = 0; t < a.count; ++t) {
    typename S::F32 w0 = none, w1 = none;
    if constexpr (kWeights) w0 = S::fload(a.w + t * a.channels + c);
    if constexpr (kWeights && V == 2) w1 = S::fload(a.w + t * a.channels + c + S::kLanes);
    sums.step(a.taps[t] + at, a.advance, w0, w1);
  }
  const float* bias = kWeights ? a.bias : nullptr;
  sums.save(a.out + pixel * a.channels + c, bias ? S::fload(bias + c) : none,
            bias && V == 2 ? S::fload(bias + c + S::kLanes) : none, a);
}

template <class S, FloatReduce kReduce, int P>
void float_channels(const FloatTapsArgs& a, int64_t pixel) {
  constexpr int kLanes = S::kLanes;
  int64_t c = 0;
  for (; c + 2 * kLanes <= a.channels; c += 2 * kLanes) float_pixels<S, kReduce, P, 2>(a, pixel, c);
  for (; c + kLanes <= a.channels; c += kLanes) float_pixels<S, kReduce, P, 1>(a, pixel, c);
  if (c < a.channels) float_pixels<S, kReduce, P, 1>(a, pixel, a.channels - kLanes);  // some once more
}

// Fewer channels than lanes, through copies that are padded with zeros.
template <class S, FloatReduce kReduce>
void float_narrow(const FloatTapsArgs& a, int64_t pixel) {
  constexpr int kLanes = S::kLanes;
  using How = Reduction<S, kReduce>;
  const auto load = [&](const float* from) {
    float part[kLanes] = {};
    for (int64_t c = 0; c < a.channels; ++c) part[c] = from[c];
    return S::fload(part);
  };
  typename S::F32 y = S::fset(How::kFirst), w = S::fset(0.0f), bias = w;
  for (int64_t t = 0; t < a.count; ++t) {
    if constexpr (kReduce == FloatReduce::products) w = load(a.w + t * a.channels);
    y = How::step(y, load(a.taps[t] + pixel * a.advance), w);
  }
  if (kReduce == FloatReduce::products && a.bias) bias = load(a.bias);
  float part[kLanes];
  S::fstore(part, How::finish(y, bias, a));
  for (int64_t c = 0; c < a.channels; ++c) a.out[pixel * a.channels + c] = part[c];
}

template <class S, FloatReduce kReduce>
void float_taps_of(const FloatTapsArgs& a) {
  constexpr int kPixels = 4;
  int64_t pixel = 0;
  if (a.channels < S::kLanes) {
    for (; pixel < a.pixels; ++pixel) float_narrow<S, kReduce>(a, pixel);
    return;
  }
  for (; pixel + kPixels <= a.pixels; pixel += kPixels) float_channels<S, kReduce, kPixels>(a, pixel);
  for (; pixel < a.pixels; ++pixel) float_channels<S, kReduce, 1>(a, pixel);
}

template <class S>
void float_taps(const FloatTapsArgs& a) {
  a.reduce == FloatReduce::products ? float_taps_of<S, FloatReduce::products>(a)
  : a.reduce == FloatReduce::sums   ? float_taps_of<S, FloatReduce::sums>(a)
                                    : float_taps_of<S, FloatReduce::largest>(a);
}

}  // namespace octensor::kernels
