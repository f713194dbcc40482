// Transposition of bytes: what separates channels-first from channels-last codes.
//
// A block is up to 8 rows (channels) of 16 columns (pixels). Interleaving the bytes of rows i and i + 4 rotates the
// bits of (row, column) by one place, so three rounds make the row the fastest index: 8 loads, 24 interleavings and 16
// stores of 8 bytes move 128 bytes. Up to 4 rows (colour images) need two rounds on half as many. Vectors of 16 bytes
// are the compiler's own: every 64-bit CPU has the interleaving instructions in its baseline.
//
// Bound: one read and one write of every byte, 2.7 bytes per instruction, 10 or so per cycle.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace octensor {
namespace transposition {

using Bytes16 = uint8_t __attribute__((vector_size(16)));
inline constexpr int64_t kColumns = 16;

inline Bytes16 interleave_low(Bytes16 a, Bytes16 b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#else
  return __builtin_shuffle(a, b, Bytes16{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
#endif
}
inline Bytes16 interleave_high(Bytes16 a, Bytes16 b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#else
  return __builtin_shuffle(a, b, Bytes16{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
#endif
}

// Copies n < 16 bytes, and touches no others, in at most three moves.
inline void copy_few(uint8_t* dst, const uint8_t* src, int64_t n) {
  if (n >= 8) {
    uint64_t first, last;
    std::memcpy(&first, src, 8);
    std::memcpy(&last, src + n - 8, 8);
    std::memcpy(dst, &first, 8);
    std::memcpy(dst + n - 8, &last, 8);
  } else if (n >= 4) {
    uint32_t first, last;
    std::memcpy(&first, src, 4);
    std::memcpy(&last, src + n - 4, 4);
    std::memcpy(dst, &first, 4);
    std::memcpy(dst + n - 4, &last, 4);
  } else {
    if (n & 2) std::memcpy(dst, src, 2);
    if (n & 1) dst[n - 1] = src[n - 1];
  }
}

// One block of `rows` <= kRows rows and `columns` <= 16 columns: dst[j * dst_stride + i] = src[i * src_stride + j].
template <int kRows>
[[gnu::always_inline]] inline void block(const uint8_t* src, int64_t src_stride, uint8_t* dst, int64_t dst_stride,
                                         int64_t rows, int64_t columns) {
  Bytes16 x[kRows], y[kRows];
  for (int i = 0; i < kRows; ++i) {
    x[i] = Bytes16{};
    if (i >= rows) continue;
    if (columns == kColumns)
      std::memcpy(&x[i], src + i * src_stride, sizeof x[i]);
    else
      copy_few(reinterpret_cast<uint8_t*>(&x[i]), src + i * src_stride, columns);
  }
  constexpr int kHalf = kRows / 2;
  for (int round = kRows; round > 1; round /= 2) {
    for (int i = 0; i < kHalf; ++i) {
      y[2 * i] = interleave_low(x[i], x[i + kHalf]);
      y[2 * i + 1] = interleave_high(x[i], x[i + kHalf]);
    }
    for (int i = 0; i < kRows; ++i) x[i] = y[i];
  }
  uint8_t out[kRows * kColumns];
  std::memcpy(out, x, sizeof out);
  // Where columns are dense, what is written beyond one is the next one's, which follows.
  const int64_t whole = rows == kRows ? columns : dst_stride == rows ? columns - 1 : 0;
  for (int64_t j = 0; j < whole; ++j) std::memcpy(dst + j * dst_stride, out + j * kRows, kRows);
  for (int64_t j = whole; j < columns; ++j) copy_few(dst + j * dst_stride, out + j * kRows, rows);
}

}  // namespace transposition

// dst[j * dst_stride + i] = src[i * src_stride + j] for i < rows, j < columns. Tiles keep the lines that are written in
// pieces in the L1 cache, and use up those that are read.
inline void transpose(const uint8_t* src, int64_t src_stride, uint8_t* dst, int64_t dst_stride, int64_t rows,
                      int64_t columns) {
  using namespace transposition;
  constexpr int64_t kTileRows = 256, kTileColumns = 64;
  for (int64_t i0 = 0; i0 < rows; i0 += kTileRows)
    for (int64_t j0 = 0; j0 < columns; j0 += kTileColumns)
      for (int64_t i = i0; i < std::min(rows, i0 + kTileRows); i += 8)
        for (int64_t j = j0; j < std::min(columns, j0 + kTileColumns); j += kColumns) {
          const int64_t r = std::min<int64_t>(rows - i, 8), c = std::min(columns - j, kColumns);
          const uint8_t* from = src + i * src_stride + j;
          uint8_t* to = dst + j * dst_stride + i;
          if (r == 8 && c == kColumns)
            block<8>(from, src_stride, to, dst_stride, 8, kColumns);
          else if (r > 4)
            block<8>(from, src_stride, to, dst_stride, r, c);
          else
            block<4>(from, src_stride, to, dst_stride, r, c);
        }
}

}  // namespace octensor
