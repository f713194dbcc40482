// Convolutions of one to three spatial axes. Here an ordinary one (ops/conv_geometry.h) finds its algorithm:
//   one filter per channel                   ops/depthwise.h
//   few input channels                       ops/lines.h
//   narrow groups                            ops/grouped.h
//   3x3 of stride 1, where it pays           ops/winograd.h
//   the rest                                 the GEMM, over patches gathered while packing (ops/patches.h)
// A transposed one is cut into phases, one per remainder of the output's place modulo the stride: each an ordinary
// convolution with every stride-th tap, so that none of the zeros between its inputs is ever multiplied.
#include <algorithm>
#include <cstring>

#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/conv_geometry.h"
#include "ops/depthwise.h"
#include "ops/gemm_driver.h"
#include "ops/grouped.h"
#include "ops/into.h"
#include "ops/lines.h"
#include "ops/ops.h"
#include "ops/patches.h"
#include "ops/winograd.h"

namespace octensor::ops {
namespace {

// Where results go: the epilogue is of the convolution as the user sees it, the output dense and channels-last.
struct Result {
  const std::shared_ptr<const Epilogue>& epilogue;
  const QParams& qparams;
  bool relu;
  uint8_t* out;
};

void gemm(const Geometry& g, const KernelTable& table, const QParams& input, const Result& r) {
  const PatchPacker patches(g, table);
  run_gemm(
      CodePacker(table, input), g.w, g.batch * g.out_size[0] * g.out_size[1] * g.out_size[2],
      {.pack = std::cref(patches), .codes = patches.in_place() ? g.x : nullptr, .stride = g.w.step[2] * g.stride[2]},
      {.codes = r.out,
       .stride = g.w.matrix().groups * g.w.matrix().columns,
       .relu = r.relu,
       .epilogue = r.epilogue.get(),
       .qparams = &r.qparams});
}

void ordinary(const Geometry& g, const KernelTable& table, const QParams& input, const Result& r) {
  const WeightMatrix& m = g.w.matrix();
  if (m.groups == g.channels && m.columns == 1 && m.groups > 1 && m.k > 0)
    depthwise(g, table, r.epilogue, r.qparams, r.relu, r.out);
  else if (r.epilogue->within && lines_pay(g, table))
    convolve_lines(g, table, *r.epilogue, r.qparams, r.relu, r.out);
  else if (grouped_pays(g.w, table))
    grouped(g, table, *r.epilogue, r.qparams, r.relu, r.out);
  else
    gemm(g, table, input, r);
}

struct Phases {
  std::vector<std::pair<Triple, PackedConv>> phases;  // with their first outputs
};

std::shared_ptr<const Phases> make_phases(const PackedConv& w, const KernelTable&) {
  auto p = std::make_shared<Phases>();
  for (int64_t i = 0; i < w.upsample[0] * w.upsample[1] * w.upsample[2]; ++i) {
    const Triple first{i / w.upsample[2] / w.upsample[1], i / w.upsample[2] % w.upsample[1], i % w.upsample[2]};
    p->phases.emplace_back(first, w.phase(first));
  }
  return p;
}

constexpr int64_t kTaskBytes = 32 * 1024;  // of a phase, for a thread to put in place

// A few dozen bytes at a time: calls to memcpy would cost more than the copying.
void copy_pixel(uint8_t* to, const uint8_t* from, int64_t n) {
  constexpr int64_t kPart = 16;
  if (n < kPart) {
    for (int64_t c = 0; c < n; ++c) to[c] = from[c];
    return;
  }
  for (int64_t c = 0; c + kPart <= n; c += kPart) std::memcpy(to + c, from + c, kPart);
  std::memcpy(to + n - kPart, from + n - kPart, kPart);  // the last part, perhaps some of it once more
}

// Every phase on its own, then its outputs to their places.
void transposed(const Geometry& g, const KernelTable& table, const QParams& input, const Result& r) {
  const int64_t channels = g.w.matrix().groups * g.w.matrix().columns;
  const Triple &up = g.w.upsample, &whole = g.out_size;
  const auto phases = g.w.form(table, make_phases);
  StoragePtr part;
  for (const auto& [first, w] : phases->phases) {
    Triple size;
    for (int a = 0; a < 3; ++a) size[a] = (whole[a] - first[a] + up[a] - 1) / up[a];
    if (size[0] <= 0 || size[1] <= 0 || size[2] <= 0) continue;
    if (!part.get()) part = allocate(g.batch * size[0] * size[1] * size[2] * channels);  // the first is the largest
    ordinary({.w = w,
              .x = g.x,
              .batch = g.batch,
              .channels = g.channels,
              .size = g.size,
              .out_size = size,
              .image_stride = g.image_stride,
              .stride = g.stride,
              .is_signed = g.is_signed,
              .zero_point = g.zero_point},
             table, input, {r.epilogue, r.qparams, r.relu, part.get()});
    const int64_t lines = g.batch * size[0] * size[1], line_bytes = size[2] * channels;
    const int64_t some = std::max<int64_t>(1, kTaskBytes / line_bytes);
    parallel_for((lines + some - 1) / some, [&, &first = first](int64_t task) {
      for (int64_t line = task * some; line < std::min(lines, (task + 1) * some); ++line) {
        const int64_t o1 = line % size[1] * up[1] + first[1], o0 = line / size[1] % size[0] * up[0] + first[0];
        const int64_t n = line / size[1] / size[0];
        uint8_t* to = r.out + (((n * whole[0] + o0) * whole[1] + o1) * whole[2] + first[2]) * channels;
        const uint8_t* from = part.get() + line * line_bytes;
        for (int64_t i = 0; i < size[2]; ++i, to += up[2] * channels, from += channels) copy_pixel(to, from, channels);
      }
    });
  }
}

// The spatial sizes of an input of this shape, which must fit the weight.
Triple spatial_size(const PackedConv& w, const Shape& input) {
  check(static_cast<int>(input.size()) == 2 + w.spatial, w.op(), ": input: expected shape [N, C] and ", w.spatial,
        w.spatial == 1 ? " spatial axis" : " spatial axes", ", got ", to_text(input));
  const int64_t channels = w.matrix().k / (w.kernel[0] * w.kernel[1] * w.kernel[2]) * w.groups;
  check(input[1] == channels, w.op(), ": input: expected ", channels, " channels (weight ", w.weight().shape_text(),
        ", groups ", w.groups, "), got shape ", to_text(input));
  Triple size{1, 1, 1};
  for (int i = 0; i < w.spatial; ++i) size[3 - w.spatial + i] = input[2 + i];
  return size;
}

}  // namespace

Shape conv_shape(const PackedConv& w, const Shape& input) {
  const Triple out_size = w.output_size(spatial_size(w, input));
  Shape shape{input[0], w.matrix().groups * w.matrix().columns};
  shape.insert(shape.end(), out_size.begin() + 3 - w.spatial, out_size.end());
  return shape;
}

void conv_into(const QTensor& x, const PackedConv& w, const EpiloguePtr& epilogue, bool relu, QTensor& out) {
  if (out.numel() == 0) return;
  const int lead = 3 - w.spatial;
  Geometry g{.w = w,
             .x = x.bytes(),
             .batch = x.size(0),
             .channels = x.size(1),
             .size = {1, 1, 1},
             .out_size = {1, 1, 1},
             .image_stride = x.stride(0),
             .stride = {0, 0, 0},
             .is_signed = is_signed8(x.dtype()),
             .zero_point = x.qparams().zero_point()};
  for (int i = 0; i < w.spatial; ++i) {
    g.size[lead + i] = x.size(2 + i);
    g.out_size[lead + i] = out.size(2 + i);
    g.stride[lead + i] = x.stride(2 + i);
  }
  const KernelTable& table = kernel_table();
  const Result result{epilogue, out.qparams(), relu, out.bytes()};
  if (w.upsample != Triple{1, 1, 1}) {
    transposed(g, table, x.qparams(), result);
  } else if (const ConvChoice choice = algorithm_of(w, g.batch, g.size, table);
             choice.algorithm != ConvAlgorithm::direct) {
    winograd(g, table, choice, *epilogue, out.qparams(), relu, out.bytes());
  } else {
    ordinary(g, table, x.qparams(), result);
  }
}

QTensor conv(const QTensor& input, const PackedConv& w, QParamsPtr qparams, bool relu) {
  Shape shape = conv_shape(w, input.shape());
  check_activation(w.op(), "input", input);
  check_output(w.op(), *qparams);
  const auto epilogue = w.epilogue(input.qparams(), *qparams);
  QTensor out = QTensor::empty(std::move(shape), std::move(qparams), Layout::channels_last);
  if (out.numel() == 0) return out;
  const bool adjacent = input.stride(1) == 1 || input.size(1) == 1;
  conv_into(adjacent ? input : input.to(Layout::channels_last), w, epilogue, relu, out);
  return out;
}

std::string conv_algorithm(const PackedConv& w, const Shape& input) {
  const Triple size = spatial_size(w, input);
  constexpr int64_t kMost = int64_t{1} << 31;
  for (int64_t n : {input[0], size[0], size[1], size[2]})
    check(n >= 0 && n < kMost, w.op(), ": input: expected sizes of at least 0, below 2^31, got ", to_text(input));
  return name_of(algorithm_of(w, input[0], size, kernel_table()));
}

}  // namespace octensor::ops
