// AVX-VNNI: AVX2 with the VEX forms of vpdpbusd and vpdpwssd on 256-bit registers, which multiply and add to an int32
// lane in one step without saturating: unsigned by signed bytes, four to a lane, or words, two to a lane. Activations
// stay bytes (signed codes with their top bit flipped); the driver folds the zero point into a correction per column.
// Everything else is AVX2's. The assembler is told {vex}: without it it chooses EVEX, which such CPUs lack.
#pragma once
#include "simd/avx2.h"

namespace octensor::simd {

struct AvxVnni : Avx2 {
  static constexpr int kRows = 6;

  struct Words : Avx2::Words {
    static I32 dot(I32 acc, Wide a, Wide b) {
      asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
      return acc;
    }
  };
  struct Bytes {
    using Activation = uint8_t;
    using Wide = __m256i;
    static constexpr int kGroup = 4;
    static Wide load(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    template <bool Signed>
    static Wide pick(const uint8_t* p, const int32_t* windows, const uint8_t* index) {
      const __m256i c = _mm256_set_m128i(sixteen(p + windows[1]), sixteen(p + windows[0]));
      const __m256i codes = _mm256_shuffle_epi8(c, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)));
      return Signed ? _mm256_xor_si256(codes, _mm256_set1_epi8(-128)) : codes;
    }
    static void store(uint8_t* p, Wide x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
    static Wide broadcast(const uint8_t* p) {
      int32_t four;
      __builtin_memcpy(&four, p, sizeof four);
      return _mm256_set1_epi32(four);
    }
    static I32 dot(I32 acc, Wide a, Wide b) {
      asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
      return acc;
    }
  };
  using Operand = Bytes;

  struct Taps : Bytes {
    static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};
    using Rows = __m128i;
    using Bytes::load;
    static Wide load(const uint8_t* p) { return load(reinterpret_cast<const int8_t*>(p)); }
    template <bool Signed>
    static Rows rows16(const uint8_t* p) {
      return sixteen(p);
    }
    // Four rows of 16 bytes; bytes and then words are interleaved within halves, which hold channels from 0 and from 8.
    template <bool Signed, int V>
    static Wide zip(const Rows* x) {
      const __m256i low = halves(_mm_unpacklo_epi8(x[0], x[1]), _mm_unpackhi_epi8(x[0], x[1]));
      const __m256i high = halves(_mm_unpacklo_epi8(x[2], x[3]), _mm_unpackhi_epi8(x[2], x[3]));
      const __m256i quads = V == 0 ? _mm256_unpacklo_epi16(low, high) : _mm256_unpackhi_epi16(low, high);
      return Signed ? _mm256_xor_si256(quads, _mm256_set1_epi8(-128)) : quads;
    }

   private:
    static __m256i halves(__m128i low, __m128i high) { return _mm256_set_m128i(high, low); }
  };

 private:
  static __m128i sixteen(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
};

}  // namespace octensor::simd
