// Pooling: one window walker, three ways to choose windows, two ways to reduce them.
#include <algorithm>
#include <cstring>

#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

// The taps of one output index along one axis: start, start + step, ... below end; all inside the input.
struct Window {
  int64_t start, end, step;
  int64_t divisor;  // cells that count for a mean, padding included where asked
};

using Windows = std::array<std::vector<Window>, 2>;

void check_at_least(const char* op, const char* argument, Pair value, int64_t least) {
  for (int64_t v : value)
    check(v >= least && v < (int64_t{1} << 31), op, ": ", argument, ": expected at least ", least, ", got ", v);
}

// PyTorch's rule: with ceil_mode the last window must still start inside the input or its left padding.
std::vector<Window> sliding(const char* op, int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                            int64_t dilation, bool ceil_mode, bool count_padding) {
  const int64_t reach = dilation * (kernel - 1) + 1;
  check(2 * padding <= kernel, op, ": padding: expected at most half of the kernel size ", kernel, ", got ", padding);
  const int64_t room = size + 2 * padding - reach;
  check(size >= 1 && room >= 0, op, ": input: expected a padded size of at least ", reach, " (the window), got ", size,
        " + 2 * ", padding);
  int64_t n = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (n - 1) * stride >= size + padding) --n;
  std::vector<Window> windows;
  for (int64_t i = 0; i < n; ++i) {
    int64_t start = i * stride - padding;
    const int64_t end = std::min(start + reach, size + padding);
    const int64_t padded = end - start;
    if (start < 0) start += (-start + dilation - 1) / dilation * dilation;
    windows.push_back({start, std::min(end, size), dilation, count_padding ? padded : std::min(end, size) - start});
  }
  return windows;
}

// reduce(codes of all taps ..., out) per output pixel; channels are adjacent.
template <class Reduce>
QTensor pool(const QTensor& input, const Windows& windows, Reduce reduce) {
  const QTensor x = input.to(Layout::channels_last);
  const int64_t oh = windows[0].size(), ow = windows[1].size(), channels = x.size(1);
  QTensor out = QTensor::empty({x.size(0), channels, oh, ow}, input.qparams_ptr(), Layout::channels_last);
  if (out.numel() == 0) return out;
  parallel_for(x.size(0) * oh, [&, to = out.bytes()](int64_t task) {
    const uint8_t* image = x.bytes() + task / oh * x.stride(0);
    std::vector<const uint8_t*> taps;
    std::vector<int32_t> sums(channels);
    for (int64_t j = 0; j < ow; ++j) {
      const Window &h = windows[0][task % oh], &w = windows[1][j];
      taps.clear();
      for (int64_t a = h.start; a < h.end; a += h.step)
        for (int64_t b = w.start; b < w.end; b += w.step) taps.push_back(image + a * x.stride(2) + b * x.stride(3));
      reduce(taps, h.divisor * w.divisor, sums, to + (task * ow + j) * channels);
    }
  });
  return out;
}

QTensor mean_pool(const QTensor& x, const Windows& windows, std::optional<int64_t> divisor_override) {
  const KernelTable& table = kernel_table();
  const QParams& q = x.qparams();
  const DTypeInfo& t = info(q.dtype());
  const int32_t z = q.zero_point();
  return pool(x, windows, [&](const auto& taps, int64_t divisor, std::vector<int32_t>& sums, uint8_t* out) {
    const int64_t channels = sums.size();
    std::fill(sums.begin(), sums.end(), 0);
    for (const uint8_t* tap : taps) table.sum_codes(tap, is_signed8(q.dtype()), channels, z, sums.data());
    table.mean_codes(sums.data(), channels, static_cast<float>(divisor_override.value_or(divisor)),
                     static_cast<float>(t.qmin - z), static_cast<float>(t.qmax - z), z, out);
  });
}

// Sums of 8-bit differences must stay inside int32.
void check_window_cells(const char* op, int64_t h, int64_t w) {
  check(h == 0 || w <= INT32_MAX / 255 / h, op, ": kernel_size: expected windows of at most ", INT32_MAX / 255,
        " cells, got ", h, " x ", w);
}

}  // namespace

QTensor max_pool2d(const QTensor& x, Pair kernel, Pair stride, Pair padding, Pair dilation, bool ceil_mode) {
  check_image("max_pool2d", x);
  check_activation("max_pool2d", "input", x);
  check_at_least("max_pool2d", "kernel_size", kernel, 1);
  check_at_least("max_pool2d", "stride", stride, 1);
  check_at_least("max_pool2d", "padding", padding, 0);
  check_at_least("max_pool2d", "dilation", dilation, 1);
  Windows windows;
  for (int i = 0; i < 2; ++i)
    windows[i] = sliding("max_pool2d", x.size(2 + i), kernel[i], stride[i], padding[i], dilation[i], ceil_mode, false);
  const KernelTable& table = kernel_table();
  return pool(x, windows, [&](const auto& taps, int64_t, const std::vector<int32_t>& sums, uint8_t* out) {
    const int64_t channels = sums.size();
    // A dilated window can miss the input altogether: then it is -inf, which clamps to the lowest code.
    std::memset(out, static_cast<uint8_t>(info(x.dtype()).qmin), channels);
    for (size_t i = 0; i < taps.size(); ++i) table.max_codes(taps[i], is_signed8(x.dtype()), channels, out);
  });
}

QTensor avg_pool2d(const QTensor& x, Pair kernel, Pair stride, Pair padding, bool ceil_mode, bool count_include_pad,
                   std::optional<int64_t> divisor_override) {
  check_image("avg_pool2d", x);
  check_activation("avg_pool2d", "input", x);
  check_at_least("avg_pool2d", "kernel_size", kernel, 1);
  check_at_least("avg_pool2d", "stride", stride, 1);
  check_at_least("avg_pool2d", "padding", padding, 0);
  check(divisor_override.value_or(1) != 0, "avg_pool2d: divisor_override: expected a number other than 0, got 0");
  check_window_cells("avg_pool2d", std::min(kernel[0], x.size(2)), std::min(kernel[1], x.size(3)));
  Windows windows;
  for (int i = 0; i < 2; ++i)
    windows[i] =
        sliding("avg_pool2d", x.size(2 + i), kernel[i], stride[i], padding[i], 1, ceil_mode, count_include_pad);
  return mean_pool(x, windows, divisor_override);
}

QTensor adaptive_avg_pool2d(const QTensor& x, std::array<std::optional<int64_t>, 2> output_size) {
  check_image("adaptive_avg_pool2d", x);
  check_activation("adaptive_avg_pool2d", "input", x);
  check_window_cells("adaptive_avg_pool2d", x.size(2), x.size(3));
  Windows windows;
  for (int i = 0; i < 2; ++i) {
    const int64_t size = x.size(2 + i), n = output_size[i].value_or(size);
    check(size >= 1, "adaptive_avg_pool2d: input: expected at least one cell per axis, got ", x.shape_text());
    check(n >= 1 && n <= (1 << 24), "adaptive_avg_pool2d: output_size: expected 1 to ", 1 << 24, ", got ", n);
    for (int64_t j = 0; j < n; ++j) {
      const int64_t start = j * size / n, end = ((j + 1) * size + n - 1) / n;
      windows[i].push_back({start, end, 1, end - start});
    }
  }
  return mean_pool(x, windows, std::nullopt);
}

}  // namespace octensor::ops
