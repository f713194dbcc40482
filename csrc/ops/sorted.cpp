#include "ops/sorted.h"

#include <algorithm>
#include <numeric>

#include "ops/tasks.h"

namespace octensor::ops {
namespace {

template <class T>
void rows_of(bool descending, const uint8_t* from, int64_t rows, int64_t n, int64_t* out) {
  run_tasks(rows, threads_for(rows * n * 16), [&](int64_t r) {
    const T* const x = reinterpret_cast<const T*>(from) + r * n;
    int64_t* const places = out + r * n;
    std::iota(places, places + n, 0);
    // Places break ties, so that no memory is needed to keep the order of equal values.
    std::sort(places, places + n, [&](int64_t i, int64_t j) {
      const T a = x[i], b = x[j];
      if (a != a || b != b) return (b != b && a == a) || ((a != a) == (b != b) && i < j);
      return descending ? a > b || (a == b && i < j) : a < b || (a == b && i < j);
    });
  });
}

}  // namespace

void sorted_into(Ordered kind, bool descending, const uint8_t* x, int64_t rows, int64_t n, int64_t* out) {
  with_type(kind, [&](auto type) { rows_of<decltype(type)>(descending, x, rows, n, out); });
}

}  // namespace octensor::ops
