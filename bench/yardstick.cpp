// What the core itself can do, measured beside octensor in the same run: two register- and L1-bound
// loops that know nothing of octensor. Built by bench/yardstick.py into a shared library.
//
//   port(n)  n rounds of 12 independent widening multiplies: the multiply ports' ceiling
//   tile(n)  n runs of a plain 6 x 16 exact int8 tile over K = 256, operands in the L1 cache
// Each returns the multiply-adds it did.
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>

extern "C" int64_t port(int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    asm volatile(
        "vpmaddwd %%ymm14, %%ymm15, %%ymm0\n vpmaddwd %%ymm14, %%ymm15, %%ymm1\n vpmaddwd %%ymm14, %%ymm15, %%ymm2\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm3\n vpmaddwd %%ymm14, %%ymm15, %%ymm4\n vpmaddwd %%ymm14, %%ymm15, %%ymm5\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm6\n vpmaddwd %%ymm14, %%ymm15, %%ymm7\n vpmaddwd %%ymm14, %%ymm15, %%ymm8\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm9\n vpmaddwd %%ymm14, %%ymm15, %%ymm10\n vpmaddwd %%ymm14, %%ymm15, "
        "%%ymm11\n" ::
            : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11");
  return n * 12 * 16;
}

extern "C" int64_t tile(int64_t n) {
  constexpr int kPairs = 128, kRows = 6;
  alignas(64) static int16_t a[kPairs * kRows * 2], b[kPairs * 32];
  alignas(64) static int32_t out[kRows * 16];
  for (int64_t run = 0; run < n; ++run) {
    __m256i c0[kRows], c1[kRows];
    for (int r = 0; r < kRows; ++r) c0[r] = c1[r] = _mm256_setzero_si256();
    for (int k = 0; k < kPairs; ++k) {
      const __m256i b0 = _mm256_load_si256((const __m256i*)(b + k * 32));
      const __m256i b1 = _mm256_load_si256((const __m256i*)(b + k * 32 + 16));
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m256i x = _mm256_set1_epi32(*(const int32_t*)(a + (k * kRows + r) * 2));
        const __m256i p0 = _mm256_madd_epi16(x, b0), p1 = _mm256_madd_epi16(x, b1);
        asm("vpaddd %2, %0, %0\n vpaddd %3, %1, %1" : "+x"(c0[r]), "+x"(c1[r]) : "x"(p0), "x"(p1));
      }
    }
    for (int r = 0; r < kRows; ++r) {
      _mm256_store_si256((__m256i*)(out + r * 16), c0[r]);
      _mm256_store_si256((__m256i*)(out + r * 16 + 8), c1[r]);
    }
    asm volatile("" ::: "memory");
  }
  return n * kPairs * 2 * kRows * 16;
}

#elif defined(__aarch64__)
#include <arm_neon.h>

extern "C" int64_t port(int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    asm volatile(
        "smull v0.4s, v14.4h, v15.4h\n smull v1.4s, v14.4h, v15.4h\n smull v2.4s, v14.4h, v15.4h\n"
        "smull v3.4s, v14.4h, v15.4h\n smull v4.4s, v14.4h, v15.4h\n smull v5.4s, v14.4h, v15.4h\n"
        "smull v6.4s, v14.4h, v15.4h\n smull v7.4s, v14.4h, v15.4h\n smull v8.4s, v14.4h, v15.4h\n"
        "smull v9.4s, v14.4h, v15.4h\n smull v10.4s, v14.4h, v15.4h\n smull v11.4s, v14.4h, v15.4h\n" ::
            : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11");
  return n * 12 * 4;
}

extern "C" int64_t tile(int64_t n) {
  constexpr int kSteps = 256, kRows = 4;
  alignas(64) static int16_t a[kSteps * kRows], b[kSteps * 16];
  alignas(64) static int32_t out[kRows * 16];
  for (int64_t run = 0; run < n; ++run) {
    int32x4_t c[kRows][4];
    for (auto& row : c)
      for (auto& v : row) v = vdupq_n_s32(0);
    for (int k = 0; k < kSteps; ++k) {
      const int16x8_t b0 = vld1q_s16(b + k * 16), b1 = vld1q_s16(b + k * 16 + 8);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const int16x8_t x = vld1q_dup_s16(a + k * kRows + r);
        c[r][0] = vmlal_s16(c[r][0], vget_low_s16(x), vget_low_s16(b0));
        c[r][1] = vmlal_high_s16(c[r][1], x, b0);
        c[r][2] = vmlal_s16(c[r][2], vget_low_s16(x), vget_low_s16(b1));
        c[r][3] = vmlal_high_s16(c[r][3], x, b1);
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < 4; ++v) vst1q_s32(out + r * 16 + v * 4, c[r][v]);
    asm volatile("" ::: "memory");
  }
  return n * kSteps * kRows * 16;
}
#endif
