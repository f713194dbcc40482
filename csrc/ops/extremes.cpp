#include "ops/extremes.h"

#include <algorithm>
#include <type_traits>

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
  run_rows(rows, (1 << 14) / std::max<int64_t>(n, 1), threads_for(rows * n),
           [&](int64_t r) { out[r] = largest ? extreme<T, true>(x + r * n, n) : extreme<T, false>(x + r * n, n); });
}

template <class T>
int64_t place(const T* x, int64_t n, bool largest, bool last) {
  int64_t best = last ? n - 1 : 0;
  const auto wins = [&](T a, T b) {  // a over b, which stands before it on the way
    if (b != b) return false;
    return a != a || (largest ? a > b : a < b);
  };
  if (last)
    for (int64_t i = n - 1; i-- > 0;) best = wins(x[i], x[best]) ? i : best;
  else
    for (int64_t i = 1; i < n; ++i) best = wins(x[i], x[best]) ? i : best;
  return best;
}

// Sums of whole numbers wrap.
template <class T>
T sum(T a, T b) {
  if constexpr (std::is_same_v<T, float>)
    return a + b;
  else
    return wrapping(a, b, [](auto x, auto y) { return x + y; });
}

template <class T>
void running(const uint8_t* from, int64_t outer, int64_t n, int64_t inner, uint8_t* to) {
  const T* const x = reinterpret_cast<const T*>(from);
  T* const out = reinterpret_cast<T*>(to);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t i = 0; i < inner; ++i) {
        const int64_t at = (o * n + j) * inner + i;
        out[at] = j == 0 ? x[at] : sum(out[at - inner], x[at]);
      }
}

}  // namespace

void places_into(Ordered kind, bool largest, bool last, const uint8_t* x, int64_t rows, int64_t n, int64_t* out) {
  with_type(kind, [&](auto type) {
    for (int64_t r = 0; r < rows; ++r)
      out[r] = place(reinterpret_cast<const decltype(type)*>(x) + r * n, n, largest, last);
  });
}

void running_sums_into(Ordered kind, const uint8_t* x, int64_t outer, int64_t n, int64_t inner, uint8_t* out) {
  with_type(kind, [&](auto type) { running<decltype(type)>(x, outer, n, inner, out); });
}

void whole_sums_into(Ordered kind, const uint8_t* x, int64_t rows, int64_t n, uint8_t* out) {
  with_type(kind, [&](auto type) {
    using T = decltype(type);
    for (int64_t r = 0; r < rows; ++r) {
      T total = 0;
      for (int64_t i = 0; i < n; ++i) total = sum(total, reinterpret_cast<const T*>(x)[r * n + i]);
      reinterpret_cast<T*>(out)[r] = total;
    }
  });
}

void extremes_into(Ordered kind, bool largest, const uint8_t* x, int64_t rows, int64_t n, uint8_t* out) {
  with_type(kind, [&](auto type) { rows_of<decltype(type)>(largest, x, rows, n, out); });
}

}  // namespace octensor::ops
