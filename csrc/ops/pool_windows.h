// The windows of a pool along one axis.
#pragma once
#include <string>
#include <vector>

#include "kernels/pool.h"

namespace octensor::ops {

// PyTorch's rule: with ceil_mode the last window must still start inside the input or its left padding.
std::vector<PoolWindow> sliding_windows(const std::string& op, int64_t size, int64_t kernel, int64_t stride,
                                        int64_t padding, int64_t dilation, bool ceil_mode, bool count_padding);

// n windows, of which window i is [floor(i * size / n), ceil((i + 1) * size / n)).
std::vector<PoolWindow> adaptive_windows(const std::string& op, int64_t size, int64_t n);

}  // namespace octensor::ops
