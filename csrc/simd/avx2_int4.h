// 4-bit weights on AVX2: vpmaddubsw multiplies 32 pairs of bytes and adds neighbours in int16, where eight of its
// results fit; only then are they widened. That is one multiply and one addition for 32 multiply-adds, where exact
// 8-bit weights take two multiplies and one or two additions. The contract of each operation is in simd/int4.h.
#pragma once
#include "simd/avx2.h"
#include "simd/int4.h"

namespace octensor::simd {

template <>
struct Int4<Avx2> {
  static constexpr int kRows = 4;
  static constexpr bool kDrains = true;
  using Bytes = __m256i;
  using I32 = Avx2::I32;
  using Sum = __m256i;  // 16 of int16

  static Bytes load(const uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store(uint8_t* p, Bytes x) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), x); }
  static Bytes low(Bytes x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
  static Bytes high(Bytes x) { return low(_mm256_srli_epi16(x, 4)); }
  static Bytes quad(const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
  }
  static Sum first(Bytes w, Bytes a) { return _mm256_maddubs_epi16(w, a); }
  // The addition on the accumulator's own register, as in Avx2::Words::dot.
  static Sum step(Sum sum, Bytes w, Bytes a) {
    const __m256i products = _mm256_maddubs_epi16(w, a);
    asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(products));
    return sum;
  }
  static I32 drain(I32 acc, Sum sum) { return _mm256_add_epi32(acc, _mm256_madd_epi16(sum, _mm256_set1_epi16(1))); }
  template <int I>
  static I32 nibble(I32 x) {
    return _mm256_and_si256(_mm256_srli_epi32(x, 4 * I), _mm256_set1_epi32(15));
  }
};

}  // namespace octensor::simd
