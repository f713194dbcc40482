#include "ops/packed.h"

#include <cfloat>
#include <cmath>
#include <cstring>

#include "core/check.h"

namespace octensor {
namespace {

constexpr int64_t kInt32Max = INT32_MAX;

// [out, in...] codes -> [out][k], k = taps * channels with channels innermost, as activations are read.
WeightMatrix to_matrix(const char* op, const QTensor& weight, int64_t groups) {
  check<TypeError>(is_8bit(weight.dtype()), op, ": weight: expected qint8 or quint8, got ", info(weight.dtype()).name);
  check(!weight.qparams().per_channel() || weight.qparams().axis() == 0, op,
        ": weight: expected per-tensor or per-channel parameters along axis 0, got axis ", weight.qparams().axis());
  const int64_t out = weight.size(0);
  check(groups >= 1 && out % groups == 0, op, ": groups: expected a divisor of the ", out, " output channels, got ",
        groups);
  const QTensor w = weight.to(weight.ndim() == 4 ? Layout::channels_last : Layout::contiguous);
  WeightMatrix m{.groups = groups,
                 .columns = out / groups,
                 .k = out ? w.numel() / out : 0,
                 .values = {},
                 .zero_points = {},
                 .scales = {},
                 .asymmetric = false,
                 .worst_sum = 0};
  // int8 holds unsigned codes too, once 128 is taken from the code and from its zero point.
  const int32_t shift = is_signed8(w.dtype()) ? 0 : 128;
  m.values.resize(w.numel());
  for (int64_t i = 0; i < w.numel(); ++i) m.values[i] = static_cast<int8_t>(w.bytes()[i] ^ (shift ? 0x80 : 0));
  const QParams& q = w.qparams();
  for (int64_t c = 0; c < out; ++c) {
    const size_t at = q.per_channel() ? c : 0;
    m.scales.push_back(q.scales()[at]);
    m.zero_points.push_back(q.zero_points()[at] - shift);
    m.asymmetric |= m.zero_points.back() != 0;
    int64_t sum = 0;
    for (int64_t k = 0; k < m.k; ++k) sum += std::abs(m.values[c * m.k + k] - m.zero_points[c]);
    m.worst_sum = std::max(m.worst_sum, sum);
  }
  return m;
}

}  // namespace

PackedWeight::PackedWeight(const char* op, QTensor weight, std::vector<float> bias, int64_t groups)
    : op_(op), weight_(std::move(weight)), bias_(std::move(bias)), matrix_(to_matrix(op, weight_, groups)) {
  check(bias_.empty() || static_cast<int64_t>(bias_.size()) == weight_.size(0), op, ": bias: expected ",
        weight_.size(0), " values, one per output channel, got ", bias_.size());
  for (float b : bias_) check(std::isfinite(b), op, ": bias: expected finite numbers, got ", b);
}

std::shared_ptr<const Epilogue> PackedWeight::epilogue(const QParams& input, const QParams& output) const {
  {
    std::lock_guard lock(caches_->mutex);
    if (caches_->epilogue && *caches_->input == input && *caches_->output == output) return caches_->epilogue;
  }
  auto e = std::make_shared<Epilogue>();
  const size_t channels = matrix_.scales.size();
  e->bias.resize(channels);
  e->multiplier.resize(channels);
  const DTypeInfo& t = info(input.dtype());
  const int64_t z = input.zero_point();
  const int64_t reach = std::max(z - t.qmin, t.qmax - z);  // largest |code - zero point| of the input
  int64_t worst_bias = 0;
  for (size_t c = 0; c < channels; ++c) {
    const double scale = double(input.scale()) * double(matrix_.scales[c]);
    if (!bias_.empty()) {
      const double b = std::nearbyint(double(bias_[c]) / scale);
      check(std::abs(b) <= double(kInt32Max), op_,
            ": bias: expected every bias to fit int32 at scale input * weight; "
            "channel ",
            c, " has bias ", bias_[c], " at scale ", scale, "; use a larger weight scale there");
      e->bias[c] = static_cast<int32_t>(b);
      worst_bias = std::max(worst_bias, std::abs(int64_t{e->bias[c]}));
    }
    e->multiplier[c] = static_cast<float>(scale / double(output.scale()));
    check(std::isfinite(e->multiplier[c]), op_,
          ": qparams: expected input scale * weight scale / output scale inside "
          "float32, got ",
          input.scale(), " * ", matrix_.scales[c], " / ", output.scale(), " for channel ", c);
  }
  check(matrix_.worst_sum <= (kInt32Max - worst_bias) / std::max<int64_t>(reach, 1), op_,
        ": weight: expected sums that "
        "fit int32 for every input; K = ",
        matrix_.k, " products of these weights with codes ", reach, " away from the zero point can reach ",
        double(matrix_.worst_sum) * double(reach) + double(worst_bias));
  std::lock_guard lock(caches_->mutex);
  caches_->epilogue = e;
  caches_->input = std::make_shared<QParams>(input);
  caches_->output = std::make_shared<QParams>(output);
  return e;
}

std::shared_ptr<const PackedPanels> PackedWeight::panels(const KernelTable& table) const {
  std::lock_guard lock(caches_->mutex);
  for (auto& [key, value] : caches_->panels)
    if (key == &table) return value;
  const WeightMatrix& m = matrix_;
  const GemmTile t = table.tile;
  const int64_t k_groups = (m.k + t.group - 1) / t.group, panels = (m.columns + t.panel - 1) / t.panel;
  auto p = std::make_shared<PackedPanels>();
  p->group_bytes = panels * k_groups * t.panel * t.group;
  p->values = allocate(p->group_bytes * m.groups);
  std::memset(p->values.get(), 0, p->group_bytes * m.groups);
  for (int64_t g = 0; g < m.groups; ++g)
    for (int64_t c = 0; c < m.columns; ++c) {
      const int8_t* from = m.values.data() + (g * m.columns + c) * m.k;
      uint8_t* to = p->values.get() + g * p->group_bytes + (c / t.panel * k_groups * t.panel + c % t.panel) * t.group;
      for (int64_t k = 0; k < m.k; ++k)
        to[k / t.group * t.panel * t.group + k % t.group] = static_cast<uint8_t>(from[k]);
    }
  caches_->panels.emplace_back(&table, p);
  return p;
}

std::shared_ptr<const std::vector<int16_t>> PackedWeight::depthwise(const KernelTable& table) const {
  std::lock_guard lock(caches_->mutex);
  for (auto& [key, value] : caches_->depthwise)
    if (key == &table) return value;
  const WeightMatrix& m = matrix_;
  const int64_t lanes = table.tile.lanes, channels = m.groups;
  const int64_t padded = (channels + lanes - 1) / lanes * lanes, pairs = (m.k + 1) / 2;
  auto w = std::make_shared<std::vector<int16_t>>(pairs * padded * 2, int16_t{0});
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t k = 0; k < m.k; ++k)
      (*w)[(k / 2 * padded + c) * 2 + k % 2] = static_cast<int16_t>(m.values[c * m.k + k] - m.zero_points[c]);
  caches_->depthwise.emplace_back(&table, w);
  return w;
}

PackedLinear::PackedLinear(QTensor weight, std::vector<float> bias)
    : PackedWeight("linear",
                   (check(weight.ndim() == 2, "linear: weight: expected shape [out_features, in_features], got ",
                          weight.shape_text()),
                    std::move(weight)),
                   std::move(bias), 1) {}

PackedConv2d::PackedConv2d(QTensor weight, std::vector<float> bias, std::array<int64_t, 2> stride_,
                           std::array<int64_t, 2> padding_, std::array<int64_t, 2> dilation_, int64_t groups_)
    : PackedWeight("conv2d",
                   (check(weight.ndim() == 4,
                          "conv2d: weight: expected shape [out_channels, in_channels / groups, kh, kw], "
                          "got ",
                          weight.shape_text()),
                    std::move(weight)),
                   std::move(bias), groups_),
      stride(stride_),
      padding(padding_),
      dilation(dilation_),
      kernel{this->weight().size(2), this->weight().size(3)},
      groups(groups_) {
  constexpr int64_t kLimit = int64_t{1} << 31;
  for (int i = 0; i < 2; ++i) {
    check(kernel[i] >= 1, "conv2d: weight: expected a kernel of at least 1 x 1, got ", this->weight().shape_text());
    check(stride[i] >= 1 && stride[i] < kLimit, "conv2d: stride: expected at least 1, got ", stride[i]);
    check(padding[i] >= 0 && padding[i] < kLimit, "conv2d: padding: expected at least 0, got ", padding[i]);
    check(dilation[i] >= 1 && dilation[i] < kLimit, "conv2d: dilation: expected at least 1, got ", dilation[i]);
  }
}

}  // namespace octensor
