#include "ops/channel_tables.h"

#include <algorithm>

#include "ops/tasks.h"

namespace octensor::ops {

void lookup_channels_into(const uint8_t* x, int64_t rows, int64_t channels, int64_t inner, const uint8_t* tables,
                          uint8_t* out) {
  const int64_t row = channels * inner, some = std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(row, 1));
  run_tasks(ceil_div(rows, some), threads_for(rows * row), [&](int64_t task) {
    // Plain locals: bytes that are written could be the captured pointers.
    const uint8_t *from = x + task * some * row, *const end = x + std::min(rows, (task + 1) * some) * row;
    const uint8_t* const of = tables;
    uint8_t* to = out + task * some * row;
    const int64_t n = channels, each = inner;
    for (; from != end; from += row, to += row)
      if (each == 1)
        for (int64_t c = 0; c < n; ++c) to[c] = of[c * 256 + from[c]];
      else
        for (int64_t c = 0; c < n; ++c)
          for (int64_t i = 0; i < each; ++i) to[c * each + i] = of[c * 256 + from[c * each + i]];
  });
}

}  // namespace octensor::ops
