#include "ops/resample.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

constexpr int64_t kMostPlaces = int64_t{1} << 24;  // float32 tells no more apart

// The codes as q - z, and back.
template <class T>
void centre(const T* x, int32_t zero, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(static_cast<int32_t>(x[i]) - zero);
}

template <class T>
void round_codes(const float* x, int32_t zero, double least, double most, int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<T>(std::clamp(static_cast<double>(std::nearbyint(x[i])) + zero, least, most));
}

}  // namespace

LinearResample::LinearResample(const Shape& shape, Layout layout, const std::vector<ResampleAxis>& axes,
                               bool align_corners)
    : shape_(shape), elements_(count(shape)) {
  check(shape.size() == axes.size() + 2 && !axes.empty(), "interpolate: input: expected ", axes.size(),
        " spatial axes, got ", to_text(shape));
  Shape result = shape;
  for (size_t a = 2; a < shape.size(); ++a) {
    result[a] = axes[a - 2].size;
    check(result[a] <= kMostPlaces, "interpolate: size: expected at most ", kMostPlaces, " places along an axis, got ",
          result[a]);
  }
  count(result);  // refuses what no memory could hold, before tables are made of it
  for (size_t a = shape.size() - 1; a >= 2; --a) {
    const ResampleAxis& axis = axes[a - 2];
    const int64_t n = shape[a], m = axis.size;
    check(n > 0 && m > 0, "interpolate: input: expected at least one place on each axis, got ", to_text(shape));
    Pass pass{.outer = 0,
              .inner = dense_strides(shape_, layout)[a],
              .from = n,
              .first = {},
              .second = {},
              .near = {},
              .far = {}};
    const int64_t all = count(shape_);
    pass.outer = pass.inner ? all / (pass.inner * n) : 0;
    const auto step = static_cast<float>(m == 1 ? 0.0 : static_cast<double>(n - 1) / static_cast<double>(m - 1));
    const auto ratio = static_cast<float>(axis.ratio);
    for (int64_t i = 0; i < m; ++i) {
      const auto place = static_cast<float>(i);
      const float source = align_corners ? place * step : std::max((place + 0.5f) * ratio - 0.5f, 0.0f);
      const int64_t first = source < static_cast<float>(n - 1) ? static_cast<int64_t>(source) : n - 1;  // NaN: the last
      const float far = source - static_cast<float>(first);
      pass.first.push_back(first * pass.inner);
      pass.second.push_back(std::min(first + 1, n - 1) * pass.inner);
      pass.near.push_back(1.0f - far);
      pass.far.push_back(far);
    }
    shape_[a] = m;
    passes_.push_back(std::move(pass));
  }
}

int64_t LinearResample::workspace(bool of_codes) const {
  int64_t floats = of_codes ? elements_ + passes_.back().elements() : 0;
  for (size_t i = 0; i + 1 < passes_.size(); ++i) floats += passes_[i].elements();
  return floats * static_cast<int64_t>(sizeof(float));
}

void LinearResample::run(const Pass& pass, const float* x, float* out) {
  const auto m = static_cast<int64_t>(pass.first.size());
  const int64_t some = (16 << 10) / std::max<int64_t>(1, m * pass.inner);
  run_rows(pass.outer, some, threads_for(pass.elements() * 4), [&](int64_t o) {
    const float* const from = x + o * pass.from * pass.inner;
    float* const to = out + o * m * pass.inner;
    for (int64_t j = 0; j < m; ++j) {
      const float *a = from + pass.first[j], *b = from + pass.second[j];
      const float near = pass.near[j], far = pass.far[j];
      float* const y = to + j * pass.inner;
      for (int64_t i = 0; i < pass.inner; ++i) y[i] = a[i] * near + b[i] * far;
    }
  });
}

const float* LinearResample::passes(const float* x, float* workspace, float* out) const {
  for (size_t i = 0; i < passes_.size(); ++i) {
    const bool last = i + 1 == passes_.size();
    float* const to = last && out ? out : workspace;
    run(passes_[i], x, to);
    workspace += last ? 0 : passes_[i].elements();
    x = to;
  }
  return x;
}

void LinearResample::floats(const float* x, uint8_t* workspace, float* out) const {
  if (count(shape_) > 0) passes(x, reinterpret_cast<float*>(workspace), out);
}

void LinearResample::codes(const uint8_t* x, const QParams& qparams, uint8_t* workspace, uint8_t* out) const {
  const int64_t n = count(shape_);
  if (n == 0) return;
  auto* const real = reinterpret_cast<float*>(workspace);
  const int32_t zero = qparams.zero_points()[0];
  const bool is_signed = is_signed8(qparams.dtype());
  is_signed ? centre(reinterpret_cast<const int8_t*>(x), zero, elements_, real) : centre(x, zero, elements_, real);
  const float* const y = passes(real, real + elements_, nullptr);
  if (is_signed)
    round_codes(y, zero, -128, 127, n, reinterpret_cast<int8_t*>(out));
  else
    round_codes(y, zero, 0, 255, n, out);
}

}  // namespace octensor::ops
