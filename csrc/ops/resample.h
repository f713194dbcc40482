// Linear interpolation along spatial axes, the last one first: place i reads the input at a source position
//
//   i * (n - 1) / (m - 1)  with align_corners,   else  max((i + 0.5) * ratio - 0.5, 0)       in float32
//
// between two neighbours: y = x[first] * near + x[second] * far, each operation rounded once. Codes are interpolated as
// q - z and rounded half to even. Bound: the bytes of the passes, one for each axis.
#pragma once
#include <cstdint>
#include <vector>

#include "core/qtensor.h"

namespace octensor::ops {

struct ResampleAxis {
  int64_t size;
  double ratio;  // input places from one output place to the next
};

class LinearResample {
 public:
  // An input [N, C, ...] of this shape, dense in the layout; one axis for each of its spatial ones.
  LinearResample(const Shape& shape, Layout layout, const std::vector<ResampleAxis>& axes, bool align_corners);

  const Shape& shape() const { return shape_; }  // of the result
  int64_t workspace(bool of_codes) const;        // bytes
  void floats(const float* x, uint8_t* workspace, float* out) const;
  void codes(const uint8_t* x, const QParams& qparams, uint8_t* workspace, uint8_t* out) const;

 private:
  struct Pass {
    int64_t outer, inner, from;  // from: places of the input
    std::vector<int64_t> first, second;
    std::vector<float> near, far;
    int64_t elements() const { return outer * inner * static_cast<int64_t>(first.size()); }
  };
  static void run(const Pass& pass, const float* x, float* out);
  // All passes; the result lies in the workspace, or in `out` where that is given.
  const float* passes(const float* x, float* workspace, float* out) const;

  Shape shape_;
  int64_t elements_;  // of the input
  std::vector<Pass> passes_;
};

}  // namespace octensor::ops
