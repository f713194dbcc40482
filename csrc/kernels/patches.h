// Packing convolution patches: rows of a GEMM as runs of adjacent codes.
//
// Neighbouring outputs read the same runs, shifted by a constant, so a row is a list of runs that advance from row to
// row; a run of padding points at zero points and does not advance. All runs of a call have one length. A run is
// copied by vectors that may overlap but never leave it: nothing is read outside the input, nothing written twice
// with other values.
//
// Bound: bytes moved. With runs of at least a vector the copy takes one load and one store per vector.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

// Copies N codes, with their top bits flipped where F is 0x80.
template <class S, int N, uint8_t F>
[[gnu::always_inline]] inline void copy_bytes(uint8_t* out, const uint8_t* from) {
  uint8_t part[N];
  __builtin_memcpy(part, from, N);
  if constexpr (F != 0)
    for (int i = 0; i < N; ++i) part[i] ^= F;
  __builtin_memcpy(out, part, N);
}

// n codes by blocks of N <= n of them, the last overlapping the one before.
template <class S, int N, uint8_t F>
[[gnu::always_inline]] inline void copy_run(uint8_t* out, const uint8_t* from, int64_t n) {
  int64_t i = 0;
  for (; i + N <= n; i += N) copy_bytes<S, N, F>(out + i, from + i);
  if (i < n) copy_bytes<S, N, F>(out + n - N, from + n - N);
}

template <class S, int N, uint8_t F>
void copy_rows(const RunArgs& a) {
  const int64_t length = a.length, count = a.count;
  const PatchRun* const runs = a.runs;
  for (int64_t row = 0; row < a.rows; ++row) {
    uint8_t* out = static_cast<uint8_t*>(a.out) + row * a.row_bytes;
    for (int64_t r = 0; r < count; ++r, out += length)
      copy_run<S, N, F>(out, runs[r].from + row * runs[r].advance, length);
  }
}

template <class S, uint8_t F>
void copy_rows_of(const RunArgs& a) {
  if (a.length >= 32) return copy_rows<S, 32, F>(a);
  if (a.length >= 16) return copy_rows<S, 16, F>(a);
  if (a.length >= 8) return copy_rows<S, 8, F>(a);
  if (a.length >= 4) return copy_rows<S, 4, F>(a);
  if (a.length >= 2) return copy_rows<S, 2, F>(a);
  return copy_rows<S, 1, F>(a);
}

// As words: codes minus the zero point.
template <class S, bool Signed>
void widen_rows(const RunArgs& a) {
  using Words = typename S::Words;
  constexpr int kVector = S::kLanes * Words::kGroup;
  const typename Words::Wide zero = Words::set(static_cast<int16_t>(a.zero_point));
  for (int64_t row = 0; row < a.rows; ++row) {
    auto* out = reinterpret_cast<int16_t*>(static_cast<uint8_t*>(a.out) + row * a.row_bytes);
    for (int64_t r = 0; r < a.count; ++r, out += a.length) {
      const uint8_t* from = a.runs[r].from + row * a.runs[r].advance;
      const auto widen = [&](int64_t i) {
        Words::store(out + i, Words::sub(Words::template widen<Signed>(from + i), zero));
      };
      int64_t i = 0;
      for (; i + kVector <= a.length; i += kVector) widen(i);
      if (i < a.length && i > 0) {
        widen(a.length - kVector);
      } else {
        for (; i < a.length; ++i)
          out[i] = static_cast<int16_t>((Signed ? static_cast<int8_t>(from[i]) : int32_t{from[i]}) - a.zero_point);
      }
    }
  }
}

template <class S>
void pack_runs(const RunArgs& a) {
  using Activation = typename S::Operand::Activation;
  if constexpr (sizeof(Activation) == 2)
    a.is_signed ? widen_rows<S, true>(a) : widen_rows<S, false>(a);
  else
    a.is_signed == (static_cast<Activation>(-1) < 0) ? copy_rows_of<S, 0>(a) : copy_rows_of<S, 0x80>(a);
}

}  // namespace octensor::kernels
