// conv2d: patches gathered straight from the channels-last input into the GEMM's packed rows (no
// im2col matrix in memory), and depthwise convolution by indirection.
#include <algorithm>
#include <cstring>

#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/gemm_driver.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

// Everything about one call that both paths need. Offsets are in bytes: codes are 8-bit.
struct Geometry {
  const PackedConv2d& w;
  const uint8_t* x;
  int64_t batch, channels, height, width;  // input
  int64_t stride_n, stride_h, stride_w;    // of the input's memory, channels adjacent
  int64_t out_height, out_width;
  bool is_signed;
  int32_t zero_point;

  const uint8_t* pixel(int64_t n, int64_t h, int64_t w_) const {
    return h < 0 || h >= height || w_ < 0 || w_ >= width ? nullptr : x + n * stride_n + h * stride_h + w_ * stride_w;
  }
};

int64_t output_size(const char* axis, int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  const int64_t reach = dilation * (kernel - 1) + 1;
  check(size + 2 * padding >= reach, "conv2d: input: expected a padded ", axis, " of at least ", reach,
        " (dilated kernel), got ", size, " + 2 * ", padding);
  return (size + 2 * padding - reach) / stride + 1;
}

// One output pixel's patch, row by row of the kernel; taps that lie side by side in memory are one run.
void pack_patch(const Geometry& g, const KernelTable& table, int64_t row, int64_t group, int16_t* out) {
  const PackedConv2d& w = g.w;
  const int64_t channels = g.channels / w.groups, first = group * channels;
  const int64_t ow = row % g.out_width, oh = row / g.out_width % g.out_height, n = row / g.out_width / g.out_height;
  const int64_t h0 = oh * w.stride[0] - w.padding[0], w0 = ow * w.stride[1] - w.padding[1];
  const bool adjacent = w.dilation[1] == 1 && g.stride_w == channels && w.groups == 1;
  const int64_t columns = w.kernel[1] * channels;
  for (int64_t i = 0; i < w.kernel[0]; ++i, out += columns) {
    const int64_t h = h0 + i * w.dilation[0];
    if (h < 0 || h >= g.height) {
      std::memset(out, 0, columns * sizeof *out);
    } else if (adjacent) {
      const int64_t lo = std::clamp<int64_t>(-w0, 0, w.kernel[1]), hi = std::clamp(g.width - w0, lo, w.kernel[1]);
      std::memset(out, 0, lo * channels * sizeof *out);
      if (hi > lo)
        table.pack_codes(g.pixel(n, h, w0 + lo), g.is_signed, (hi - lo) * channels, g.zero_point, out + lo * channels);
      std::memset(out + hi * channels, 0, (w.kernel[1] - hi) * channels * sizeof *out);
    } else {
      for (int64_t j = 0; j < w.kernel[1]; ++j) {
        const uint8_t* pixel = g.pixel(n, h, w0 + j * w.dilation[1]);
        if (pixel)
          table.pack_codes(pixel + first, g.is_signed, channels, g.zero_point, out + j * channels);
        else
          std::memset(out + j * channels, 0, channels * sizeof *out);
      }
    }
  }
}

// One task per output row: its tap addresses, then all its pixels in one kernel call.
void depthwise(const Geometry& g, const KernelTable& table, const Epilogue& epilogue, const QParams& qparams, bool relu,
               uint8_t* out) {
  const PackedConv2d& w = g.w;
  const auto weights = w.depthwise(table);
  const int64_t taps = w.matrix().k, pairs = (taps + 1) / 2, padded = weights->size() / std::max<int64_t>(pairs * 2, 1);
  const std::vector<uint8_t> padding(g.channels, static_cast<uint8_t>(g.zero_point));
  // Every tap counts in the sum, padding as the zero point itself: fold -zx * sum(w) into the bias.
  std::vector<int32_t> bias(epilogue.bias);
  for (int64_t c = 0; c < g.channels; ++c) {
    int32_t sum = 0;
    for (int64_t t = 0; t < taps; ++t) sum += (*weights)[(t / 2 * padded + c) * 2 + t % 2];
    bias[c] = static_cast<int32_t>(static_cast<uint32_t>(bias[c]) -
                                   static_cast<uint32_t>(sum) * static_cast<uint32_t>(g.zero_point));
  }
  Requantize requantize = requantize_of(epilogue, qparams, relu, 0);
  requantize.bias = bias.data();
  parallel_for(g.batch * g.out_height, [&](int64_t task) {
    const int64_t n = task / g.out_height, oh = task % g.out_height;
    std::vector<const uint8_t*> addresses(g.out_width * pairs * 2, padding.data());
    for (int64_t ow = 0; ow < g.out_width; ++ow)
      for (int64_t t = 0; t < taps; ++t) {
        const uint8_t* p = g.pixel(n, oh * w.stride[0] - w.padding[0] + t / w.kernel[1] * w.dilation[0],
                                   ow * w.stride[1] - w.padding[1] + t % w.kernel[1] * w.dilation[1]);
        if (p) addresses[ow * pairs * 2 + t] = p;
      }
    table.depthwise({.taps = addresses.data(),
                     .pixels = g.out_width,
                     .tap_pairs = pairs,
                     .weights = weights->data(),
                     .channels = g.channels,
                     .padded_channels = padded,
                     .is_signed = g.is_signed,
                     .requantize = requantize,
                     .out = out + task * g.out_width * g.channels,
                     .out_stride = g.channels});
  });
}

}  // namespace

QTensor conv2d(const QTensor& input, const PackedConv2d& w, QParamsPtr qparams, bool relu) {
  check_image("conv2d", input);
  check_activation("conv2d", "input", input);
  check_output("conv2d", *qparams);
  check(input.size(1) == w.weight().size(1) * w.groups, "conv2d: input: expected ", w.weight().size(1) * w.groups,
        " channels (weight ", w.weight().shape_text(), ", groups ", w.groups, "), got shape ", input.shape_text());
  const int64_t oh = output_size("height", input.size(2), w.kernel[0], w.stride[0], w.padding[0], w.dilation[0]);
  const int64_t ow = output_size("width", input.size(3), w.kernel[1], w.stride[1], w.padding[1], w.dilation[1]);
  const auto epilogue = w.epilogue(input.qparams(), *qparams);
  const int64_t out_channels = w.weight().size(0);
  QTensor out = QTensor::empty({input.size(0), out_channels, oh, ow}, qparams, Layout::channels_last);
  if (out.numel() == 0) return out;

  const QTensor x = input.stride(1) == 1 || input.size(1) == 1 ? input : input.to(Layout::channels_last);
  const Geometry g{.w = w,
                   .x = x.bytes(),
                   .batch = x.size(0),
                   .channels = x.size(1),
                   .height = x.size(2),
                   .width = x.size(3),
                   .stride_n = x.stride(0),
                   .stride_h = x.stride(2),
                   .stride_w = x.stride(3),
                   .out_height = oh,
                   .out_width = ow,
                   .is_signed = is_signed8(x.dtype()),
                   .zero_point = x.qparams().zero_point()};
  const KernelTable& table = kernel_table();
  if (w.groups == g.channels && out_channels == g.channels && w.groups > 1) {
    depthwise(g, table, *epilogue, *qparams, relu, out.bytes());
  } else {
    run_gemm(table, w, g.batch * oh * ow,
             [&](int64_t row, int64_t group, int16_t* to) { pack_patch(g, table, row, group, to); },
             {.codes = out.bytes(),
              .stride = out_channels,
              .epilogue = epilogue.get(),
              .qparams = qparams.get(),
              .relu = relu});
  }
  return out;
}

}  // namespace octensor::ops
