// Dynamic quantization: a float input is quantized on the fly with parameters from its own range.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/gemm_driver.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

constexpr int64_t kChunk = 1 << 15;

std::pair<float, float> range_of(const float* x, int64_t n) {
  const KernelTable& table = kernel_table();
  const int64_t tasks = (n + kChunk - 1) / kChunk;
  std::vector<std::pair<float, float>> parts(tasks, {0.0f, 0.0f});
  parallel_for(tasks, [&](int64_t i) {
    table.range(x + i * kChunk, std::min(kChunk, n - i * kChunk), &parts[i].first, &parts[i].second);
  });
  float lo = 0.0f, hi = 0.0f;
  for (auto [l, h] : parts) {
    lo = l < lo || l != l ? l : lo;
    hi = h > hi || h != h ? h : hi;
  }
  return {lo, hi};
}

}  // namespace

QParamsPtr choose_qparams(float lo, float hi, DType dtype, bool reduce_range) {
  check<TypeError>(is_8bit(dtype), "choose_qparams: dtype: expected qint8 or quint8, got ", info(dtype).name);
  check(std::isfinite(lo) && std::isfinite(hi) && lo <= hi, "choose_qparams: range: expected finite lo <= hi, got [",
        lo, ", ", hi, "]");
  const int64_t divide = reduce_range ? 2 : 1;
  const double qmin = double(info(dtype).qmin / divide), qmax = double(info(dtype).qmax / divide);
  const double low = std::min(double(lo), 0.0), high = std::max(double(hi), 0.0);
  double s = (high - low) / (qmax - qmin);
  float scale = static_cast<float>(s);
  if (!(scale >= FLT_MIN) || !std::isfinite(1.0f / scale)) s = scale = 0.1f;  // an all-zero or denormal range
  // Of the zero points that make each end exact, the one that costs less at the other.
  const double from_min = qmin - low / s, from_max = qmax - high / s;
  const double error_min = std::abs(qmin) - std::abs(low / s), error_max = std::abs(qmax) - std::abs(high / s);
  const double z = std::nearbyint(std::clamp(error_min < error_max ? from_min : from_max, qmin, qmax));
  return std::make_shared<QParams>(std::vector{scale}, std::vector{static_cast<int32_t>(z)}, dtype);
}

void linear_dynamic(const FloatView& x, const PackedLinear& packed, bool reduce_range, bool relu, float* out) {
  const int64_t n = count(x.shape), k = packed.matrix().k;
  const Shape dense = dense_strides(x.shape, Layout::contiguous);
  StoragePtr copy;
  const float* values = x.data;
  if (x.strides != dense) {
    copy = allocate(n * sizeof(float));
    copy_strided(reinterpret_cast<const uint8_t*>(x.data), x.strides, copy.get(), dense, x.shape, sizeof(float));
    values = reinterpret_cast<const float*>(copy.get());
  }
  const auto [lo, hi] = range_of(values, n);
  check(std::isfinite(lo) && std::isfinite(hi),
        "linear_dynamic: input: expected finite values, got NaN or an infinity");
  const QParamsPtr qparams = choose_qparams(lo, hi, DType::quint8, reduce_range);
  const int64_t rows = k ? n / k : count({x.shape.begin(), x.shape.end() - 1}), columns = packed.matrix().columns;
  const QTensor q = quantize({values, {rows, k}, {k, 1}}, qparams, Layout::contiguous);
  const std::vector<float> multiplier = packed.real_multiplier(*qparams);
  const CodePacker packer(kernel_table(), *qparams);
  run_gemm(packer, packed, rows,
           {.pack =
                [&](int64_t first, int64_t n, int64_t, uint8_t* to, int64_t stride) {
                  for (int64_t i = 0; i < n; ++i) packer.codes(q.bytes() + (first + i) * k, k, to + i * stride);
                },
            .codes = q.bytes(),
            .stride = k},
           {.reals = out,
            .stride = columns,
            .relu = relu,
            .real_multiplier = multiplier.data(),
            .real_bias = packed.bias().empty() ? nullptr : packed.bias().data()});
}

}  // namespace octensor::ops
