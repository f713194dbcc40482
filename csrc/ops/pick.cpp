#include "ops/pick.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "ops/tasks.h"

namespace octensor::ops {

PickPlan::PickPlan(const std::vector<Sources>& sources, const Shape& shape, const Shape& strides,
                   const Shape& out_strides) {
  const auto size_of = [&](size_t a) { return sources[a] ? static_cast<int64_t>(sources[a]->size()) : shape[a]; };
  std::vector<size_t> order;
  for (size_t a = 0; a < shape.size(); ++a)
    if (sources[a] || shape[a] != 1) order.push_back(a);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return out_strides[a] > out_strides[b]; });
  while (!order.empty() && !sources[order.back()] && strides[order.back()] == row_ &&
         out_strides[order.back()] == row_) {
    row_ *= shape[order.back()];
    order.pop_back();
  }
  std::vector<std::vector<int64_t>> from(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t a = order[i];
    for (int64_t j = 0; j < size_of(a); ++j) {
      const int64_t place = sources[a] ? (*sources[a])[j] : j;
      from[i].push_back(place < 0 ? -1 : place * strides[a]);
    }
  }
  if (order.empty()) {
    runs_.push_back({0, 0, row_});
    return;
  }
  const int64_t block = row_;
  for (int64_t at : from.back()) {
    Run* last = runs_.empty() ? nullptr : &runs_.back();
    if (last && (at < 0 ? last->from < 0 : last->from >= 0 && last->from + last->size == at))
      last->size += block;
    else
      runs_.push_back({last ? last->to + last->size : 0, at, block});
  }
  row_ = block * size_of(order.back());
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    rows_ *= size_of(order[i]);
    outer_.push_back({out_strides[order[i]], std::move(from[i])});
  }
}

template <class T>
void PickPlan::typed(const T* x, T fill, T* out) const {
  constexpr int64_t kTask = 64 << 10, kShort = 64;  // bytes; a call of memcpy costs more than few moves
  const int64_t bytes = std::max<int64_t>(1, row_ * static_cast<int64_t>(sizeof(T)));
  run_rows(rows_, kTask / bytes, threads_for(rows_ * bytes), [&](int64_t r) {
    int64_t rest = r, from = 0;
    T* to = out;
    bool filled = false;
    for (size_t i = outer_.size(); i-- > 0;) {
      const auto n = static_cast<int64_t>(outer_[i].from.size()), j = rest % n;
      rest /= n;
      to += j * outer_[i].out_step;
      filled |= outer_[i].from[j] < 0;
      from += outer_[i].from[j];
    }
    if (filled) {
      std::fill_n(to, row_, fill);
      return;
    }
    for (const Run& run : runs_) {
      T* const y = to + run.to;
      if (run.from < 0)
        std::fill_n(y, run.size, fill);
      else if (run.size * static_cast<int64_t>(sizeof(T)) > kShort)
        std::memcpy(y, x + from + run.from, run.size * sizeof(T));
      else
        for (int64_t i = 0; i < run.size; ++i) y[i] = x[from + run.from + i];
    }
  });
}

void PickPlan::run(const uint8_t* x, size_t itemsize, uint64_t fill, uint8_t* out) const {
  if (rows_ * row_ == 0) return;
  if (itemsize == 1)
    typed(x, static_cast<uint8_t>(fill), out);
  else if (itemsize == 4)
    typed(reinterpret_cast<const uint32_t*>(x), static_cast<uint32_t>(fill), reinterpret_cast<uint32_t*>(out));
  else
    typed(reinterpret_cast<const uint64_t*>(x), fill, reinterpret_cast<uint64_t*>(out));
}

}  // namespace octensor::ops
