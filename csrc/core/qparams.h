// QParams: what the integers of a quantized tensor mean.
//
//   real = (q - zero_point) * scale          per tensor
//   real = (q - zero_point[c]) * scale[c]    per channel, c the index along `axis`
//
// A scale is a float32 number, finite, positive and normal; a zero point is an integer inside the
// dtype's range, so that real 0 always has an exact code. Immutable once built: share it freely.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace octensor {

class QParams {
 public:
  // Throws ValueError unless every rule above holds; `axis` < 0 means per tensor.
  QParams(std::vector<float> scales, std::vector<int32_t> zero_points, DType dtype, int axis = -1);

  DType dtype() const { return dtype_; }
  bool per_channel() const { return axis_ >= 0; }
  int axis() const { return axis_; }
  const std::vector<float>& scales() const { return scales_; }
  const std::vector<int32_t>& zero_points() const { return zero_points_; }
  float scale() const { return scales_[0]; }
  int32_t zero_point() const { return zero_points_[0]; }
  // The same values along another axis of a view.
  QParams with_axis(int axis) const { return QParams(scales_, zero_points_, dtype_, axis); }
  bool operator==(const QParams& other) const = default;
  std::string repr() const;

 private:
  std::vector<float> scales_;
  std::vector<int32_t> zero_points_;
  DType dtype_;
  int axis_;
};

using QParamsPtr = std::shared_ptr<const QParams>;

}  // namespace octensor
