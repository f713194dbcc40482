#include "ops/channel_tables.h"

#include <algorithm>

#include "ops/tasks.h"

namespace octensor::ops {

void lookup_channels_into(const uint8_t* x, int64_t rows, int64_t channels, int64_t inner, const uint8_t* tables,
                          uint8_t* out) {
  const int64_t row = channels * inner, some = std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(row, 1));
  run_tasks(ceil_div(rows, some), threads_for(rows * row), [&](int64_t task) {
    for (int64_t r = task * some; r < std::min(rows, (task + 1) * some); ++r)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < inner; ++i) {
          const int64_t at = r * row + c * inner + i;
          out[at] = tables[c * 256 + x[at]];
        }
  });
}

}  // namespace octensor::ops
