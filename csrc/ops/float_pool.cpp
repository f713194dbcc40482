#include "ops/float_pool.h"

#include "core/scratch.h"
#include "isa/dispatch.h"
#include "kernels/float_table.h"
#include "ops/tasks.h"

namespace octensor::ops {

void float_pool_into(const float* x, int64_t batch, const std::array<int64_t, 3>& size, int64_t channels,
                     const FloatPool& pool, float* out) {
  struct Taps;
  const auto& [planes, rows, pixels] = pool.windows;
  const int64_t od = static_cast<int64_t>(planes.size()), oh = static_cast<int64_t>(rows.size());
  const int64_t ow = static_cast<int64_t>(pixels.size()), image = size[0] * size[1] * size[2];
  if (batch == 0 || channels == 0) return;
  const KernelTable& table = kernel_table();
  run_tasks(batch * od * oh, threads_for(batch * image * channels * 2), [&](int64_t line) {
    const PoolWindow &d = planes[line / oh % od], &h = rows[line % oh];
    const float* from = x + line / oh / od * image * channels;
    for (int64_t o = 0; o < ow; ++o) {
      const PoolWindow& w = pixels[o];
      const int64_t count = d.count * h.count * w.count;
      const float** const taps = scratch<Taps, const float*>(count);
      const float** tap = taps;
      for (int64_t i = 0; i < d.count; ++i)
        for (int64_t j = 0; j < h.count; ++j) {
          const int64_t plane = d.first + i * pool.dilation[0], row = h.first + j * pool.dilation[1];
          const float* at = from + ((plane * size[1] + row) * size[2] + w.first) * channels;
          for (int64_t k = 0; k < w.count; ++k) *tap++ = at + k * pool.dilation[2] * channels;
        }
      table.floats->taps({.taps = taps,
                          .count = count,
                          .pixels = 1,
                          .advance = 0,
                          .channels = channels,
                          .reduce = pool.reduce,
                          .w = nullptr,
                          .bias = nullptr,
                          .relu = false,
                          .divisor = pool.divisor.value_or(static_cast<float>(d.divisor * h.divisor * w.divisor)),
                          .out = out + (line * ow + o) * channels});
    }
  });
}

}  // namespace octensor::ops
