#include "ops/code_norm.h"

#include <algorithm>
#include <cmath>

#include "ops/tasks.h"

namespace octensor::ops {
namespace {

__extension__ using Wide = __int128;  // n T passes int64 beyond 8 million codes in a row

template <class T>
void normalise(const T* x, int64_t row, int64_t n, const CodeNorm& norm, float* y) {
  int64_t sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t q = x[i];
    sum += q;
    squares += q * q;
  }
  const auto count = static_cast<double>(n);
  const double spread =
      static_cast<double>(static_cast<Wide>(n) * squares - static_cast<Wide>(sum) * sum) / (count * count);
  const auto inverse = static_cast<float>(norm.scale / std::sqrt(spread * (norm.scale * norm.scale) + norm.eps));
  const auto mean = static_cast<float>(static_cast<double>(sum) / count);
  for (int64_t i = 0; i < n; ++i) y[i] = (static_cast<float>(x[i]) - mean) * inverse;
  const int64_t first = row % norm.groups * (n / norm.run);
  for (int64_t at = 0; at < n / norm.run; ++at) {
    float* const part = y + at * norm.run;
    if (norm.weight)
      for (int64_t i = 0; i < norm.run; ++i) part[i] = part[i] * norm.weight[first + at];
    if (norm.bias)
      for (int64_t i = 0; i < norm.run; ++i) part[i] = part[i] + norm.bias[first + at];
  }
}

}  // namespace

void code_norm_into(const uint8_t* x, bool is_signed, int64_t rows, int64_t n, const CodeNorm& norm, float* out) {
  run_rows(rows, (1 << 13) / std::max<int64_t>(n, 1), threads_for(rows * n * 8), [&](int64_t r) {
    if (is_signed)
      normalise(reinterpret_cast<const int8_t*>(x) + r * n, r, n, norm, out + r * n);
    else
      normalise(x + r * n, r, n, norm, out + r * n);
  });
}

}  // namespace octensor::ops
