// Pooling over one to three spatial axes: one window walker, three ways to choose windows, two ways to reduce them.
#include <algorithm>
#include <cstring>

#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/into.h"
#include "ops/ops.h"
#include "ops/pool_windows.h"

namespace octensor::ops {

using Windows = std::vector<std::vector<PoolWindow>>;  // per spatial axis, per output index

struct PoolCall {
  Shape shape;  // of the result
  Windows windows;
  Sizes dilation;  // the step between taps
  void (*KernelTable::*kernel)(const PoolRow&);
  PoolRow all;  // what every row has in common
};
using PoolCallPtr = std::shared_ptr<const PoolCall>;

namespace {

// What errors call the op: "max_pool2d" for [N, C, H, W].
std::string checked_name(const char* op, const QTensor& x) {
  check(x.ndim() >= 3 && x.ndim() <= 5, op, ": input: expected shape [N, C, L], [N, C, H, W] or [N, C, D, H, W], got ",
        x.shape_text());
  const std::string name = text(op, x.ndim() - 2, "d");
  check_activation(name.c_str(), "input", x);
  return name;
}

void check_count(const std::string& op, const char* argument, size_t values, const QTensor& x) {
  check(static_cast<int>(values) == x.ndim() - 2, op, ": ", argument, ": expected a value for each of the last ",
        x.ndim() - 2, " axes of input's shape ", x.shape_text(), ", got ", values);
}

void check_sizes(const std::string& op, const char* argument, const Sizes& values, const QTensor& x, int64_t least) {
  check_count(op, argument, values.size(), x);
  for (int64_t v : values)
    check(v >= least && v < (int64_t{1} << 31), op, ": ", argument, ": expected at least ", least, ", got ", v);
}

PoolCallPtr make_call(const QTensor& x, Windows windows, Sizes dilation, void (*KernelTable::*kernel)(const PoolRow&),
                      const PoolRow& all) {
  Shape shape = {x.size(0), x.size(1)};
  for (const auto& w : windows) shape.push_back(static_cast<int64_t>(w.size()));
  return std::make_shared<PoolCall>(PoolCall{std::move(shape), std::move(windows), std::move(dilation), kernel, all});
}

QTensor run(const PoolCall& call, const QTensor& x) {
  QTensor out = QTensor::empty(call.shape, x.qparams_ptr(), Layout::channels_last);
  pool_into(call, x.to(Layout::channels_last), out);
  return out;
}

PoolCallPtr mean_call(const QTensor& x, Windows windows, std::optional<int64_t> divisor_override) {
  const DTypeInfo& t = info(x.dtype());
  const int32_t z = x.qparams().zero_point();
  const Sizes adjacent(windows.size(), 1);
  PoolRow all{};
  all.divisor = static_cast<float>(divisor_override.value_or(0));
  all.lo = static_cast<float>(t.qmin - z);
  all.hi = static_cast<float>(t.qmax - z);
  all.zero_point = z;
  return make_call(x, std::move(windows), adjacent, &KernelTable::mean_pool, all);
}

// Sums of 8-bit differences must stay inside int32.
void check_window_cells(const std::string& op, const Sizes& sizes) {
  int64_t cells = 1;
  for (int64_t n : sizes) {
    check(n == 0 || cells <= INT32_MAX / 255 / n, op, ": kernel_size: expected windows of at most ", INT32_MAX / 255,
          " cells, got ", to_text(sizes));
    cells *= n;
  }
}

}  // namespace

Shape pool_shape(const PoolCall& call) { return call.shape; }

void pool_into(const PoolCall& call, const QTensor& x, QTensor& out) {
  if (out.numel() == 0) return;
  const Windows& windows = call.windows;
  const int axes = static_cast<int>(windows.size()), last = axes + 1;
  // Missing outer axes have one place with one tap.
  static const std::vector<PoolWindow> one = {{0, 1, 1}};
  const auto &planes = axes > 2 ? windows[0] : one, &rows = axes > 1 ? windows[axes - 2] : one;
  const int64_t plane = axes > 2 ? x.stride(2) : 0, row = axes > 1 ? x.stride(last - 1) : 0;
  PoolRow all = call.all;
  all.plane_stride = axes > 2 ? plane * call.dilation[0] : 0;
  all.row_stride = axes > 1 ? row * call.dilation[axes - 2] : 0;
  all.column_stride = x.stride(last);
  all.tap_stride = x.stride(last) * call.dilation[axes - 1];
  all.windows = windows[axes - 1].data();
  all.pixels = static_cast<int64_t>(windows[axes - 1].size());
  all.channels = x.size(1);
  all.is_signed = is_signed8(x.dtype());
  const int64_t od = static_cast<int64_t>(planes.size()), oh = static_cast<int64_t>(rows.size());
  const KernelTable& table = kernel_table();
  parallel_for(x.size(0) * od * oh, [&, to = out.bytes()](int64_t task) {
    const PoolWindow &d = planes[task / oh % od], &h = rows[task % oh];
    PoolRow p = all;
    p.x = x.bytes() + task / oh / od * x.stride(0) + d.first * plane + h.first * row;
    p.planes = d.count;
    p.rows = h.count;
    p.cells = d.divisor * h.divisor;
    p.out = to + task * p.pixels * p.channels;
    (table.*call.kernel)(p);
  });
}

PoolCallPtr max_pool_call(const QTensor& x, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
                          const Sizes& dilation, bool ceil_mode) {
  const std::string op = checked_name("max_pool", x);
  const size_t axes = kernel.size();
  check_sizes(op, "kernel_size", kernel, x, 1);
  check_sizes(op, "stride", stride, x, 1);
  check_sizes(op, "padding", padding, x, 0);
  check_sizes(op, "dilation", dilation, x, 1);
  Windows windows;
  for (size_t i = 0; i < axes; ++i)
    windows.push_back(sliding_windows(op, x.size(static_cast<int>(i) + 2), kernel[i], stride[i], padding[i],
                                      dilation[i], ceil_mode, false));
  PoolRow all{};
  all.lowest = static_cast<uint8_t>(info(x.dtype()).qmin);
  return make_call(x, std::move(windows), dilation, &KernelTable::max_pool, all);
}

QTensor max_pool(const QTensor& x, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
                 const Sizes& dilation, bool ceil_mode) {
  return run(*max_pool_call(x, kernel, stride, padding, dilation, ceil_mode), x);
}

PoolCallPtr avg_pool_call(const QTensor& x, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
                          bool ceil_mode, bool count_include_pad, std::optional<int64_t> divisor_override) {
  const std::string op = checked_name("avg_pool", x);
  const size_t axes = kernel.size();
  check_sizes(op, "kernel_size", kernel, x, 1);
  check_sizes(op, "stride", stride, x, 1);
  check_sizes(op, "padding", padding, x, 0);
  check(divisor_override.value_or(1) != 0, op, ": divisor_override: expected a number other than 0, got 0");
  Windows windows;
  Sizes reach;
  for (size_t i = 0; i < axes; ++i) {
    const int64_t size = x.size(static_cast<int>(i) + 2);
    reach.push_back(std::min(kernel[i], size));
    windows.push_back(sliding_windows(op, size, kernel[i], stride[i], padding[i], 1, ceil_mode, count_include_pad));
  }
  check_window_cells(op, reach);
  return mean_call(x, std::move(windows), divisor_override);
}

QTensor avg_pool(const QTensor& x, const Sizes& kernel, const Sizes& stride, const Sizes& padding, bool ceil_mode,
                 bool count_include_pad, std::optional<int64_t> divisor_override) {
  return run(*avg_pool_call(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override), x);
}

PoolCallPtr adaptive_avg_pool_call(const QTensor& x, const std::vector<std::optional<int64_t>>& output_size) {
  const std::string op = checked_name("adaptive_avg_pool", x);
  const size_t axes = output_size.size();
  check_count(op, "output_size", axes, x);
  check_window_cells(op, {x.shape().begin() + 2, x.shape().end()});
  Windows windows;
  for (size_t i = 0; i < axes; ++i) {
    const int64_t size = x.size(static_cast<int>(i) + 2);
    windows.push_back(adaptive_windows(op, size, output_size[i].value_or(size)));
  }
  return mean_call(x, std::move(windows), std::nullopt);
}

QTensor adaptive_avg_pool(const QTensor& x, const std::vector<std::optional<int64_t>>& output_size) {
  return run(*adaptive_avg_pool_call(x, output_size), x);
}

}  // namespace octensor::ops
