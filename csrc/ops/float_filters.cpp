// Weights of float convolutions: the phases of a transposed one, and the order of K in the panels, taps first.
#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "kernels/float_table.h"
#include "ops/float_conv.h"
#include "ops/float_linear.h"

namespace octensor {
namespace {

using Triple = FloatWalk::Triple;

int64_t product(const Triple& t) { return t[0] * t[1] * t[2]; }

// The weights of a phase in the user's array: of group g, output o, channel c and tap t at
// first + g * group + o * output + c * channel + t . tap.
struct Strides {
  const float* first;
  int64_t group, output, channel;
  Triple tap;

  const float* at(const FloatWalk& w, int64_t t) const {
    const int64_t t2 = t % w.kernel[2], t1 = t / w.kernel[2] % w.kernel[1], t0 = t / w.kernel[2] / w.kernel[1];
    return first + t0 * tap[0] + t1 * tap[1] + t2 * tap[2];
  }
};

void pack_depthwise(const FloatWalk& w, const Strides& s, float* out) {
  for (int64_t t = 0; t < w.taps(); ++t)
    for (int64_t c = 0; c < w.channels; ++c) out[t * w.channels + c] = s.at(w, t)[c * s.group];
}

// k counts channels of a group within taps.
void pack_group(const FloatWalk& w, const Strides& s, int64_t group, const KernelTable& table, float* out) {
  const int64_t taps = w.taps(), channels = w.channels / w.groups, outputs = w.outputs / w.groups;
  const float* first = s.first + group * s.group;
  if (s.channel == taps && s.tap[2] == 1 && s.tap[1] == w.kernel[2] && s.tap[0] == w.kernel[1] * w.kernel[2]) {
    // Rows of an output's weights, channel by channel, in one go; then every k to its place.
    std::vector<int64_t> order(taps * channels);
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t t = 0; t < taps; ++t) order[c * taps + t] = t * channels + c;
    pack_float_panels({first, taps * channels, outputs, 1, s.output}, table, out, taps == 1 ? nullptr : order.data());
    return;
  }
  const int64_t panel = table.floats->panel;
  for (int64_t o = 0; o < outputs; o += panel)
    for (int64_t t = 0; t < taps; ++t)
      table.floats->pack({.w = s.at(w, t) + group * s.group + o * s.output,
                          .k_stride = s.channel,
                          .column_stride = s.output,
                          .size = channels,
                          .columns = std::min(panel, outputs - o),
                          .out = out + o * taps * channels + t * channels * panel});
}

FloatFilters::Phase pack_phase(const FloatWalk& w, const Triple& first, const Strides& s, const KernelTable& table) {
  FloatFilters::Phase p{w, first, {}, 0};
  p.group_floats = w.depthwise() ? 0 : float_panels_size(w.k(), w.outputs / w.groups, table);
  p.panels = allocate(sizeof(float) * (w.depthwise() ? w.taps() * w.channels : w.groups * p.group_floats));
  auto* out = reinterpret_cast<float*>(p.panels.get());
  if (w.depthwise())
    pack_depthwise(w, s, out);
  else
    for (int64_t g = 0; g < w.groups; ++g) pack_group(w, s, g, table, out + g * p.group_floats);
  return p;
}

}  // namespace

void FloatConvSpec::check_for(int64_t first, const Triple& kernel) const {
  const auto each = [](const char* name, const Triple& values, int64_t least) {
    for (const int64_t n : values)
      check(n >= least && n < int64_t{1} << 31, "conv: ", name, ": expected at least ", least, ", got ", n);
  };
  each("kernel size", kernel, 0);
  each("stride", stride, 1);
  each("padding", padding, 0);
  each("dilation", dilation, 1);
  each("output_padding", output_padding, 0);
  check(groups >= 1 && groups <= std::max<int64_t>(1, first) && first % groups == 0,
        "conv: groups: expected a divisor of ", first, ", got ", groups);
}

FloatFilters::FloatFilters(const float* weight, int64_t first, int64_t second, const Triple& kernel,
                           const FloatConvSpec& spec, const KernelTable& table)
    : spec_(spec), kernel_(kernel), table_(table) {
  const int64_t taps = product(kernel);
  const Triple natural{kernel[1] * kernel[2], kernel[2], 1};
  FloatWalk w{.kernel = kernel, .groups = spec.groups};
  if (!spec.transposed) {
    channels_ = w.channels = second * spec.groups;
    outputs_ = w.outputs = first;
    w.step = spec.stride, w.lead = spec.padding, w.reach = spec.dilation;
    const int64_t output = second * taps;
    phases_.push_back(pack_phase(w, {0, 0, 0}, {weight, first / spec.groups * output, output, taps, natural}, table));
    return;
  }
  channels_ = w.channels = first;
  outputs_ = w.outputs = second * spec.groups;
  apart_ = spec.stride;
  // Mirrored: tap t reads at (o - lead + t * dilation) / stride, where that is a whole number. For the outputs f,
  // f + stride, ... of a phase those are every apart-th tap, at whole distances.
  for (int64_t i = 0; i < product(spec.stride); ++i) {
    const Triple& up = spec.stride;
    const Triple f{i / up[2] / up[1], i / up[2] % up[1], i % up[2]};
    Strides s{weight + taps - 1, first / spec.groups * second * taps, taps, second * taps, {}};
    for (int a = 0; a < 3; ++a) {
      const int64_t lead = spec.dilation[a] * (kernel[a] - 1) - spec.padding[a];
      const int64_t apart = up[a] / std::gcd(up[a], spec.dilation[a]);
      int64_t tap = 0;
      while (tap < apart && (f[a] - lead + tap * spec.dilation[a]) % up[a]) ++tap;
      w.kernel[a] = tap < apart && tap < kernel[a] ? (kernel[a] - tap + apart - 1) / apart : 0;
      w.lead[a] = w.kernel[a] ? -(f[a] - lead + tap * spec.dilation[a]) / up[a] : 0;
      w.reach[a] = spec.dilation[a] * apart / up[a];
      s.first -= w.kernel[a] ? tap * natural[a] : 0;
      s.tap[a] = -apart * natural[a];
    }
    phases_.push_back(pack_phase(w, f, s, table));
  }
}

Triple FloatFilters::output_size(const FloatConvSpec& spec, const Triple& kernel, const Triple& input) {
  Triple out;
  for (int a = 0; a < 3; ++a) {
    const int64_t window = spec.dilation[a] * (kernel[a] - 1) + 1;
    out[a] = spec.transposed ? (input[a] - 1) * spec.stride[a] - 2 * spec.padding[a] + window + spec.output_padding[a]
                             : (input[a] + 2 * spec.padding[a] - window) / spec.stride[a] + 1;
  }
  return out;
}

PackedFloatConv::PackedFloatConv(const float* weight, int64_t first, int64_t second, const Triple& kernel,
                                 const FloatConvSpec& spec, std::vector<float> bias)
    : weight_(weight, weight + first * second * product(kernel)),
      bias_(std::move(bias)),
      first_(first),
      second_(second),
      kernel_(kernel),
      spec_(spec) {}

std::shared_ptr<const FloatFilters> PackedFloatConv::filters(const KernelTable& table) const {
  std::lock_guard lock(cache_->mutex);
  if (!cache_->filters || &cache_->filters->table() != &table)
    cache_->filters = std::make_shared<const FloatFilters>(weight_.data(), first_, second_, kernel_, spec_, table);
  return cache_->filters;
}

}  // namespace octensor
