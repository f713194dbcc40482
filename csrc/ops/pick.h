// Values taken from places: along each axis, place j of the result is place sources[j] of the input, or a filling where
// that is -1. Padding, nearest interpolation and indices that are constants are this, axis by axis.
//
// What is adjacent in both is copied in one piece, so the bound is the bytes moved.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "core/qtensor.h"

namespace octensor::ops {

class PickPlan {
 public:
  // One list per axis; nothing: the axis as it is. Both sides may have any strides, the result being dense.
  using Sources = std::optional<std::vector<int64_t>>;
  PickPlan(const std::vector<Sources>& sources, const Shape& shape, const Shape& strides, const Shape& out_strides);

  // Elements of 1, 4 or 8 bytes; the filling is the low bytes of `fill`.
  void run(const uint8_t* x, size_t itemsize, uint64_t fill, uint8_t* out) const;

 private:
  struct Run {  // elements of a row that lie one after the other in both; from < 0: filled
    int64_t to, from, size;
  };
  struct Axis {
    int64_t out_step;
    std::vector<int64_t> from;  // where each place lies in the input; -1: filled
  };
  template <class T>
  void typed(const T* x, T fill, T* out) const;

  std::vector<Axis> outer_;
  std::vector<Run> runs_;
  int64_t rows_ = 1, row_ = 1;
};

}  // namespace octensor::ops
