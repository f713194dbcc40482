// Convolutions of one to three spatial axes, ordinary and transposed: one walk (ops/packed.h), two ways.
// Patches are gathered straight from the channels-last input into the GEMM's packed rows (no im2col
// matrix in memory); depthwise convolution has its own way (ops/depthwise.h).
#include <algorithm>
#include <cstring>

#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/conv_geometry.h"
#include "ops/depthwise.h"
#include "ops/gemm_driver.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

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
    depthwise(g, table, epilogue, *qparams, relu, out.bytes());
  } else {
    const CodePacker packer(table, x.qparams());
    run_gemm(packer, w, g.batch * out_size[0] * out_size[1] * out_size[2],
             [&](int64_t row, int64_t group, uint8_t* to) { pack_patch(g, packer, row, group, to); },
             {.codes = out.bytes(),
              .stride = out_channels,
              .epilogue = epilogue.get(),
              .qparams = qparams.get(),
              .relu = relu});
  }
  return out;
}

}  // namespace octensor::ops
