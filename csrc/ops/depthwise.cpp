#include "ops/depthwise.h"

#include "core/threads.h"
#include "ops/gemm_driver.h"

namespace octensor::ops {

// One task per line of outputs: its tap addresses, then all its positions in one kernel call.
void depthwise(const Geometry& g, const KernelTable& table, const Epilogue& epilogue, const QParams& qparams, bool relu,
               uint8_t* out) {
  const PackedConv& w = g.w;
  const auto weights = w.depthwise(table);
  const int64_t taps = w.matrix().k, pairs = (taps + 1) / 2;
  const int64_t padded = static_cast<int64_t>(weights->size()) / (pairs * 2);
  const std::vector<uint8_t> padding(g.channels, static_cast<uint8_t>(g.zero_point));
  // Every tap counts in the sum, padding as the zero point itself: fold -zx * sum(w) into the bias.
  std::vector<int32_t> bias(epilogue.bias);
  for (int64_t c = 0; c < g.channels; ++c) {
    uint32_t sum = 0;
    for (int64_t t = 0; t < taps; ++t) sum += static_cast<uint32_t>((*weights)[(t / 2 * padded + c) * 2 + t % 2]);
    bias[c] = static_cast<int32_t>(static_cast<uint32_t>(bias[c]) - sum * static_cast<uint32_t>(g.zero_point));
  }
  Requantize requantize = requantize_of(epilogue, qparams, relu, 0);
  requantize.bias = bias.data();
  const int64_t lines = g.out_size[0] * g.out_size[1], width = g.out_size[2];
  parallel_for(g.batch * lines, [&](int64_t task) {
    const uint8_t* image = g.x + task / lines * g.image_stride;
    const int64_t o0 = task % lines / g.out_size[1], o1 = task % g.out_size[1];
    std::vector<const uint8_t*> addresses(width * pairs * 2, padding.data());
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t i0 = g.source(0, o0, t / w.kernel[2] / w.kernel[1]);
      const int64_t i1 = g.source(1, o1, t / w.kernel[2] % w.kernel[1]);
      if (i0 < 0 || i1 < 0) continue;
      for (int64_t o2 = 0; o2 < width; ++o2) {
        const int64_t i2 = g.source(2, o2, t % w.kernel[2]);
        if (i2 >= 0) addresses[o2 * pairs * 2 + t] = image + i0 * g.stride[0] + i1 * g.stride[1] + i2 * g.stride[2];
      }
    }
    table.depthwise({.taps = addresses.data(),
                     .pixels = width,
                     .tap_pairs = pairs,
                     .weights = weights->data(),
                     .channels = g.channels,
                     .padded_channels = padded,
                     .is_signed = g.is_signed,
                     .requantize = requantize,
                     .out = out + task * width * g.channels,
                     .out_stride = g.channels});
  });
}

}  // namespace octensor::ops
