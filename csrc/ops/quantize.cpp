// quantize, dequantize, requantize, lookup: between reals and codes, element by element.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/threads.h"
#include "core/transpose.h"
#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/chunks.h"
#include "ops/into.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

// How channels lie in dense memory: runs of elements that share one channel's parameters.
struct Runs {
  int64_t n, channels, run;
};

Runs runs_of(int64_t n) { return {n, 1, n}; }

Runs runs_of(const Shape& shape, const QParams& q) {
  Runs runs = runs_of(count(shape));
  if (q.per_channel()) {
    runs.channels = shape[q.axis()];
    runs.run = 1;
    for (size_t i = q.axis() + 1; i < shape.size(); ++i) runs.run *= shape[i];
  }
  return runs;
}

// body(first, length, channel) over runs, in memory order.
template <class F>
void for_runs(const Runs& runs, F body) {
  const auto [n, channels, run] = runs;
  if (n == 0) return;
  const int64_t chunk = std::min(run, kChunk), chunks = (run + chunk - 1) / chunk;
  const int64_t total = n / run * chunks, batch = std::max<int64_t>(1, kChunk / chunk);
  parallel_for((total + batch - 1) / batch, [&, channels = channels, run = run](int64_t task) {
    for (int64_t i = task * batch; i < std::min(total, (task + 1) * batch); ++i) {
      const int64_t r = i / chunks, at = i % chunks * chunk;
      body(r * run + at, std::min(chunk, run - at), r % channels);
    }
  });
}

// qint32: float32 cannot hold the bounds, so clamp in double, which can.
void quantize32(const float* x, int64_t n, float scale, int32_t zero_point, int32_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float v = x[i] / scale;
    const double q = std::isnan(v) ? 0.0 : std::nearbyint(double(v));
    out[i] = static_cast<int32_t>(std::clamp(q + zero_point, double(INT32_MIN), double(INT32_MAX)));
  }
}

void dequantize32(const int32_t* q, int64_t n, float scale, int32_t zero_point, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(int64_t{q[i]} - zero_point) * scale;
}

// Float zero points: clamp(round_half_even(x / scale + zero_point)), and back.
void quantize_float_zero(const float* x, int64_t n, float scale, float zero_point, const DTypeInfo& t, uint8_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float v = x[i] / scale + zero_point;
    const float bounded = std::clamp(std::isnan(v) ? 0.0f : v, static_cast<float>(t.qmin), static_cast<float>(t.qmax));
    out[i] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(bounded)));
  }
}

void dequantize_float_zero(const uint8_t* q, bool is_signed, int64_t n, float scale, float zero_point, float* out) {
  for (int64_t i = 0; i < n; ++i)
    out[i] = (static_cast<float>(is_signed ? static_cast<int8_t>(q[i]) : int32_t{q[i]}) - zero_point) * scale;
}

void quantize_dense(const float* x, const Runs& runs, const QParams& q, uint8_t* out) {
  const DTypeInfo& t = info(q.dtype());
  const KernelTable& table = kernel_table();
  for_runs(runs, [&](int64_t at, int64_t n, int64_t c) {
    const int32_t z = q.zero_points()[c];
    if (q.has_float_zero_points())
      quantize_float_zero(x + at, n, q.scales()[c], q.float_zero_points()[c], t, out + at);
    else if (is_byte(q.dtype()))
      table.quantize(x + at, n, q.scales()[c], z, static_cast<float>(t.qmin - z), static_cast<float>(t.qmax - z),
                     out + at);
    else
      quantize32(x + at, n, q.scales()[c], z, reinterpret_cast<int32_t*>(out) + at);
  });
}

void dequantize_dense(const uint8_t* codes, const Runs& runs, const QParams& q, float* out) {
  const KernelTable& table = kernel_table();
  for_runs(runs, [&](int64_t at, int64_t n, int64_t c) {
    if (q.has_float_zero_points())
      dequantize_float_zero(codes + at, is_signed8(q.dtype()), n, q.scales()[c], q.float_zero_points()[c], out + at);
    else if (is_byte(q.dtype()))
      table.dequantize(codes + at, is_signed8(q.dtype()), n, q.scales()[c], q.zero_points()[c], out + at);
    else
      dequantize32(reinterpret_cast<const int32_t*>(codes) + at, n, q.scales()[c], q.zero_points()[c], out + at);
  });
}

// Channels-first reals to channels-last codes, per tensor, in one pass: runs of pixels are quantized into a buffer in
// the L1 cache, channel by channel, and transposed from there.
void quantize_transposed(const float* x, const std::vector<CopyAxis>& plan, const QParams& q, uint8_t* out) {
  constexpr int64_t kBuffer = 16 << 10, kChannels = 64;
  const DTypeInfo& t = info(q.dtype());
  const KernelTable& table = kernel_table();
  const CopyAxis &pixels = plan[plan.size() - 2], &channels = plan.back();
  const int64_t width = std::min(channels.size, kChannels), run = std::min(kBuffer / width / 64 * 64, pixels.size);
  const int64_t runs = (pixels.size + run - 1) / run;
  int64_t planes = 1;
  for (size_t i = 0; i + 2 < plan.size(); ++i) planes *= plan[i].size;
  parallel_for(planes * runs, [&](int64_t task) {
    alignas(64) uint8_t codes[kBuffer];
    const int64_t at = task % runs * run, n = std::min(run, pixels.size - at);
    const float* from = x + at;
    uint8_t* to = out + at * pixels.dst;
    int64_t plane = task / runs;
    for (size_t i = plan.size() - 2; i-- > 0; plane /= plan[i].size) {
      from += plane % plan[i].size * plan[i].src;
      to += plane % plan[i].size * plan[i].dst;
    }
    for (int64_t c = 0; c < channels.size; c += width) {
      const int64_t some = std::min(width, channels.size - c);
      for (int64_t i = 0; i < some; ++i)
        table.quantize(from + (c + i) * channels.src, n, q.scale(), q.zero_point(),
                       static_cast<float>(t.qmin - q.zero_point()), static_cast<float>(t.qmax - q.zero_point()),
                       codes + i * run);
      transpose(codes, run, to + c, pixels.dst, some, n);
    }
  });
}

}  // namespace

namespace {

bool same_order(const Shape& shape, const Shape& a, const Shape& b) {
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1 && a[i] != b[i]) return false;
  return true;
}

}  // namespace

bool quantizes_in_one_pass(const FloatView& x, const QParams& q, const Shape& out_strides) {
  if (count(x.shape) == 0) return true;
  if (q.per_channel())
    return same_order(x.shape, x.strides, dense_strides(x.shape, Layout::contiguous)) &&
           same_order(x.shape, x.strides, out_strides);
  return same_order(x.shape, x.strides, out_strides) ||
         (is_byte(q.dtype()) && is_transposition(copy_plan(x.strides, out_strides, x.shape)));
}

void quantize_into(const FloatView& x, const std::vector<CopyAxis>& plan, QTensor& out) {
  const QParams& q = out.qparams();
  if (q.per_channel())
    quantize_dense(x.data, runs_of(x.shape, q), q, out.bytes());
  else if (!is_transposition(plan))
    quantize_dense(x.data, runs_of(out.numel()), q, out.bytes());
  else if (out.numel() > 0)
    quantize_transposed(x.data, plan, q, out.bytes());
}

QTensor quantize(const FloatView& x, QParamsPtr qparams, Layout layout) {
  const Shape strides = dense_strides(x.shape, layout);
  if (quantizes_in_one_pass(x, *qparams, strides)) {
    QTensor out = QTensor::empty(x.shape, std::move(qparams), layout);
    quantize_into(x, copy_plan(x.strides, out.strides(), x.shape), out);
    return out;
  }
  QTensor out = QTensor::empty(x.shape, std::move(qparams));
  const StoragePtr dense = allocate(out.numel() * sizeof(float));
  copy_strided(reinterpret_cast<const uint8_t*>(x.data), x.strides, dense.get(), out.strides(), x.shape, sizeof(float));
  quantize_into({reinterpret_cast<const float*>(dense.get()), x.shape, out.strides()}, {}, out);
  return out.to(layout);
}

void dequantize(const QTensor& x, float* out, const Shape& out_strides) {
  if (!x.qparams().per_channel() && x.strides() == out_strides)
    return dequantize_dense(x.bytes(), runs_of(x.numel()), x.qparams(), out);
  const QTensor dense = x.to(Layout::contiguous);
  if (out_strides == dense.strides())
    return dequantize_dense(dense.bytes(), runs_of(x.shape(), x.qparams()), x.qparams(), out);
  const StoragePtr values = allocate(x.numel() * sizeof(float));
  dequantize_dense(dense.bytes(), runs_of(x.shape(), x.qparams()), x.qparams(), reinterpret_cast<float*>(values.get()));
  copy_strided(values.get(), dense.strides(), reinterpret_cast<uint8_t*>(out), out_strides, x.shape(), sizeof(float));
}

void lookup_into(const QTensor& x, const uint8_t* table, QTensor& out) {
  const auto kernel = kernel_table().lookup;
  for_chunks(out.numel(), out.bytes(), x.bytes() == out.bytes(),
             [&](int64_t at, int64_t size, uint8_t* to) { kernel(table, x.bytes() + at, size, to); });
}

QTensor lookup(const QTensor& x, const uint8_t* table, QParamsPtr qparams) {
  check_activation("lookup", "input", x);
  check_output("lookup", *qparams);
  const Layout layout = layout_of(x);
  QTensor out = QTensor::empty(x.shape(), std::move(qparams), layout);
  lookup_into(x.to(layout), table, out);
  return out;
}

// 256 possible inputs: the general formula once per code.
CodeTable requantize_table(const QParams& from, const QParams& to) {
  CodeTable codes, table;
  std::array<float, 256> values;
  for (int i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(i);
  dequantize_dense(codes.data(), runs_of(256), from, values.data());
  quantize_dense(values.data(), runs_of(256), to, table.data());
  return table;
}

void map_strided(const std::vector<CopyAxis>& plan, const uint8_t* table, const uint8_t* from, uint8_t* out) {
  const CopyAxis last = plan.empty() ? CopyAxis{1, 1, 1} : plan.back();
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < plan.size(); ++i) rows *= plan[i].size;
  const auto kernel = kernel_table().lookup;
  const int64_t some = std::max<int64_t>(1, kChunk / std::max<int64_t>(last.size, 1));
  parallel_for((rows + some - 1) / some, [&](int64_t task) {
    for (int64_t row = task * some; row < std::min(rows, (task + 1) * some); ++row) {
      const uint8_t* x = from;
      uint8_t* y = out;
      int64_t index = row;
      for (size_t i = plan.size(); i-- > 1; index /= plan[i - 1].size) {
        x += index % plan[i - 1].size * plan[i - 1].src;
        y += index % plan[i - 1].size * plan[i - 1].dst;
      }
      if (last.src == 1 && last.dst == 1)
        kernel(table, x, last.size, y);
      else
        for (int64_t i = 0; i < last.size; ++i) y[i * last.dst] = table[x[i * last.src]];
    }
  });
}

void requantize_into(const QTensor& x, QTensor& out) {
  if (out.numel() == 0) return;
  if (x.qparams() == out.qparams())
    return copy_strided(x.bytes(), x.strides(), out.bytes(), out.strides(), x.shape(), 1);
  const CodeTable table = requantize_table(x.qparams(), out.qparams());
  map_strided(copy_plan(x.strides(), out.strides(), x.shape()), table.data(), x.bytes(), out.bytes());
}

QTensor requantize(const QTensor& x, QParamsPtr qparams) {
  if (x.qparams() == *qparams) return x;
  if (is_8bit(x.dtype()) && is_8bit(qparams->dtype()) && !x.qparams().per_channel() && !qparams->per_channel())
    return lookup(x, requantize_table(x.qparams(), *qparams).data(), qparams);
  const StoragePtr values = allocate(x.numel() * sizeof(float));
  const Shape strides = dense_strides(x.shape(), Layout::contiguous);
  dequantize(x, reinterpret_cast<float*>(values.get()), strides);
  return quantize({reinterpret_cast<const float*>(values.get()), x.shape(), strides}, std::move(qparams), layout_of(x));
}

}  // namespace octensor::ops
