#include "ops/packed.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "core/check.h"
#include "core/integers.h"
#include "ops/mixed_groups.h"

namespace octensor {
namespace {

constexpr int64_t kInt32Max = INT32_MAX;
constexpr int64_t kShortSum = 1 << 16;

// int8 holds unsigned codes too, once 128 is taken from the code and from its zero point.
int32_t shift_of(const QTensor& rows) { return is_signed8(rows.dtype()) ? 0 : 128; }

WeightMatrix to_matrix(const char* op, const QTensor& weight, int64_t groups) {
  check<TypeError>(is_8bit(weight.dtype()), op, ": weight: expected qint8 or quint8, got ", info(weight.dtype()).name);
  check(!weight.qparams().has_float_zero_points(), op,
        ": weight: expected integer zero points, got float ones (they are for embeddings)");
  check(!weight.qparams().per_channel() || weight.qparams().axis() == 0, op,
        ": weight: expected per-tensor or per-channel parameters along axis 0, got axis ", weight.qparams().axis());
  const int64_t out = weight.size(0);
  check(groups >= 1 && out % groups == 0, op, ": groups: expected a divisor of the ", out, " output channels, got ",
        groups);
  const WeightCodes codes(weight);
  WeightMatrix m{
      .groups = groups,
      .columns = out / groups,
      .k = std::accumulate(weight.shape().begin() + 1, weight.shape().end(), int64_t{1}, std::multiplies<>()),
      .zero_points = {},
      .scales = {},
      .weight_sums = {},
      .centred_sums = {},
      .asymmetric = false,
      .worst_sum = 0,
      .widest = 0};
  const int32_t shift = shift_of(weight);
  const QParams& q = weight.qparams();
  for (int64_t c = 0; c < out; ++c) {
    const size_t at = q.per_channel() ? c : 0;
    m.scales.push_back(q.scales()[at]);
    m.zero_points.push_back(q.zero_points()[at] - shift);
    m.asymmetric |= m.zero_points.back() != 0;
    const int8_t* row = codes.data() + c * m.k;
    const int32_t zero = m.zero_points.back();
    int64_t sum = 0;
    int32_t plain = 0;
    for (int64_t k = 0; k < m.k; k += kShortSum) {  // short sums in 32 bits: compilers make vectors of them
      int32_t part = 0;
      for (int64_t i = k; i < std::min(m.k, k + kShortSum); ++i) {
        part += std::abs(row[i] - zero);
        plain += row[i];
      }
      sum += part;
    }
    m.worst_sum = std::max(m.worst_sum, sum);
    if (m.scales[c] > m.scales[m.widest]) m.widest = c;
    m.weight_sums.push_back(plain);
    m.centred_sums.push_back(static_cast<int32_t>(plain - m.k * m.zero_points.back()));
  }
  m.weight_sums.resize(out + kEpiloguePadding);
  return m;
}

}  // namespace

// [out, in...] codes -> [out][k], k = taps * channels with channels innermost, as activations are read.
WeightCodes::WeightCodes(const QTensor& rows) : size_(rows.numel()) {
  const QTensor w = rows.to(rows.ndim() > 2 ? Layout::channels_last : Layout::contiguous);
  storage_ = w.storage();
  data_ = reinterpret_cast<const int8_t*>(w.bytes());
  if (!shift_of(rows)) return;
  storage_ = allocate(size_);
  auto* to = reinterpret_cast<int8_t*>(storage_.get());
  for (int64_t i = 0; i < size_; ++i) to[i] = static_cast<int8_t>(w.bytes()[i] ^ 0x80);
  data_ = to;
}

PackedWeight::PackedWeight(const char* op, QTensor weight, const QTensor& rows, std::vector<float> bias, int64_t groups)
    : op_(op), weight_(std::move(weight)), rows_(rows), bias_(std::move(bias)), matrix_(to_matrix(op, rows, groups)) {
  check(bias_.empty() || bias_.size() == matrix_.scales.size(), op, ": bias: expected ", matrix_.scales.size(),
        " values, one per output channel, got ", bias_.size());
  for (float b : bias_) check(std::isfinite(b), op, ": bias: expected finite numbers, got ", b);
}

std::shared_ptr<const Epilogue> PackedWeight::epilogue(const QParams& input, const QParams& output) const {
  {
    std::lock_guard lock(caches_->mutex);
    if (caches_->epilogue && *caches_->input == input && *caches_->output == output) return caches_->epilogue;
  }
  auto e = std::make_shared<Epilogue>();
  const size_t channels = matrix_.scales.size();
  e->bias.resize(channels + kEpiloguePadding);
  e->multiplier.resize(channels + kEpiloguePadding);
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
  check_sums(reach_of(input), worst_bias);
  // Half of int32's range leaves room for roundings.
  const float largest = *std::max_element(e->multiplier.begin(), e->multiplier.end());
  e->within = (double(matrix_.worst_sum) * double(reach_of(input)) + double(worst_bias)) * double(largest) < 0x1p30;
  std::lock_guard lock(caches_->mutex);
  caches_->epilogue = e;
  caches_->input = std::make_shared<QParams>(input);
  caches_->output = std::make_shared<QParams>(output);
  return e;
}

void PackedWeight::check_reals(float input_scale, int64_t reach) const {
  check_sums(reach);
  if (matrix_.scales.empty()) return;
  const float largest = matrix_.scales[matrix_.widest];
  check(std::isfinite(input_scale * largest), op_, ": input: expected input scale * weight scale inside float32, got ",
        input_scale, " * ", largest, " for channel ", matrix_.widest);
}

int64_t reach_of(const QParams& qparams) {
  const DTypeInfo& t = info(qparams.dtype());
  const int64_t z = qparams.zero_point();
  return std::max(z - t.qmin, t.qmax - z);
}

void PackedWeight::check_sums(int64_t reach, int64_t worst_bias) const {
  check(matrix_.worst_sum <= (kInt32Max - worst_bias) / std::max<int64_t>(reach, 1), op_,
        ": weight: expected sums that fit int32 for every input; K = ", matrix_.k,
        " products of these weights with codes ", reach, " away from the zero point can reach ",
        double(matrix_.worst_sum) * double(reach) + double(worst_bias));
}

namespace {

// A panel's codes: the columns' runs of kGroup along K side by side, block by block so that a block stays in the L1
// cache.
template <int64_t kGroup>
void pack_panel(const int8_t* from, int64_t columns, int64_t k, int64_t step, uint8_t* to) {
  constexpr int64_t kBlock = 256;  // of K
  for (int64_t first = 0; first < k; first += kBlock)
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t end = std::min(k, first + kBlock), whole = end / kGroup * kGroup;
      const int8_t* row = from + c * k;
      uint8_t* at = to + first / kGroup * step + c * kGroup;
      for (int64_t i = first; i < whole; i += kGroup, at += step) std::memcpy(at, row + i, kGroup);
      std::memcpy(at, row + whole, end - whole);
    }
}

std::shared_ptr<const PackedPanels> pack_panels(const PackedWeight& weight, const KernelTable& table) {
  const WeightMatrix& m = weight.matrix();
  const WeightCodes codes = weight.codes();
  const GemmTile t = table.tile;
  const int64_t k_groups = ceil_div(m.k, t.group), panels = ceil_div(m.columns, t.panel);
  auto p = std::make_shared<PackedPanels>();
  p->group_bytes = panels * k_groups * t.panel * t.group;
  p->values = allocate(p->group_bytes * m.groups);
  std::memset(p->values.get(), 0, p->group_bytes * m.groups);
  const int64_t step = int64_t{t.panel} * t.group;
  const auto pack = t.group == 1   ? &pack_panel<1>
                    : t.group == 2 ? &pack_panel<2>
                    : t.group == 4 ? &pack_panel<4>
                                   : &pack_panel<8>;
  for (int64_t g = 0; g < m.groups; ++g)
    for (int64_t c = 0; c < m.columns; c += t.panel)
      pack(codes.data() + (g * m.columns + c) * m.k, std::min<int64_t>(t.panel, m.columns - c), m.k, step,
           p->values.get() + g * p->group_bytes + c / t.panel * k_groups * step);
  if (t.mixed_block) order_groups(t, m, k_groups, *p);
  return p;
}

}  // namespace

std::shared_ptr<const PackedPanels> PackedWeight::panels(const KernelTable& table) const {
  return form(table, pack_panels);
}

PackedLinear::PackedLinear(QTensor weight, std::vector<float> bias)
    : PackedWeight("linear",
                   (check(weight.ndim() == 2, "linear: weight: expected shape [out_features, in_features], got ",
                          weight.shape_text()),
                    weight),
                   weight, std::move(bias), 1) {}

namespace {

constexpr int64_t kLimit = int64_t{1} << 31;

void check_walk(const char* op, const char* argument, const std::vector<int64_t>& values, int spatial, int64_t least) {
  check(static_cast<int>(values.size()) == spatial, op, ": ", argument, ": expected ", spatial,
        " values, one per spatial axis, got ", values.size());
  for (int64_t v : values)
    check(v >= least && v < kLimit, op, ": ", argument, ": expected at least ", least, ", got ", v);
}

constexpr const char* kConvNames[2][3] = {{"conv1d", "conv2d", "conv3d"},
                                          {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}};

// Checks the weight's shape; returns the op's name for errors.
const char* conv_name(bool transposed, const QTensor& weight) {
  check(weight.ndim() >= 3 && weight.ndim() <= 5, transposed ? "conv_transpose" : "conv", ": weight: expected shape ",
        transposed ? "[in_channels, out_channels / groups, kernel...]"
                   : "[out_channels, in_channels / groups, kernel...]",
        " with 1 to 3 spatial axes, got ", weight.shape_text());
  const char* op = kConvNames[transposed][weight.ndim() - 3];
  for (int i = 2; i < weight.ndim(); ++i)
    check(weight.size(i) >= 1, op, ": weight: expected kernel sizes of at least 1, got ", weight.shape_text());
  return op;
}

// [C, O / groups, k...] -> [O, C / groups, k mirrored...]: the weight of the equivalent ordinary convolution.
QTensor mirrored(const char* op, const QTensor& weight, int64_t groups) {
  const QParams& q = weight.qparams();
  check(!q.per_channel() || q.axis() == 1, op,
        ": weight: expected per-tensor or per-channel parameters along axis 1, "
        "got axis ",
        q.axis());
  check(groups >= 1 && weight.size(0) % groups == 0, op, ": groups: expected a divisor of the ", weight.size(0),
        " input channels, got ", groups);
  check<TypeError>(is_8bit(q.dtype()), op, ": weight: expected qint8 or quint8, got ", info(q.dtype()).name);
  const int64_t in = weight.size(0) / groups, out = weight.size(1);
  Shape shape = weight.shape();
  shape[0] = out * groups;
  shape[1] = in;
  int64_t taps = 1;
  for (int i = 2; i < weight.ndim(); ++i) taps *= weight.size(i);
  std::vector<float> scales;
  std::vector<int32_t> zeros;
  for (int64_t c = 0; c < out * groups; ++c) {
    const size_t at = q.per_channel() ? c % out : 0;
    scales.push_back(q.scales()[at]);
    zeros.push_back(q.zero_points()[at]);
  }
  QTensor rows = QTensor::empty(std::move(shape), std::make_shared<QParams>(scales, zeros, q.dtype(), 0));
  const QTensor from = weight.to(Layout::contiguous);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t c = 0; c < in; ++c)
      for (int64_t o = 0; o < out; ++o)
        std::reverse_copy(from.bytes() + ((g * in + c) * out + o) * taps,
                          from.bytes() + ((g * in + c) * out + o + 1) * taps,
                          rows.bytes() + ((g * out + o) * in + c) * taps);
  return rows;
}

}  // namespace

PackedConv PackedConv::conv(QTensor weight, std::vector<float> bias, std::vector<int64_t> stride,
                            std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups) {
  const char* op = conv_name(false, weight);
  const QTensor rows = weight;
  return {op,
          std::move(weight),
          rows,
          std::move(bias),
          std::move(stride),
          std::move(padding),
          {},
          std::move(dilation),
          groups,
          false};
}

PackedConv PackedConv::transposed(QTensor weight, std::vector<float> bias, std::vector<int64_t> stride,
                                  std::vector<int64_t> padding, std::vector<int64_t> output_padding,
                                  std::vector<int64_t> dilation, int64_t groups) {
  const char* op = conv_name(true, weight);
  const QTensor rows = mirrored(op, weight, groups);
  return {op,
          std::move(weight),
          rows,
          std::move(bias),
          std::move(stride),
          std::move(padding),
          std::move(output_padding),
          std::move(dilation),
          groups,
          true};
}

PackedConv::PackedConv(const char* op, QTensor user_weight, const QTensor& rows, std::vector<float> bias,
                       std::vector<int64_t> stride_, std::vector<int64_t> padding_,
                       std::vector<int64_t> output_padding_, std::vector<int64_t> dilation_, int64_t groups_,
                       bool transposed)
    : PackedWeight(op, std::move(user_weight), rows, std::move(bias), groups_),
      stride(std::move(stride_)),
      padding(std::move(padding_)),
      output_padding(std::move(output_padding_)),
      dilation(std::move(dilation_)),
      groups(groups_),
      is_transposed(transposed),
      spatial(rows.ndim() - 2) {
  check_walk(op, "stride", stride, spatial, 1);
  check_walk(op, "padding", padding, spatial, 0);
  check_walk(op, "dilation", dilation, spatial, 1);
  if (transposed) check_walk(op, "output_padding", output_padding, spatial, 0);
  kernel = step = reach = upsample = {1, 1, 1};
  lead = extra = {0, 0, 0};
  for (int i = 0; i < spatial; ++i) {
    const int a = 3 - spatial + i;  // 1-D and 2-D kernels take the last axes
    kernel[a] = rows.size(2 + i);
    reach[a] = dilation[i];
    if (transposed) {
      check(output_padding[i] < std::max(stride[i], dilation[i]), op,
            ": output_padding: expected less than stride or dilation (", stride[i], ", ", dilation[i], "), got ",
            output_padding[i]);
      upsample[a] = stride[i];
      lead[a] = dilation[i] * (kernel[a] - 1) - padding[i];
      extra[a] = output_padding[i];
    } else {
      step[a] = stride[i];
      lead[a] = padding[i];
    }
  }
}

// Output o = first + upsample * q and tap t meet at (first - lead + t * reach) / upsample + q where that is whole: for
// every `apart`-th tap from the first such one on, and then the input's place moves by reach * apart / upsample.
PackedConv PackedConv::phase(const Triple& first) const {
  QTensor rows = this->rows();
  Triple shift{0, 0, 0}, distance{1, 1, 1};
  for (int i = 0; i < spatial; ++i) {
    const int a = 3 - spatial + i;
    const int64_t up = upsample[a], apart = up / std::gcd(up, reach[a]);
    int64_t tap = 0;
    while (tap < apart && (first[a] - lead[a] + tap * reach[a]) % up) ++tap;
    const int64_t taps = tap < apart && tap < kernel[a] ? (kernel[a] - tap + apart - 1) / apart : 0;
    if (taps) shift[a] = -(first[a] - lead[a] + tap * reach[a]) / up;
    distance[a] = reach[a] * apart / up;
    rows = rows.slice(2 + i, taps ? tap : 0, taps, apart);
  }
  const std::vector<int64_t> ones(spatial, 1), zeros(spatial, 0);
  // A dense copy: a slice would keep all of the weight's codes alive.
  PackedConv conv{op(), weight(), rows.to(Layout::channels_last), {}, ones, zeros, {}, ones, groups, false};
  conv.lead = shift;
  conv.reach = distance;
  return conv;
}

Triple PackedConv::output_size(const Triple& input) const {
  constexpr const char* kAxes[] = {"depth", "height", "width"};
  Triple out;
  for (int a = 0; a < 3; ++a) {
    // The input as the walk sees it: upsampled, with `lead` before it and as much (and output_padding) after it.
    const int64_t size = input[a] == 0 && upsample[a] > 1 ? 0 : (input[a] - 1) * upsample[a] + 1;
    const int64_t padded = size + 2 * lead[a] + extra[a], window = reach[a] * (kernel[a] - 1) + 1;
    check(padded >= window, op(), ": input: expected a padded ", kAxes[a], " of at least ", window,
          " (dilated kernel), got ", padded);
    out[a] = (padded - window) / step[a] + 1;
  }
  return out;
}

}  // namespace octensor
