// AVX2: 8 lanes, pairs of K through vpmaddwd on int16 operands, which cannot overflow for 8-bit codes
// with any zero points: |a - za| and |w| stay within 255, so a pair sums to at most 130,050.
// The contract of each operation is in simd/scalar.h.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace octensor::simd {

struct Avx2 {
  static constexpr int kLanes = 8, kRows = 6, kPanel = 2 * kLanes;
  using I32 = __m256i;
  using F32 = __m256;

  static I32 set(int32_t x) { return _mm256_set1_epi32(x); }
  static I32 load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store(int32_t* p, I32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static I32 add(I32 x, I32 y) { return _mm256_add_epi32(x, y); }
  static I32 sub(I32 x, I32 y) { return _mm256_sub_epi32(x, y); }
  static I32 mul(I32 x, I32 y) { return _mm256_mullo_epi32(x, y); }
  template <int N>
  static I32 shift_left(I32 x) {
    return _mm256_slli_epi32(x, N);
  }
  template <int N>
  static I32 shift_right(I32 x) {
    return _mm256_srai_epi32(x, N);
  }
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
  static void store_panel(uint8_t* p, I32 x, I32 y) {
    const __m256i words = _mm256_and_si256(_mm256_packs_epi32(x, y), _mm256_set1_epi16(0xFF));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);  // packing works within each half
    const __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words), order);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(codes));
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

  static F32 pow2(I32 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }

  struct Words {
    using Activation = int16_t;
    using Wide = __m256i;
    static constexpr int kGroup = 2;
    template <bool Signed>
    static Wide widen(const uint8_t* p) {
      const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      return Signed ? _mm256_cvtepi8_epi16(c) : _mm256_cvtepu8_epi16(c);
    }
    static Wide set(int16_t x) { return _mm256_set1_epi16(x); }
    static Wide add(Wide x, Wide y) { return _mm256_add_epi16(x, y); }
    static Wide sub(Wide x, Wide y) { return _mm256_sub_epi16(x, y); }
    template <int N>
    static Wide shift_left(Wide x) {
      return _mm256_slli_epi16(x, N);
    }
    static Wide load(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static Wide load(const int8_t* p) { return widen<true>(reinterpret_cast<const uint8_t*>(p)); }
    static void store(int16_t* p, Wide x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
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
  };
  using Operand = Words;

  template <bool Signed>
  static I32 dot_taps(I32 acc, const uint8_t* x0, const uint8_t* x1, const int16_t* w) {
    const __m128i pairs = _mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x0)),
                                            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x1)));
    return Words::dot(acc, Signed ? _mm256_cvtepi8_epi16(pairs) : _mm256_cvtepu8_epi16(pairs), Words::load(w));
  }
};

}  // namespace octensor::simd
