// AVX-512 with VNNI: 16 lanes, four K at a time through vpdpbusd, which multiplies unsigned by signed
// bytes and adds the four products to an int32 lane without saturating on the way. Activations stay
// bytes (signed codes with their top bit flipped); the driver folds the zero point into a correction
// per column. The contract of each operation is in simd/scalar.h.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace octensor::simd {

struct Avx512Vnni {
  static constexpr int kLanes = 16, kGroup = 4, kRows = 12, kPanel = 2 * kLanes;
  using I32 = __m512i;
  using F32 = __m512;
  using Wide = __m512i;
  using Activation = uint8_t;

  static I32 set(int32_t x) { return _mm512_set1_epi32(x); }
  static I32 load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static void store(int32_t* p, I32 x) { _mm512_storeu_si512(p, x); }
  static I32 add(I32 x, I32 y) { return _mm512_add_epi32(x, y); }
  static I32 sub(I32 x, I32 y) { return _mm512_sub_epi32(x, y); }
  static I32 mul(I32 x, I32 y) { return _mm512_mullo_epi32(x, y); }
  template <bool Signed>
  static I32 load_codes(const uint8_t* p) {
    const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return Signed ? _mm512_cvtepi8_epi32(c) : _mm512_cvtepu8_epi32(c);
  }
  static void store_codes(uint8_t* p, I32 x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  }

  static F32 fset(float x) { return _mm512_set1_ps(x); }
  static F32 fload(const float* p) { return _mm512_loadu_ps(p); }
  static void fstore(float* p, F32 x) { _mm512_storeu_ps(p, x); }
  static F32 fadd(F32 x, F32 y) { return _mm512_add_ps(x, y); }
  static F32 fmul(F32 x, F32 y) { return _mm512_mul_ps(x, y); }
  static F32 fdiv(F32 x, F32 y) { return _mm512_div_ps(x, y); }
  static F32 fmin(F32 x, F32 y) { return _mm512_min_ps(x, y); }
  static F32 fmax(F32 x, F32 y) { return _mm512_max_ps(x, y); }
  static F32 nan_to_zero(F32 x) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x); }
  static F32 to_float(I32 x) { return _mm512_cvtepi32_ps(x); }
  static I32 round(F32 x) { return _mm512_cvtps_epi32(x); }
  static I32 round_low(F32 x) { return round(x); }  // the instruction's answer to what does not fit
  static F32 pow2(I32 n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
  }

  static Wide load_weights(const int8_t* p) { return _mm512_loadu_si512(p); }
  static Wide broadcast(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
  }
  static I32 dot(I32 acc, Wide a, Wide b) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
  }
  static Wide wide_load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void wide_store(uint8_t* p, Wide x) { _mm512_storeu_si512(p, x); }
  // Four rows of 16 bytes; the 4 x 4 dwords are transposed, then the 4 x 4 bytes of every 128-bit lane.
  static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  using Codes = __m128i;
  template <bool Signed>
  static Codes codes16(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  template <bool Signed, int V>
  static Wide zip(const Codes* x) {
    const __m512i rows =
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(x[1], x[0])), _mm256_set_m128i(x[3], x[2]), 1);
    const __m512i dwords =
        _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), rows);
    const __m512i bytes = _mm512_shuffle_epi8(
        dwords, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
    return Signed ? _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) : bytes;
  }
  struct Finish {
    Finish(int16_t shift, uint8_t base)
        : shift(_mm256_set1_epi16(shift)), base(_mm256_set1_epi8(static_cast<char>(base))) {}
    __m256i shift, base;
  };
  static void store_two(uint8_t* p, uint8_t* q, const Finish& f, I32 x, I32 y) {
    const auto words = [&](I32 v) { return _mm256_adds_epi16(_mm512_cvtsepi32_epi16(v), f.shift); };
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(words(x), words(y)), 0xD8);
    const __m256i codes = _mm256_add_epi8(bytes, f.base);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(codes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm256_extracti128_si256(codes, 1));
  }
};

}  // namespace octensor::simd
