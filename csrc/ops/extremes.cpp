#include "ops/extremes.h"

#include <algorithm>

#include "ops/order.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

template <class T, bool kLargest>
T extreme(const T* x, int64_t n) {
  constexpr int64_t kLanes = 8;  // the order does not matter, so eight go side by side
  if (n < 2 * kLanes) {
    T best = x[0];
    for (int64_t i = 1; i < n; ++i) best = extreme_of<kLargest>(best, x[i]);
    return best;
  }
  T best[kLanes];
  std::copy_n(x, kLanes, best);
  int64_t i = kLanes;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) best[k] = extreme_of<kLargest>(best[k], x[i + k]);
  for (; i < n; ++i) best[0] = extreme_of<kLargest>(best[0], x[i]);
  for (int64_t k = 1; k < kLanes; ++k) best[0] = extreme_of<kLargest>(best[0], best[k]);
  return best[0];
}

template <class T>
void rows_of(bool largest, const uint8_t* from, int64_t rows, int64_t n, uint8_t* to) {
  const T* const x = reinterpret_cast<const T*>(from);
  T* const out = reinterpret_cast<T*>(to);
  const int64_t some = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(n, 1));
  run_tasks(ceil_div(rows, some), threads_for(rows * n), [&](int64_t task) {
    for (int64_t r = task * some; r < std::min(rows, (task + 1) * some); ++r)
      out[r] = largest ? extreme<T, true>(x + r * n, n) : extreme<T, false>(x + r * n, n);
  });
}

}  // namespace

void extremes_into(Ordered kind, bool largest, const uint8_t* x, int64_t rows, int64_t n, uint8_t* out) {
  switch (kind) {
    case Ordered::float32:
      return rows_of<float>(largest, x, rows, n, out);
    case Ordered::int64:
      return rows_of<int64_t>(largest, x, rows, n, out);
    case Ordered::int32:
      return rows_of<int32_t>(largest, x, rows, n, out);
    case Ordered::int8:
      return rows_of<int8_t>(largest, x, rows, n, out);
    case Ordered::uint8:
      return rows_of<uint8_t>(largest, x, rows, n, out);
  }
}

}  // namespace octensor::ops
