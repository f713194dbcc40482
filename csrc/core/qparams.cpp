#include "core/qparams.h"

#include <algorithm>
#include <cfloat>
#include <charconv>
#include <cmath>

#include "core/check.h"

namespace octensor {
namespace {

// The shortest decimal that reads back as the same float32.
std::string shortest(float v) {
  char buffer[32];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, v).ptr;
  return {buffer, end};
}

template <class T, class F>
std::string list(const std::vector<T>& v, F item) {
  std::string s = "[";
  for (size_t i = 0; i < v.size(); ++i) {
    if (i == 3 && v.size() > 6) {
      s += "..., ";
      i = v.size() - 3;
    }
    s += item(v[i]) + (i + 1 < v.size() ? ", " : "");
  }
  return s + "]";
}

}  // namespace

QParams::QParams(std::vector<float> scales, std::vector<int32_t> zero_points, DType dtype, int axis)
    : scales_(std::move(scales)), zero_points_(std::move(zero_points)), dtype_(dtype), axis_(axis) {
  check(scales_.size() == zero_points_.size(), "QParams: zero_point: expected one per scale (", scales_.size(),
        "), got ", zero_points_.size());
  check(per_channel() || scales_.size() == 1,
        "QParams: scale: expected one number per tensor (pass axis= for "
        "per-channel parameters), got ",
        scales_.size());
  for (float s : scales_)
    check(std::isfinite(s) && s >= FLT_MIN, "QParams: scale: expected a finite, positive, normal float32 number, got ",
          s);
  const DTypeInfo& t = info(dtype_);
  for (int32_t z : zero_points_)
    check(z >= t.qmin && z <= t.qmax, "QParams: zero_point: expected an integer in [", t.qmin, ", ", t.qmax, "] for ",
          t.name, ", got ", z);
}

QParams QParams::with_float_zero_points(std::vector<float> scales, std::vector<float> zero_points, DType dtype,
                                        int axis) {
  check(axis >= 0, "QParams: axis: expected a channel axis for float zero points");
  check(scales.size() == zero_points.size(), "QParams: zero_point: expected one per scale (", scales.size(), "), got ",
        zero_points.size());
  for (float z : zero_points) check(std::isfinite(z), "QParams: zero_point: expected finite numbers, got ", z);
  std::vector<int32_t> none(scales.size(), static_cast<int32_t>(std::max<int64_t>(info(dtype).qmin, 0)));
  QParams q(std::move(scales), std::move(none), dtype, axis);
  q.float_zero_points_ = std::move(zero_points);
  return q;
}

QParams QParams::with_axis(int axis) const {
  QParams q(*this);
  q.axis_ = axis;
  return q;
}

QParams QParams::sliced(int64_t start, int64_t length, int64_t step) const {
  QParams q(*this);
  auto cut = [&](auto& values) {
    if (values.empty()) return;
    auto old = std::move(values);
    values.clear();
    for (int64_t i = 0; i < length; ++i) values.push_back(old[start + i * step]);
  };
  cut(q.scales_);
  cut(q.zero_points_);
  cut(q.float_zero_points_);
  return q;
}

QParams QParams::channel(int64_t index) const {
  check(!has_float_zero_points(),
        "QTensor: index: expected a slice along the channel axis of a tensor with float zero "
        "points (one channel alone has no scheme), got an integer; dequantize() first");
  return QParams({scales_[index]}, {zero_points_[index]}, dtype_);
}

std::string QParams::repr() const {
  auto integer = [](int32_t z) { return std::to_string(z); };
  std::string s = "QParams(scale=", dtype = std::string(", dtype=octensor.") + info(dtype_).name;
  if (!per_channel()) return s + shortest(scale()) + ", zero_point=" + integer(zero_point()) + dtype + ")";
  const std::string zeros = has_float_zero_points() ? list(float_zero_points_, shortest) : list(zero_points_, integer);
  return s + list(scales_, shortest) + ", zero_point=" + zeros + dtype + ", axis=" + std::to_string(axis_) +
         (has_float_zero_points() ? ", float_zero_point=True)" : ")");
}

}  // namespace octensor
