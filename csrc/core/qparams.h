// QParams: what the integers of a quantized tensor mean.
//
//   real = (q - zero_point) * scale          per tensor
//   real = (q - zero_point[c]) * scale[c]    per channel, c the index along `axis`
//
// A scale is a float32 number, finite, positive and normal; a zero point is an integer inside the
// dtype's range, so that real 0 always has an exact code. Embedding weights are the exception: their
// zero points, per channel, are float32 numbers. Immutable once built: share it freely.
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

  // Per-channel parameters with float zero points, finite; zero_points() is then all 0 and means nothing.
  static QParams with_float_zero_points(std::vector<float> scales, std::vector<float> zero_points, DType dtype,
                                        int axis);

  DType dtype() const { return dtype_; }
  bool per_channel() const { return axis_ >= 0; }
  int axis() const { return axis_; }
  const std::vector<float>& scales() const { return scales_; }
  const std::vector<int32_t>& zero_points() const { return zero_points_; }
  float scale() const { return scales_[0]; }
  int32_t zero_point() const { return zero_points_[0]; }
  bool has_float_zero_points() const { return !float_zero_points_.empty(); }
  const std::vector<float>& float_zero_points() const { return float_zero_points_; }
  // Of views: the same values along another axis, a slice of the channels, one channel (per tensor).
  QParams with_axis(int axis) const;
  QParams sliced(int64_t start, int64_t length, int64_t step) const;
  QParams channel(int64_t index) const;
  bool operator==(const QParams& other) const = default;
  std::string repr() const;

 private:
  std::vector<float> scales_;
  std::vector<int32_t> zero_points_;
  std::vector<float> float_zero_points_;
  DType dtype_;
  int axis_;
};

using QParamsPtr = std::shared_ptr<const QParams>;

}  // namespace octensor
