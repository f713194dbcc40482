#include "ops/pool_windows.h"

#include <algorithm>

#include "core/check.h"

namespace octensor::ops {

std::vector<PoolWindow> sliding_windows(const std::string& op, int64_t size, int64_t kernel, int64_t stride,
                                        int64_t padding, int64_t dilation, bool ceil_mode, bool count_padding) {
  for (const int64_t n : {kernel, stride, dilation})
    check(n >= 1 && n < int64_t{1} << 31, op, ": expected kernel size, stride and dilation of at least 1, got ", n);
  check(padding >= 0, op, ": padding: expected at least 0, got ", padding);
  const int64_t reach = dilation * (kernel - 1) + 1;
  check(padding <= kernel / 2, op, ": padding: expected at most half of the kernel size ", kernel, ", got ", padding);
  const int64_t room = size + 2 * padding - reach;
  check(size >= 1 && room >= 0, op, ": input: expected a padded size of at least ", reach, " (the window), got ", size,
        " + 2 * ", padding);
  int64_t n = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (n - 1) * stride >= size + padding) --n;
  std::vector<PoolWindow> windows;
  for (int64_t i = 0; i < n; ++i) {
    int64_t start = i * stride - padding;
    int64_t end = std::min(start + reach, size + padding);
    const int64_t padded = end - start;
    if (start < 0) start += (-start + dilation - 1) / dilation * dilation;
    end = std::min(end, size);
    // A dilated window can miss the input altogether.
    const int64_t taps = end > start ? (end - start + dilation - 1) / dilation : 0;
    windows.push_back({taps ? start : 0, taps, count_padding ? padded : end - start});
  }
  return windows;
}

std::vector<PoolWindow> adaptive_windows(const std::string& op, int64_t size, int64_t n) {
  check(size >= 1, op, ": input: expected at least one cell per axis, got ", size);
  check(n >= 1 && n <= (1 << 24), op, ": output_size: expected 1 to ", 1 << 24, ", got ", n);
  check(size <= INT64_MAX >> 25, op, ": input: expected at most ", INT64_MAX >> 25, " cells per axis, got ", size);
  std::vector<PoolWindow> windows;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t start = i * size / n, end = ((i + 1) * size + n - 1) / n;
    windows.push_back({start, end - start, end - start});
  }
  return windows;
}

}  // namespace octensor::ops
