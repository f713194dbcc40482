// Element-wise work on dense runs of codes, in chunks for the threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/threads.h"

namespace octensor::ops {

inline constexpr int64_t kChunk = 1 << 15;  // elements per task

// part(at, size, to) writes elements [at, at + size) of `out` to `to`. Kernels may read a block again after they have
// written its place; where the result takes an operand's memory (`in_place`) they write to a buffer in the L1 cache.
template <class Part>
void for_chunks(int64_t n, uint8_t* out, bool in_place, const Part& part) {
  constexpr int64_t kBuffer = 8 << 10;
  parallel_for((n + kChunk - 1) / kChunk, [&](int64_t task) {
    int64_t at = task * kChunk;
    const int64_t end = std::min(at + kChunk, n);
    if (!in_place) return part(at, end - at, out + at);
    alignas(64) uint8_t buffer[kBuffer];
    for (; at < end; at += kBuffer) {
      const int64_t size = std::min(kBuffer, end - at);
      part(at, size, buffer);
      std::memcpy(out + at, buffer, size);
    }
  });
}

}  // namespace octensor::ops
