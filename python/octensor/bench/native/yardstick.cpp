// What the core and its memory can do, measured beside the contenders in the same run: register-bound,
// L1-bound and memory-bound loops that know nothing of octensor. bench/ceilings.py builds them into a
// shared library.
//
//   ISA_port(n)  n rounds of 12 independent multiplies: the multiply ports' ceiling
//   ISA_tile(n)  n runs of a plain exact int8 tile over K = 256, operands in the L1 cache
//   ISA_saturating_tile(n)  the same with the multiply that saturates, where a set has one (avx2)
// Each returns the multiply-adds it did. Accumulators have names because GCC spills arrays of them.
//
//   parallel(f, n, threads)               f(n) on each of some threads
//   copy_bytes / read_bytes(..., threads) passes over memory, a slice to each thread; the bytes touched
#include <cstdint>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

namespace {

// Untouched zeros would all be one physical page, which an address-tagged cache reads slowly.
template <class T, int N>
struct Operand {
  alignas(64) T values[N];
  Operand() {
    for (int i = 0; i < N; ++i) values[i] = static_cast<T>(i * 37);
  }
};

template <class F>
int64_t on_threads(int threads, F work) {
  std::vector<int64_t> done(threads * 16);  // a cache line or two apart
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back([&, t] { done[t * 16] = work(t); });
  done[0] = work(0);
  for (auto& thread : others) thread.join();
  return std::accumulate(done.begin(), done.end(), int64_t{0});
}

struct Slice {
  int64_t begin, bytes;
};

Slice slice(int64_t bytes, int part, int parts) {
  const int64_t lines = bytes / 64, begin = lines * part / parts;
  return {begin * 64, (lines * (part + 1) / parts - begin) * 64};
}

// Loads every line once and uses nothing of it.
void touch(const uint8_t* p, int64_t bytes) {
  for (int64_t i = 0; i + 256 <= bytes; i += 256)
#if defined(__x86_64__)
    asm volatile(
        "vmovdqu (%0), %%ymm0\n vmovdqu 32(%0), %%ymm1\n vmovdqu 64(%0), %%ymm2\n vmovdqu 96(%0), %%ymm3\n"
        "vmovdqu 128(%0), %%ymm4\n vmovdqu 160(%0), %%ymm5\n vmovdqu 192(%0), %%ymm6\n vmovdqu 224(%0), %%ymm7\n" ::"r"(
            p + i)
        : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
#else
    asm volatile(
        "ldp q0, q1, [%0]\n ldp q2, q3, [%0, 32]\n ldp q4, q5, [%0, 64]\n ldp q6, q7, [%0, 96]\n"
        "ldp q0, q1, [%0, 128]\n ldp q2, q3, [%0, 160]\n ldp q4, q5, [%0, 192]\n ldp q6, q7, [%0, 224]\n" ::"r"(p + i)
        : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7");
#endif
}

}  // namespace

extern "C" int64_t parallel(int64_t (*f)(int64_t), int64_t n, int threads) {
  return on_threads(threads, [=](int) { return f(n); });
}

extern "C" int64_t copy_bytes(uint8_t* to, const uint8_t* from, int64_t bytes, int64_t n, int threads) {
  return on_threads(threads, [=](int t) {
    const Slice part = slice(bytes, t, threads);
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(to + part.begin, from + part.begin, part.bytes);
      asm volatile("" ::: "memory");
    }
    return n * 2 * part.bytes;
  });
}

extern "C" int64_t read_bytes(const uint8_t* from, int64_t bytes, int64_t n, int threads) {
  return on_threads(threads, [=](int t) {
    const Slice part = slice(bytes, t, threads);
    for (int64_t i = 0; i < n; ++i) touch(from + part.begin, part.bytes);
    return n * part.bytes;
  });
}

#if defined(__x86_64__)
#include <immintrin.h>

extern "C" __attribute__((target("avx2"))) int64_t avx2_port(int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    asm volatile(
        "vpmaddwd %%ymm14, %%ymm15, %%ymm0\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm1\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm2\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm3\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm4\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm5\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm6\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm7\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm8\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm9\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm10\n"
        "vpmaddwd %%ymm14, %%ymm15, %%ymm11\n" ::
            : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11");
  return n * 12 * 16;
}

extern "C" __attribute__((target("avx2"))) int64_t avx2_tile(int64_t n) {
  constexpr int kPairs = 128, kRows = 6;
  static const Operand<int16_t, kPairs * kRows * 2> left;
  static const Operand<int16_t, kPairs * 32> right;
  const int16_t *a = left.values, *b = right.values;
  alignas(64) __m256i out[kRows * 2];
  for (int64_t run = 0; run < n; ++run) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i p0 = zero, p1 = zero, p2 = zero, p3 = zero, p4 = zero, p5 = zero;
    __m256i q0 = zero, q1 = zero, q2 = zero, q3 = zero, q4 = zero, q5 = zero;
    for (int k = 0; k < kPairs; ++k) {
      const __m256i b0 = _mm256_load_si256((const __m256i*)(b + k * 32));
      const __m256i b1 = _mm256_load_si256((const __m256i*)(b + k * 32 + 16));
      auto row = [&](int r, __m256i& p, __m256i& q) __attribute__((always_inline, target("avx2"))) {
        const __m256i x = _mm256_set1_epi32(*(const int32_t*)(a + (k * kRows + r) * 2));
        const __m256i p0 = _mm256_madd_epi16(x, b0), p1 = _mm256_madd_epi16(x, b1);
        asm("vpaddd %2, %0, %0\n vpaddd %3, %1, %1" : "+x"(p), "+x"(q) : "x"(p0), "x"(p1));
      };
      row(0, p0, q0), row(1, p1, q1), row(2, p2, q2), row(3, p3, q3), row(4, p4, q4), row(5, p5, q5);
    }
    const __m256i sums[] = {p0, q0, p1, q1, p2, q2, p3, q3, p4, q4, p5, q5};
    for (int i = 0; i < kRows * 2; ++i) _mm256_store_si256(out + i, sums[i]);
    asm volatile("" ::"r"(out) : "memory");
  }
  return n * kPairs * 2 * kRows * 16;
}

extern "C" __attribute__((target("avx2"))) int64_t avx2_saturating_tile(int64_t n) {
  constexpr int kSteps = 64, kRows = 4;
  static const Operand<uint8_t, kSteps * kRows * 4> left;
  static const Operand<int8_t, kSteps * 64> right;
  const uint8_t* a = left.values;
  const int8_t* b = right.values;
  alignas(64) __m256i out[kRows * 2];
  for (int64_t run = 0; run < n; ++run) {
    const __m256i zero = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1);
    __m256i p0 = zero, p1 = zero, p2 = zero, p3 = zero;
    __m256i q0 = zero, q1 = zero, q2 = zero, q3 = zero;
    for (int k = 0; k < kSteps; ++k) {
      const __m256i b0 = _mm256_load_si256((const __m256i*)(b + k * 64));
      const __m256i b1 = _mm256_load_si256((const __m256i*)(b + k * 64 + 32));
      auto row = [&](int r, __m256i& p, __m256i& q) __attribute__((always_inline, target("avx2"))) {
        const __m256i x = _mm256_set1_epi32(*(const int32_t*)(a + (k * kRows + r) * 4));
        const __m256i s0 = _mm256_madd_epi16(_mm256_maddubs_epi16(x, b0), ones);
        const __m256i s1 = _mm256_madd_epi16(_mm256_maddubs_epi16(x, b1), ones);
        asm("vpaddd %2, %0, %0\n vpaddd %3, %1, %1" : "+x"(p), "+x"(q) : "x"(s0), "x"(s1));
      };
      row(0, p0, q0), row(1, p1, q1), row(2, p2, q2), row(3, p3, q3);
    }
    const __m256i sums[] = {p0, q0, p1, q1, p2, q2, p3, q3};
    for (int i = 0; i < kRows * 2; ++i) _mm256_store_si256(out + i, sums[i]);
    asm volatile("" ::"r"(out) : "memory");
  }
  return n * kSteps * 4 * kRows * 16;
}

extern "C" __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) int64_t avx512vnni_port(int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    asm volatile(
        "vpdpbusd %%zmm14, %%zmm15, %%zmm0\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm1\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm2\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm3\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm4\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm5\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm6\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm7\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm8\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm9\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm10\n"
        "vpdpbusd %%zmm14, %%zmm15, %%zmm11\n" ::
            : "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11");
  return n * 12 * 64;
}

extern "C" __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) int64_t avx512vnni_tile(int64_t n) {
  constexpr int kSteps = 64, kRows = 12;
  static const Operand<uint8_t, kSteps * kRows * 4> left;
  static const Operand<int8_t, kSteps * 128> right;
  const uint8_t* a = left.values;
  const int8_t* b = right.values;
  alignas(64) __m512i out[kRows * 2];
  for (int64_t run = 0; run < n; ++run) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i p0 = zero, p1 = zero, p2 = zero, p3 = zero, p4 = zero, p5 = zero, p6 = zero, p7 = zero, p8 = zero,
            p9 = zero, p10 = zero, p11 = zero;
    __m512i q0 = zero, q1 = zero, q2 = zero, q3 = zero, q4 = zero, q5 = zero, q6 = zero, q7 = zero, q8 = zero,
            q9 = zero, q10 = zero, q11 = zero;
    for (int k = 0; k < kSteps; ++k) {
      const __m512i b0 = _mm512_load_si512(b + k * 128), b1 = _mm512_load_si512(b + k * 128 + 64);
      auto row = [&](int r, __m512i& p, __m512i& q) __attribute__((always_inline, target("avx512f,avx512vnni"))) {
        const __m512i x = _mm512_set1_epi32(*(const int32_t*)(a + (k * kRows + r) * 4));
        asm("vpdpbusd %3, %2, %0\n vpdpbusd %4, %2, %1" : "+v"(p), "+v"(q) : "v"(x), "v"(b0), "v"(b1));
      };
      row(0, p0, q0), row(1, p1, q1), row(2, p2, q2), row(3, p3, q3), row(4, p4, q4), row(5, p5, q5), row(6, p6, q6),
          row(7, p7, q7), row(8, p8, q8), row(9, p9, q9), row(10, p10, q10), row(11, p11, q11);
    }
    const __m512i sums[] = {p0, q0, p1, q1, p2, q2, p3, q3, p4,  q4,  p5,  q5,
                            p6, q6, p7, q7, p8, q8, p9, q9, p10, q10, p11, q11};
    for (int i = 0; i < kRows * 2; ++i) _mm512_store_si512(out + i, sums[i]);
    asm volatile("" ::"r"(out) : "memory");
  }
  return n * kSteps * 4 * kRows * 32;
}

#elif defined(__aarch64__)
#include <arm_neon.h>

extern "C" int64_t neon_port(int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    asm volatile(
        "smull v0.4s, v14.4h, v15.4h\n smull v1.4s, v14.4h, v15.4h\n smull v2.4s, v14.4h, v15.4h\n"
        "smull v3.4s, v14.4h, v15.4h\n smull v4.4s, v14.4h, v15.4h\n smull v5.4s, v14.4h, v15.4h\n"
        "smull v6.4s, v14.4h, v15.4h\n smull v7.4s, v14.4h, v15.4h\n smull v8.4s, v14.4h, v15.4h\n"
        "smull v9.4s, v14.4h, v15.4h\n smull v10.4s, v14.4h, v15.4h\n smull v11.4s, v14.4h, v15.4h\n" ::
            : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11");
  return n * 12 * 4;
}

extern "C" int64_t neon_tile(int64_t n) {
  constexpr int kSteps = 256, kRows = 4;
  static const Operand<int16_t, kSteps * kRows> left;
  static const Operand<int16_t, kSteps * 16> right;
  const int16_t *a = left.values, *b = right.values;
  alignas(64) int32_t out[kRows * 16];
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
    asm volatile("" ::"r"(out) : "memory");
  }
  return n * kSteps * kRows * 16;
}
#endif
