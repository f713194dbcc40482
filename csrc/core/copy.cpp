#include "core/copy.h"

#include <algorithm>
#include <cstring>

#include "core/threads.h"
#include "core/transpose.h"

namespace octensor {
namespace {

// A plane, in blocks, so that a transposition touches each cache line once.
template <class T>
void copy_plane(const T* src, T* dst, const CopyAxis& rows, const CopyAxis& columns) {
  if constexpr (sizeof(T) == 1)
    if (rows.src == 1 && columns.dst == 1) return transpose(src, columns.src, dst, rows.dst, columns.size, rows.size);
  constexpr int64_t kBlock = 32;
  for (int64_t i0 = 0; i0 < rows.size; i0 += kBlock)
    for (int64_t j0 = 0; j0 < columns.size; j0 += kBlock) {
      const int64_t i1 = std::min(i0 + kBlock, rows.size), j1 = std::min(j0 + kBlock, columns.size);
      for (int64_t i = i0; i < i1; ++i)
        for (int64_t j = j0; j < j1; ++j) dst[i * rows.dst + j * columns.dst] = src[i * rows.src + j * columns.src];
    }
}

// Rows of n bytes. Short ones in moves of 16, the last overlapping the one before it: a call of memcpy costs more.
void copy_rows(const uint8_t* src, int64_t src_step, uint8_t* dst, int64_t dst_step, int64_t rows, int64_t n) {
  constexpr int64_t kMove = 16, kLong = 512;
  for (int64_t i = 0; i < rows; ++i, src += src_step, dst += dst_step) {
    if (n >= kLong) {
      std::memcpy(dst, src, n);
    } else if (n < kMove) {
      transposition::copy_few(dst, src, n);
    } else {
      for (int64_t j = 0; j < n - kMove; j += kMove) std::memcpy(dst + j, src + j, kMove);
      std::memcpy(dst + n - kMove, src + n - kMove, kMove);
    }
  }
}

template <class T>
void copy_typed(const T* src, T* dst, const CopyAxis* axes, size_t count) {
  constexpr int64_t kItem = sizeof(T);
  if (count == 0) {
    *dst = *src;
    return;
  }
  const CopyAxis &outer = axes[0], &last = axes[count - 1];
  if (count == 1) {
    if (last.src == 1 && last.dst == 1)
      std::memcpy(dst, src, kItem * last.size);
    else
      for (int64_t i = 0; i < last.size; ++i) dst[i * last.dst] = src[i * last.src];
  } else if (count == 2 && last.src == 1 && last.dst == 1) {
    copy_rows(reinterpret_cast<const uint8_t*>(src), outer.src * kItem, reinterpret_cast<uint8_t*>(dst),
              outer.dst * kItem, outer.size, last.size * kItem);
  } else if (count == 2) {
    copy_plane(src, dst, outer, last);
  } else {
    for (int64_t i = 0; i < outer.size; ++i) copy_typed(src + i * outer.src, dst + i * outer.dst, axes + 1, count - 1);
  }
}

// Threads share the first axis, in parts that are worth a task.
template <class T>
void copy_parallel(const T* src, T* dst, const std::vector<CopyAxis>& plan, int64_t bytes) {
  constexpr int64_t kTask = 256 << 10, kRound = 64;  // parts of whole tiles of a transposition
  const int64_t first = plan.empty() ? 1 : plan[0].size, tasks = std::min(first, bytes / kTask);
  if (tasks < 2) return copy_typed(src, dst, plan.data(), plan.size());
  int64_t part = (first + tasks - 1) / tasks;
  if (part > kRound) part = (part + kRound - 1) / kRound * kRound;
  parallel_for((first + part - 1) / part, [&](int64_t task) {
    std::vector<CopyAxis> mine = plan;
    const int64_t at = task * part;
    mine[0].size = std::min(part, first - at);
    copy_typed(src + at * mine[0].src, dst + at * mine[0].dst, mine.data(), mine.size());
  });
}

}  // namespace

std::vector<CopyAxis> copy_plan(const std::vector<int64_t>& src_strides, const std::vector<int64_t>& dst_strides,
                                const std::vector<int64_t>& shape) {
  std::vector<CopyAxis> axes, plan;
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) axes.push_back({shape[i], src_strides[i], dst_strides[i]});
  std::stable_sort(axes.begin(), axes.end(), [](const CopyAxis& a, const CopyAxis& b) { return a.dst > b.dst; });
  for (const CopyAxis& a : axes) {
    if (!plan.empty() && plan.back().src == a.src * a.size && plan.back().dst == a.dst * a.size)
      plan.back() = {plan.back().size * a.size, a.src, a.dst};  // adjacent in both views: one longer axis
    else
      plan.push_back(a);
  }
  return plan;
}

void copy_planned(const uint8_t* src, uint8_t* dst, const std::vector<CopyAxis>& plan, size_t itemsize) {
  int64_t bytes = static_cast<int64_t>(itemsize);
  for (const CopyAxis& a : plan) bytes *= a.size;
  if (bytes == 0) return;
  if (itemsize == 1)
    copy_parallel(src, dst, plan, bytes);
  else if (itemsize == 4)
    copy_parallel(reinterpret_cast<const uint32_t*>(src), reinterpret_cast<uint32_t*>(dst), plan, bytes);
  else
    copy_parallel(reinterpret_cast<const uint64_t*>(src), reinterpret_cast<uint64_t*>(dst), plan, bytes);
}

void copy_strided(const uint8_t* src, const std::vector<int64_t>& src_strides, uint8_t* dst,
                  const std::vector<int64_t>& dst_strides, const std::vector<int64_t>& shape, size_t itemsize) {
  copy_planned(src, dst, copy_plan(src_strides, dst_strides, shape), itemsize);
}

}  // namespace octensor
