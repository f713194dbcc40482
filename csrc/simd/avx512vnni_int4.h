// 4-bit weights on AVX-512 VNNI: vpdpbusd takes nibbles as its unsigned operand. It multiplies 4-bit codes no faster
// than 8-bit ones; what is gained is memory. The contract of each operation is in simd/int4.h.
#pragma once
#include "simd/avx512vnni.h"
#include "simd/int4.h"

namespace octensor::simd {

template <>
struct Int4<Avx512Vnni> {
  static constexpr int kRows = 12;
  static constexpr bool kDrains = false;
  using Bytes = __m512i;
  using I32 = Avx512Vnni::I32;
  using Sum = I32;

  static Bytes load(const uint8_t* p) { return _mm512_load_si512(p); }
  static void store(uint8_t* p, Bytes x) { _mm512_store_si512(p, x); }
  static Bytes low(Bytes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
  static Bytes high(Bytes x) { return low(_mm512_srli_epi16(x, 4)); }
  static Bytes quad(const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
  }
  static Sum first(Bytes w, Bytes a) { return step(_mm512_setzero_si512(), w, a); }
  static Sum step(Sum sum, Bytes w, Bytes a) { return Avx512Vnni::Bytes::dot(sum, w, a); }
  static I32 drain(I32 acc, Sum sum) { return _mm512_add_epi32(acc, sum); }
  template <int I>
  static I32 nibble(I32 x) {
    return _mm512_and_si512(_mm512_srli_epi32(x, 4 * I), _mm512_set1_epi32(15));
  }
};

}  // namespace octensor::simd
