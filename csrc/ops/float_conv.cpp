// A convolution is a product of patches, gathered block by block, or of the input's rows themselves where a patch is
// one place that advances evenly; one filter per channel goes tap by tap (kernels/float_taps.h).
#include "ops/float_conv.h"

#include <algorithm>
#include <cstring>

#include "ops/float_driver.h"
#include "ops/float_lines.h"

namespace octensor::ops {
namespace {

using Triple = FloatWalk::Triple;

struct Call {
  const FloatWalk& walk;
  const float* x;
  int64_t batch;
  Triple size, out_size;

  int64_t lines() const { return batch * out_size[0] * out_size[1]; }
};

// Gathers a patch: the channels of one group, tap by tap.
class Patches {
 public:
  Patches(const Call& call, int64_t group)
      : c_(call), w_(call.walk), channels_(w_.channels / w_.groups), first_(group * channels_) {}

  const float* operator()(int64_t row, int64_t rows) const {
    struct Buffer;
    const int64_t k = w_.k();
    float* const out = scratch<Buffer, float>(kFloatGemmRows * k);
    for (int64_t i = 0; i < rows; ++i) patch(row + i, out + i * k);
    return out;
  }

 private:
  void patch(int64_t row, float* out) const {
    const int64_t o2 = row % c_.out_size[2], line = row / c_.out_size[2];
    const int64_t o1 = line % c_.out_size[1], o0 = line / c_.out_size[1] % c_.out_size[0];
    const float* image =
        c_.x + line / c_.out_size[1] / c_.out_size[0] * c_.size[0] * c_.size[1] * c_.size[2] * w_.channels;
    // Taps inside along the last axis, one run where they are adjacent in memory.
    const int64_t start = o2 * w_.step[2] - w_.lead[2], reach = w_.reach[2], taps = w_.kernel[2];
    const int64_t lowest = std::clamp<int64_t>(start < 0 ? ceil_div(-start, reach) : 0, 0, taps);
    const int64_t end = c_.size[2] - start;  // t * reach is below it
    const int64_t highest = std::clamp<int64_t>(end > 0 ? ceil_div(end, reach) : 0, lowest, taps);
    const bool run = reach == 1 && w_.groups == 1;
    for (int64_t t0 = 0; t0 < w_.kernel[0]; ++t0)
      for (int64_t t1 = 0; t1 < w_.kernel[1]; ++t1) {
        const int64_t i0 = o0 * w_.step[0] - w_.lead[0] + t0 * w_.reach[0];
        const int64_t i1 = o1 * w_.step[1] - w_.lead[1] + t1 * w_.reach[1];
        if (i0 < 0 || i0 >= c_.size[0] || i1 < 0 || i1 >= c_.size[1]) {
          out = std::fill_n(out, taps * channels_, 0.0f);
          continue;
        }
        const float* from = image + ((i0 * c_.size[1] + i1) * c_.size[2] + start) * w_.channels + first_;
        out = std::fill_n(out, lowest * channels_, 0.0f);
        if (run) {
          out = std::copy_n(from + lowest * channels_, (highest - lowest) * channels_, out);
        } else {
          for (int64_t t = lowest; t < highest; ++t) out = std::copy_n(from + t * reach * w_.channels, channels_, out);
        }
        out = std::fill_n(out, (taps - highest) * channels_, 0.0f);
      }
  }

  const Call& c_;
  const FloatWalk& w_;
  int64_t channels_, first_;
};

void products(const Call& c, const FloatFilters::Phase& phase, const KernelTable& table, const float* bias, bool relu,
              float* out) {
  const FloatWalk& w = c.walk;
  const int64_t outputs = w.outputs / w.groups, rows = c.lines() * c.out_size[2];
  const bool in_place =
      w.kernel == Triple{1, 1, 1} && w.lead == Triple{0, 0, 0} && c.out_size == c.size && w.step == Triple{1, 1, 1};
  for (int64_t g = 0; g < w.groups; ++g) {
    const FloatGemmArgs args{.ldx = in_place ? w.channels : w.k(),
                             .w = reinterpret_cast<const float*>(phase.panels.get()) + g * phase.group_floats,
                             .packed = true,
                             .k = w.k(),
                             .columns = outputs,
                             .bias = bias ? bias + g * outputs : nullptr,
                             .relu = relu,
                             .out = out + g * outputs,
                             .ldo = w.outputs};
    if (in_place) {
      const float* x = c.x + g * (w.channels / w.groups);
      run_float_gemm(table, args, rows, [&](int64_t first, int64_t) { return x + first * w.channels; });
    } else {
      run_float_gemm(table, args, rows, Patches(c, g));
    }
  }
}

void depthwise(const Call& c, const FloatFilters::Phase& phase, const KernelTable& table, const float* bias, bool relu,
               float* out) {
  const FloatWalk& w = c.walk;
  const FloatLines lines{c.x, c.size, w.channels, w.kernel, w.step, w.lead, w.reach, c.out_size};
  const int threads = threads_for(c.lines() * c.out_size[2] * w.channels * std::max<int64_t>(w.taps(), 1));
  run_tasks(c.lines(), threads, [&](int64_t line) {
    lines.stretches(line, [&](const float* const* taps, int64_t first, int64_t pixels) {
      table.floats->taps({.taps = taps,
                          .count = w.taps(),
                          .pixels = pixels,
                          .advance = w.step[2] * w.channels,
                          .channels = w.channels,
                          .reduce = FloatReduce::products,
                          .w = reinterpret_cast<const float*>(phase.panels.get()),
                          .bias = bias,
                          .relu = relu,
                          .divisor = 1.0f,
                          .out = out + (line * c.out_size[2] + first) * w.channels});
    });
  });
}

// A phase's outputs to their places.
void place(const Call& c, const float* from, const Triple& first, const Triple& apart, const Triple& whole,
           float* out) {
  const int64_t n = c.walk.outputs;
  run_tasks(c.lines(), threads_for(c.lines() * c.out_size[2] * n), [&](int64_t line) {
    const int64_t o1 = line % c.out_size[1] * apart[1] + first[1];
    const int64_t o0 = line / c.out_size[1] % c.out_size[0] * apart[0] + first[0];
    const int64_t image = line / c.out_size[1] / c.out_size[0];
    float* to = out + (((image * whole[0] + o0) * whole[1] + o1) * whole[2] + first[2]) * n;
    for (int64_t i = 0; i < c.out_size[2]; ++i)
      std::copy_n(from + (line * c.out_size[2] + i) * n, n, to + i * apart[2] * n);
  });
}

}  // namespace

void float_conv_into(const float* x, int64_t batch, const Triple& size, const FloatFilters& w, const float* bias,
                     bool relu, float* out) {
  struct PhaseOutputs;
  const Triple whole = w.output_size(size), &apart = w.apart();
  for (const FloatFilters::Phase& phase : w.phases()) {
    Call c{phase.walk, x, batch, size, {}};
    for (int a = 0; a < 3; ++a) c.out_size[a] = (whole[a] - phase.first[a] + apart[a] - 1) / apart[a];
    const int64_t floats = c.lines() * c.out_size[2] * c.walk.outputs;
    if (c.out_size[0] <= 0 || c.out_size[1] <= 0 || c.out_size[2] <= 0 || floats == 0) continue;
    const bool direct = w.phases().size() == 1;
    float* const to = direct ? out : scratch<PhaseOutputs, float>(floats);
    (phase.walk.depthwise() ? depthwise : products)(c, phase, w.table(), bias, relu, to);
    if (!direct) place(c, to, phase.first, apart, whole, out);
  }
}

}  // namespace octensor::ops
