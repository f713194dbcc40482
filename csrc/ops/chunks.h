// Element-wise work on dense runs, in chunks for the threads.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/threads.h"

namespace octensor::ops {

inline constexpr int64_t kChunk = 1 << 15;  // elements per task

// part(at, size) over [0, n). A kernel redoes part of a run's last block, so where the result takes an operand's memory
// the last elements are done in pieces that are whole blocks or shorter than one.
template <class Part>
void for_chunks(int64_t n, bool in_place, const Part& part) {
  constexpr int64_t kWhole = 128;  // a multiple of every kernel's block
  parallel_for((n + kChunk - 1) / kChunk, [&](int64_t task) {
    int64_t at = task * kChunk;
    const int64_t end = std::min(at + kChunk, n), size = in_place ? (end - at) / kWhole * kWhole : end - at;
    if (size) part(at, size);
    at += size;
    for (int64_t piece = kWhole / 2; at < end; piece /= 2)
      if (end - at >= piece) {
        part(at, piece);
        at += piece;
      }
  });
}

}  // namespace octensor::ops
