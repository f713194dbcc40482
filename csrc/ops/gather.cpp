#include "ops/gather.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

void check_indices(const int64_t* indices, int64_t count, int64_t n) {
  if (count == 0) return;
  const auto [least, most] = std::minmax_element(indices, indices + count);
  check(*least >= -n && *most < n, "indices: expected values in [", -n, ", ", n, "), got ", *least, " to ", *most);
}

int64_t from_front(int64_t index, int64_t n) { return index < 0 ? index + n : index; }

// copy(i) for every row of `bytes`.
template <class Copy>
void for_rows(int64_t rows, int64_t bytes, const Copy& copy) {
  run_rows(rows, (64 << 10) / std::max<int64_t>(bytes, 1), threads_for(rows * bytes), copy);
}

}  // namespace

void take_into(const uint8_t* data, int64_t outer, int64_t n, int64_t inner, const int64_t* indices, int64_t count,
               uint8_t* out) {
  check_indices(indices, count, n);
  if (outer * count * inner == 0) return;
  for_rows(outer * count, inner, [=](int64_t i) {
    std::memcpy(out + i * inner, data + (i / count * n + from_front(indices[i % count], n)) * inner, inner);
  });
}

void take_along_into(const uint8_t* data, int64_t outer, int64_t n, int64_t inner, const int64_t* indices,
                     int64_t count, int64_t itemsize, uint8_t* out) {
  const int64_t all = outer * count * inner;
  check_indices(indices, all, n);
  if (all == 0) return;
  for_rows(outer * count, inner * itemsize, [=](int64_t row) {
    const int64_t* const at = indices + row * inner;
    for (int64_t i = 0; i < inner; ++i)
      std::memcpy(out + (row * inner + i) * itemsize,
                  data + ((row / count * n + from_front(at[i], n)) * inner + i) * itemsize, itemsize);
  });
}

void gather_nd_into(const uint8_t* data, const Shape& sizes, int64_t inner, const int64_t* indices, int64_t count,
                    uint8_t* out) {
  const auto axes = static_cast<int64_t>(sizes.size());
  for (int64_t i = 0; i < count * axes; ++i) check_indices(indices + i, 1, sizes[i % axes]);
  if (count * inner == 0) return;
  for_rows(count, inner, [&](int64_t i) {
    int64_t place = 0;
    for (int64_t a = 0; a < axes; ++a) place = place * sizes[a] + from_front(indices[i * axes + a], sizes[a]);
    std::memcpy(out + i * inner, data + place * inner, inner);
  });
}

}  // namespace octensor::ops
