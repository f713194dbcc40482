// AVX2: 8 lanes, pairs of K through vpmaddwd on int16 operands, which cannot overflow for 8-bit codes
// with any zero points: |a - za| and |w| stay within 255, so a pair sums to at most 130,050.
// The contract of each operation is in simd/scalar.h.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace octensor::simd {

struct Avx2 {
  static constexpr int kLanes = 8, kGroup = 2, kRows = 6, kPanel = 2 * kLanes;
  using I32 = __m256i;
  using F32 = __m256;
  using Wide = __m256i;
  using Activation = int16_t;

  static I32 set(int32_t x) { return _mm256_set1_epi32(x); }
  static I32 load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store(int32_t* p, I32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static I32 add(I32 x, I32 y) { return _mm256_add_epi32(x, y); }
  static I32 sub(I32 x, I32 y) { return _mm256_sub_epi32(x, y); }
  static I32 mul(I32 x, I32 y) { return _mm256_mullo_epi32(x, y); }
  template <bool Signed>
  static I32 load_codes(const uint8_t* p) {
    const __m128i c = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return Signed ? _mm256_cvtepi8_epi32(c) : _mm256_cvtepu8_epi32(c);
  }
  static void store_codes(uint8_t* p, I32 x) {
    const __m256i low = _mm256_and_si256(x, _mm256_set1_epi32(0xFF));
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  }

  static F32 fset(float x) { return _mm256_set1_ps(x); }
  static F32 fload(const float* p) { return _mm256_loadu_ps(p); }
  static void fstore(float* p, F32 x) { _mm256_storeu_ps(p, x); }
  static F32 fadd(F32 x, F32 y) { return _mm256_add_ps(x, y); }
  static F32 fmul(F32 x, F32 y) { return _mm256_mul_ps(x, y); }
  static F32 fdiv(F32 x, F32 y) { return _mm256_div_ps(x, y); }
  static F32 fmin(F32 x, F32 y) { return _mm256_min_ps(x, y); }
  static F32 fmax(F32 x, F32 y) { return _mm256_max_ps(x, y); }
  static F32 nan_to_zero(F32 x) { return _mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q)); }
  static F32 to_float(I32 x) { return _mm256_cvtepi32_ps(x); }
  static I32 round(F32 x) { return _mm256_cvtps_epi32(x); }
  static I32 round_low(F32 x) { return round(x); }  // the instruction's answer to what does not fit

  static F32 pow2(I32 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }

  template <bool Signed>
  static Wide widen(const uint8_t* p) {
    const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return Signed ? _mm256_cvtepi8_epi16(c) : _mm256_cvtepu8_epi16(c);
  }
  static Wide load_weights(const int8_t* p) { return widen<true>(reinterpret_cast<const uint8_t*>(p)); }
  static Wide wide_set(int16_t x) { return _mm256_set1_epi16(x); }
  static Wide wide_sub(Wide x, Wide y) { return _mm256_sub_epi16(x, y); }
  static Wide wide_load(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void wide_store(int16_t* p, Wide x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static Wide broadcast(const int16_t* p) {
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return _mm256_set1_epi32(pair);
  }
  // The addition as an instruction on the accumulator's own register: left to itself GCC copies or
  // spills accumulators in the GEMM tile's inner loop.
  static I32 dot(I32 acc, Wide a, Wide b) {
    const __m256i products = _mm256_madd_epi16(a, b);
    asm("vpaddd %1, %0, %0" : "+x"(acc) : "x"(products));
    return acc;
  }
  static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};
  using Codes = __m256i;  // as words
  template <bool Signed>
  static Codes codes16(const uint8_t* p) {
    return widen<Signed>(p);
  }
  template <bool Signed, int V>
  static Wide zip(const Codes* rows) {
    return V == 0 ? _mm256_unpacklo_epi16(rows[0], rows[1]) : _mm256_unpackhi_epi16(rows[0], rows[1]);
  }
  struct Finish {
    Finish(int16_t shift, uint8_t base)
        : shift(_mm256_set1_epi16(shift)), base(_mm256_set1_epi8(static_cast<char>(base))) {}
    __m256i shift, base;
  };
  static void store_two(uint8_t* p, uint8_t* q, const Finish& f, I32 x0, I32 x1, I32 y0, I32 y1) {
    const __m256i x = _mm256_adds_epi16(_mm256_packs_epi32(x0, x1), f.shift);
    const __m256i y = _mm256_adds_epi16(_mm256_packs_epi32(y0, y1), f.shift);
    const __m256i codes = _mm256_add_epi8(_mm256_permute4x64_epi64(_mm256_packus_epi16(x, y), 0xD8), f.base);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(codes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm256_extracti128_si256(codes, 1));
  }
};

}  // namespace octensor::simd
