// Float pools over one to three spatial axes with one order of operations (docs/numerics.md), channels-last.
#pragma once
#include <array>
#include <optional>
#include <vector>

#include "kernels/float_taps.h"
#include "kernels/pool.h"

namespace octensor::ops {

// x [batch][size][channels], dense; `windows` of every axis in tap distances of `dilation` (fewer axes have leading
// ones of one window). Sums are divided by the window's divisor, or by `divisor`. out [batch][windows][channels],
// dense.
struct FloatPool {
  FloatReduce reduce;  // sums or largest
  std::array<std::vector<PoolWindow>, 3> windows;
  std::array<int64_t, 3> dilation{1, 1, 1};
  std::optional<float> divisor;
};
void float_pool_into(const float* x, int64_t batch, const std::array<int64_t, 3>& size, int64_t channels,
                     const FloatPool& pool, float* out);

}  // namespace octensor::ops
