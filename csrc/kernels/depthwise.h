// Depthwise convolution on channels-last codes: per output pixel a list of tap addresses (indirection;
// padding points at a row of zero points), two taps per multiply step.
//
//   sum[c] = sum over taps t of x_t[c] * w_t[c],  w already minus its zero point;
//   the input's zero point is folded into the bias: - zx * sum_t w_t[c].
#pragma once
#include "kernels/args.h"
#include "kernels/requantize.h"

namespace octensor::kernels {

template <class S, bool Signed>
void depthwise_of(const DepthwiseArgs& d) {
  constexpr int kLanes = S::kLanes;
  const int64_t taps = d.tap_pairs * 2;
  int32_t sums[kLanes];
  for (int64_t c = 0; c < d.channels; c += kLanes) {
    const int64_t left = d.channels - c < kLanes ? d.channels - c : kLanes;
    const int16_t* weights = d.weights + 2 * c;
    for (int64_t p = 0; p < d.pixels; ++p) {
      const uint8_t* const* x = d.taps + p * taps;
      typename S::I32 acc = S::set(0);
      if (left == kLanes) {
        for (int64_t t = 0; t < d.tap_pairs; ++t)
          acc = S::template dot_taps<Signed>(acc, x[2 * t] + c, x[2 * t + 1] + c, weights + 2 * t * d.padded_channels);
      } else {  // never read past the last channel
        uint8_t x0[kLanes] = {}, x1[kLanes] = {};
        for (int64_t t = 0; t < d.tap_pairs; ++t) {
          for (int64_t i = 0; i < left; ++i) x0[i] = x[2 * t][c + i], x1[i] = x[2 * t + 1][c + i];
          acc = S::template dot_taps<Signed>(acc, x0, x1, weights + 2 * t * d.padded_channels);
        }
      }
      S::store(sums, acc);
      requantize_run<S>(sums, d.requantize, c, left, d.out + p * d.out_stride + c);
    }
  }
}

template <class S>
void depthwise(const DepthwiseArgs& d) {
  d.is_signed ? depthwise_of<S, true>(d) : depthwise_of<S, false>(d);
}

}  // namespace octensor::kernels
