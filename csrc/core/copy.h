// Copies between strided views.
//
// A plan has the axes in the order of the destination's strides, so that writes are sequential, without axes of
// size 1, and with axes that are adjacent in both views made one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace octensor {

struct CopyAxis {
  int64_t size, src, dst;  // strides in elements
};

std::vector<CopyAxis> copy_plan(const std::vector<int64_t>& src_strides, const std::vector<int64_t>& dst_strides,
                                const std::vector<int64_t>& shape);

// The innermost plane is a transposition: the last axis dense in dst, the one before it dense in src.
inline bool is_transposition(const std::vector<CopyAxis>& plan) {
  return plan.size() >= 2 && plan.back().dst == 1 && plan.back().src != 1 && plan[plan.size() - 2].src == 1;
}

// Element sizes 1, 4 or 8; large copies are shared among the threads. `plan` is copy_plan's.
void copy_planned(const uint8_t* src, uint8_t* dst, const std::vector<CopyAxis>& plan, size_t itemsize);
void copy_strided(const uint8_t* src, const std::vector<int64_t>& src_strides, uint8_t* dst,
                  const std::vector<int64_t>& dst_strides, const std::vector<int64_t>& shape, size_t itemsize);

}  // namespace octensor
