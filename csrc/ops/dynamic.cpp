// Dynamic quantization: a float input is quantized on the fly with parameters from its own range.
//
// Passes over the input: one for its range, one that quantizes it; where each row has its own range both go over a row
// while it is in the L1 cache. Codes go to a buffer of at most kBlockBytes that is reused from block to block: a
// quarter of the input's bytes, which GEMM reads in place or packs, possibly once per thread; dividing there instead
// would cost more. Scale, bias and ReLU are GEMM's epilogue. Bound: reading the input twice, and a division per vector.
#include "ops/dynamic.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>

#include "core/scratch.h"
#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/float_rows.h"
#include "ops/gemm_driver.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

constexpr int64_t kBlockBytes = 1 << 22;     // codes between quantization and GEMM
constexpr int64_t kTaskElements = 1 << 14;   // quantized per task: some microseconds
constexpr int64_t kParallelRange = 1 << 17;  // floats below which waking a thread costs more than their range
constexpr int64_t kMaxRangeTasks = 16;

std::pair<float, float> range_of(const float* x, int64_t n) {
  const KernelTable& table = kernel_table();
  const int64_t tasks = n < kParallelRange ? 1 : std::min<int64_t>(4 * num_threads(), kMaxRangeTasks);
  const int64_t chunk = (n + tasks - 1) / tasks;
  std::array<std::pair<float, float>, kMaxRangeTasks> parts{};
  auto task = [&](int64_t i) {
    table.range(x + i * chunk, std::min(chunk, n - i * chunk), &parts[i].first, &parts[i].second);
  };
  tasks == 1 ? task(0) : parallel_for(tasks, std::ref(task));
  float lo = 0.0f, hi = 0.0f;
  for (auto [l, h] : parts) {
    lo = l < lo || l != l ? l : lo;
    hi = h > hi || h != h ? h : hi;
  }
  return {lo, hi};
}

// A block of rows between quantization and GEMM.
struct Block {
  uint8_t* codes;
  float* scale;         // of each row
  int32_t* zero_point;  // of each row
};

Block block_of(int64_t rows, int64_t k) {
  struct Codes;
  struct Parameters;
  auto* scale = scratch<Parameters, float>(2 * rows);
  return {.codes = scratch<Codes, uint8_t>(rows * k),
          .scale = scale,
          .zero_point = reinterpret_cast<int32_t*>(scale + rows)};
}

void quantize_rows(const DynamicProduct& product, const float* x, int64_t rows, const Block& block) {
  const KernelTable& table = kernel_table();
  const int64_t k = product.weight.matrix().k;
  const int64_t step = std::max<int64_t>(kTaskElements / std::max<int64_t>(k, 1), 1), tasks = (rows + step - 1) / step;
  auto task = [&](int64_t index) {
    const int64_t end = std::min(rows, (index + 1) * step);
    for (int64_t i = index * step; i < end; ++i) {
      DynamicParams p;
      if (product.shared) {
        p = *product.shared;
      } else {
        p = dynamic_params_of(product.where, x + i * k, k, product.reduce_range);
        product.weight.check_reals(p.scale, std::max(p.zero_point, 255 - p.zero_point));
      }
      const auto z = static_cast<float>(p.zero_point);
      table.quantize(x + i * k, k, p.scale, p.zero_point, 0.0f - z, 255.0f - z, block.codes + i * k);
      block.scale[i] = p.scale;
      block.zero_point[i] = p.zero_point;
    }
  };
  tasks == 1 ? task(0) : parallel_for(tasks, std::ref(task));
}

}  // namespace

DynamicParams dynamic_params(float lo, float hi, int64_t qmin, int64_t qmax) {
  const double least = double(qmin), most = double(qmax);
  const double low = std::min(double(lo), 0.0), high = std::max(double(hi), 0.0);
  double s = (high - low) / (most - least);
  float scale = static_cast<float>(s);
  if (!(scale >= FLT_MIN) || !std::isfinite(1.0f / scale)) s = scale = 0.1f;  // an all-zero or denormal range
  // Of the zero points that make each end exact, the one that costs less at the other.
  const double from_min = least - low / s, from_max = most - high / s;
  const double error_min = std::abs(least) - std::abs(low / s), error_max = std::abs(most) - std::abs(high / s);
  const double z = std::nearbyint(std::clamp(error_min < error_max ? from_min : from_max, least, most));
  return {scale, static_cast<int32_t>(z)};
}

DynamicParams dynamic_params_of(const char* where, const float* x, int64_t n, bool reduce_range) {
  const auto [lo, hi] = range_of(x, n);
  check(std::isfinite(lo) && std::isfinite(hi), where, ": expected finite values, got NaN or an infinity");
  return dynamic_params(lo, hi, 0, reduce_range ? 127 : 255);
}

QParamsPtr choose_qparams(float lo, float hi, DType dtype, bool reduce_range) {
  check<TypeError>(is_8bit(dtype), "choose_qparams: dtype: expected qint8 or quint8, got ", info(dtype).name);
  check(std::isfinite(lo) && std::isfinite(hi) && lo <= hi, "choose_qparams: range: expected finite lo <= hi, got [",
        lo, ", ", hi, "]");
  const int64_t divide = reduce_range ? 2 : 1;
  const DynamicParams p = dynamic_params(lo, hi, info(dtype).qmin / divide, info(dtype).qmax / divide);
  return std::make_shared<QParams>(std::vector{p.scale}, std::vector{p.zero_point}, dtype);
}

void dynamic_product(const DynamicProduct& product, const float* x, int64_t rows, float* out) {
  const WeightMatrix& m = product.weight.matrix();
  const DynamicParams* shared = product.shared;
  if (shared) product.weight.check_reals(shared->scale, std::max(shared->zero_point, 255 - shared->zero_point));
  // Rows with zero points of their own are packed as if it were 0; the epilogue takes it out of their sums.
  const CodePacker packer(kernel_table(), false, shared ? shared->zero_point : 0);
  const int64_t most = std::max<int64_t>(kBlockBytes / std::max<int64_t>(m.k, 1), 1);
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t n = std::min(most, rows - first);
    const Block block = block_of(n, m.k);
    quantize_rows(product, x + first * m.k, n, block);
    const RealEpilogue real{.column_scale = m.scales.data(),
                            .bias = product.weight.bias().empty() ? nullptr : product.weight.bias().data(),
                            .row_scale = block.scale,
                            .row_zero = shared ? nullptr : block.zero_point,
                            .column_sum = m.centred_sums.data(),
                            .relu = product.relu};
    auto pack = [&](int64_t begin, int64_t some, int64_t, uint8_t* to, int64_t stride) {
      for (int64_t i = 0; i < some; ++i) packer.codes(block.codes + (begin + i) * m.k, m.k, to + i * stride);
    };
    run_gemm(packer, product.weight, n, {.pack = std::ref(pack), .codes = block.codes, .stride = m.k},
             {.reals = out + first * m.columns, .stride = m.columns, .real = &real, .backward = product.backward});
  }
}

void linear_dynamic(const FloatView& x, const PackedLinear& packed, const DynamicLinear& how, float* out) {
  const FloatRows input(x);
  constexpr const char* kWhere = "linear_dynamic: input";
  DynamicParams whole;
  if (!how.per_row) whole = dynamic_params_of(kWhere, input.values, input.rows * input.k, how.reduce_range);
  dynamic_product({.weight = packed,
                   .shared = how.per_row ? nullptr : &whole,
                   .reduce_range = how.reduce_range,
                   .relu = how.relu,
                   .where = kWhere},
                  input.values, input.rows, out);
}

}  // namespace octensor::ops
