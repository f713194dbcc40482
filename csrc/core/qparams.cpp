#include "core/qparams.h"

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

std::string QParams::repr() const {
  auto integer = [](int32_t z) { return std::to_string(z); };
  std::string s = "QParams(scale=", dtype = std::string(", dtype=octensor.") + info(dtype_).name;
  if (!per_channel()) return s + shortest(scale()) + ", zero_point=" + integer(zero_point()) + dtype + ")";
  return s + list(scales_, shortest) + ", zero_point=" + list(zero_points_, integer) + dtype +
         ", axis=" + std::to_string(axis_) + ")";
}

}  // namespace octensor
