// Convolutions of one to three spatial axes, ordinary and transposed: one walk (ops/packed.h), two ways.
// Patches are gathered straight from the channels-last input into the GEMM's packed rows (no im2col
// matrix in memory); depthwise convolution goes through a list of tap addresses.
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
  const PackedConv& w;
  const uint8_t* x;
  int64_t batch, channels;
  Triple size, out_size;
  int64_t image_stride;
  Triple stride;  // of the input's memory; channels are adjacent
  bool is_signed;
  int32_t zero_point;

  // Where output o's tap t reads along an axis; -1 where that is real 0.
  int64_t source(int axis, int64_t o, int64_t t) const {
    int64_t at = o * w.step[axis] - w.lead[axis] + t * w.reach[axis];
    if (at < 0) return -1;
    if (w.upsample[axis] > 1) {
      if (at % w.upsample[axis]) return -1;
      at /= w.upsample[axis];
    }
    return at < size[axis] ? at : -1;
  }
};

// One output position's patch; taps that lie side by side in memory are one run.
void pack_patch(const Geometry& g, const CodePacker& packer, int64_t row, int64_t group, uint8_t* out) {
  const PackedConv& w = g.w;
  const int64_t channels = g.channels / w.groups;
  const int64_t o2 = row % g.out_size[2], o1 = row / g.out_size[2] % g.out_size[1],
                o0 = row / g.out_size[2] / g.out_size[1] % g.out_size[0],
                n = row / g.out_size[2] / g.out_size[1] / g.out_size[0];
  const bool adjacent = w.reach[2] == 1 && w.upsample[2] == 1 && g.stride[2] == channels && w.groups == 1;
  const int64_t start = o2 * w.step[2] - w.lead[2];
  const int64_t lo = std::clamp<int64_t>(-start, 0, w.kernel[2]), hi = std::clamp(g.size[2] - start, lo, w.kernel[2]);
  for (int64_t t0 = 0; t0 < w.kernel[0]; ++t0) {
    const int64_t i0 = g.source(0, o0, t0);
    for (int64_t t1 = 0; t1 < w.kernel[1]; ++t1) {
      const int64_t i1 = i0 < 0 ? -1 : g.source(1, o1, t1);
      if (i1 < 0) {
        out = packer.padding(w.kernel[2] * channels, out);
        continue;
      }
      const uint8_t* from = g.x + n * g.image_stride + i0 * g.stride[0] + i1 * g.stride[1] + group * channels;
      if (adjacent) {
        out = packer.padding(lo * channels, out);
        if (hi > lo) out = packer.codes(from + (start + lo) * channels, (hi - lo) * channels, out);
        out = packer.padding((w.kernel[2] - hi) * channels, out);
        continue;
      }
      for (int64_t t2 = 0; t2 < w.kernel[2]; ++t2) {
        const int64_t i2 = g.source(2, o2, t2);
        out = i2 >= 0 ? packer.codes(from + i2 * g.stride[2], channels, out) : packer.padding(channels, out);
      }
    }
  }
}

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

}  // namespace

QTensor conv(const QTensor& input, const PackedConv& w, QParamsPtr qparams, bool relu) {
  const char* op = w.op();
  const int64_t channels = w.matrix().k / (w.kernel[0] * w.kernel[1] * w.kernel[2]) * w.groups;
  check(input.ndim() == 2 + w.spatial, op, ": input: expected shape [N, C] and ", w.spatial,
        w.spatial == 1 ? " spatial axis" : " spatial axes", ", got ", input.shape_text());
  check_activation(op, "input", input);
  check_output(op, *qparams);
  check(input.size(1) == channels, op, ": input: expected ", channels, " channels (weight ", w.weight().shape_text(),
        ", groups ", w.groups, "), got shape ", input.shape_text());
  const int lead = 3 - w.spatial;
  Triple size{1, 1, 1};
  for (int i = 0; i < w.spatial; ++i) size[lead + i] = input.size(2 + i);
  const Triple out_size = w.output_size(size);
  const auto epilogue = w.epilogue(input.qparams(), *qparams);
  const int64_t out_channels = w.matrix().groups * w.matrix().columns;
  Shape shape{input.size(0), out_channels};
  shape.insert(shape.end(), out_size.begin() + lead, out_size.end());
  QTensor out = QTensor::empty(std::move(shape), qparams, Layout::channels_last);
  if (out.numel() == 0) return out;

  const QTensor x = input.stride(1) == 1 || input.size(1) == 1 ? input : input.to(Layout::channels_last);
  Geometry g{.w = w,
             .x = x.bytes(),
             .batch = x.size(0),
             .channels = channels,
             .size = size,
             .out_size = out_size,
             .image_stride = x.stride(0),
             .stride = {0, 0, 0},
             .is_signed = is_signed8(x.dtype()),
             .zero_point = x.qparams().zero_point()};
  for (int i = 0; i < w.spatial; ++i) g.stride[lead + i] = x.stride(2 + i);
  const KernelTable& table = kernel_table();
  if (w.groups == channels && out_channels == channels && w.groups > 1) {
    depthwise(g, table, *epilogue, *qparams, relu, out.bytes());
  } else {
    const CodePacker packer(table, x.qparams());
    run_gemm(packer, w, g.batch * out_size[0] * out_size[1] * out_size[2],
             {.pack =
                  [&](int64_t first, int64_t n, int64_t group, uint8_t* to, int64_t stride) {
                    for (int64_t i = 0; i < n; ++i) pack_patch(g, packer, first + i, group, to + i * stride);
                  }},
             {.codes = out.bytes(),
              .stride = out_channels,
              .relu = relu,
              .epilogue = epilogue.get(),
              .qparams = qparams.get()});
  }
  return out;
}

}  // namespace octensor::ops
