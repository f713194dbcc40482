// AVX-512 with VNNI: 16 lanes, four K at a time through vpdpbusd, which multiplies unsigned by signed
// bytes and adds the four products to an int32 lane without saturating on the way. Activations stay
// bytes (signed codes with their top bit flipped); the driver folds the zero point into a correction
// per column. The contract of each operation is in simd/scalar.h.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace octensor::simd {

struct Avx512Vnni {
  static constexpr int kLanes = 16, kRows = 12, kPanel = 2 * kLanes;
  using I32 = __m512i;
  using F32 = __m512;

  static I32 set(int32_t x) { return _mm512_set1_epi32(x); }
  static I32 load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static void store(int32_t* p, I32 x) { _mm512_storeu_si512(p, x); }
  static I32 add(I32 x, I32 y) { return _mm512_add_epi32(x, y); }
  static I32 sub(I32 x, I32 y) { return _mm512_sub_epi32(x, y); }
  static I32 mul(I32 x, I32 y) { return _mm512_mullo_epi32(x, y); }
  template <int N>
  static I32 shift_left(I32 x) {
    return _mm512_slli_epi32(x, N);
  }
  template <int N>
  static I32 shift_right(I32 x) {
    return _mm512_srai_epi32(x, N);
  }
  template <bool Signed>
  static I32 load_codes(const uint8_t* p) {
    const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return Signed ? _mm512_cvtepi8_epi32(c) : _mm512_cvtepu8_epi32(c);
  }
  static void store_codes(uint8_t* p, I32 x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  }
  static void store_panel(uint8_t* p, I32 x, I32 y) {
    store_codes(p, x);
    store_codes(p + kLanes, y);
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
  static F32 fsub(F32 x, F32 y) { return _mm512_sub_ps(x, y); }
  static F32 fsqrt(F32 x) { return _mm512_sqrt_ps(x); }
  static F32 ffma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
  static F32 where_greater(F32 x, F32 y, F32 a, F32 b) {
    return _mm512_mask_mov_ps(b, _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ), a);
  }
  static F32 where_number(F32 x, F32 a, F32 b) {
    return _mm512_mask_mov_ps(b, _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), a);
  }
  static I32 bits(F32 x) { return _mm512_castps_si512(x); }
  static F32 from_bits(I32 x) { return _mm512_castsi512_ps(x); }
  static void transposed(const float* p, int64_t stride, F32 (&rows)[kLanes]) {
    // Quarters of rows i, i + 4, i + 8, i + 12 side by side: four 4 x 4 transpositions in each register.
    const auto quarters = [&](int i, int k) {
      const auto quarter = [&](int at) { return _mm_loadu_ps(p + (i + at) * stride + k); };
      const __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(quarter(0)), quarter(4), 1);
      const __m256 high = _mm256_insertf128_ps(_mm256_castps128_ps256(quarter(8)), quarter(12), 1);
      return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
    };
    for (int k = 0; k < kLanes; k += 4) {
      const F32 a = quarters(0, k), b = quarters(1, k), c = quarters(2, k), d = quarters(3, k);
      const F32 ab = _mm512_unpacklo_ps(a, b), cd = _mm512_unpacklo_ps(c, d);
      const F32 ab2 = _mm512_unpackhi_ps(a, b), cd2 = _mm512_unpackhi_ps(c, d);
      rows[k] = _mm512_shuffle_ps(ab, cd, 0x44);
      rows[k + 1] = _mm512_shuffle_ps(ab, cd, 0xEE);
      rows[k + 2] = _mm512_shuffle_ps(ab2, cd2, 0x44);
      rows[k + 3] = _mm512_shuffle_ps(ab2, cd2, 0xEE);
    }
  }
  static F32 to_float(I32 x) { return _mm512_cvtepi32_ps(x); }
  static I32 round(F32 x) { return _mm512_cvtps_epi32(x); }
  static F32 pow2(I32 n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
  }

  struct Words {
    using Activation = int16_t;
    using Wide = __m512i;
    static constexpr int kGroup = 2;
    template <bool Signed>
    static Wide widen(const uint8_t* p) {
      const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      return Signed ? _mm512_cvtepi8_epi16(c) : _mm512_cvtepu8_epi16(c);
    }
    template <bool Signed>
    static Wide pick(const uint8_t* p, const int32_t* windows, const uint8_t* index) {
      const __m256i c = _mm256_set_m128i(window(p + windows[1]), window(p + windows[0]));
      const __m256i codes = _mm256_shuffle_epi8(c, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)));
      return Signed ? _mm512_cvtepi8_epi16(codes) : _mm512_cvtepu8_epi16(codes);
    }
    static Wide set(int16_t x) { return _mm512_set1_epi16(x); }
    static Wide add(Wide x, Wide y) { return _mm512_add_epi16(x, y); }
    static Wide sub(Wide x, Wide y) { return _mm512_sub_epi16(x, y); }
    template <int N>
    static Wide shift_left(Wide x) {
      return _mm512_slli_epi16(x, N);
    }
    static Wide load(const int16_t* p) { return _mm512_loadu_si512(p); }
    static void store(int16_t* p, Wide x) { _mm512_storeu_si512(p, x); }
    static Wide broadcast(const int16_t* p) { return _mm512_set1_epi32(four_bytes(p)); }
    static I32 dot(I32 acc, Wide a, Wide b) {
      asm("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
      return acc;
    }
  };
  struct Bytes {
    using Activation = uint8_t;
    using Wide = __m512i;
    static constexpr int kGroup = 4;
    static Wide load(const int8_t* p) { return _mm512_loadu_si512(p); }
    template <bool Signed>
    static Wide pick(const uint8_t* p, const int32_t* windows, const uint8_t* index) {
      __m512i c;
      if (windows[0] == windows[1] && windows[0] == windows[2] && windows[0] == windows[3]) {
        c = _mm512_broadcast_i32x4(window(p + windows[0]));
      } else {
        const __m256i low = _mm256_set_m128i(window(p + windows[1]), window(p + windows[0]));
        const __m256i high = _mm256_set_m128i(window(p + windows[3]), window(p + windows[2]));
        c = _mm512_maskz_inserti64x4(0xFF, _mm512_castsi256_si512(low), high, 1);
      }
      const __m512i codes = _mm512_shuffle_epi8(c, _mm512_loadu_si512(index));
      return Signed ? _mm512_xor_si512(codes, _mm512_set1_epi8(-128)) : codes;
    }
    static void store(uint8_t* p, Wide x) { _mm512_storeu_si512(p, x); }
    static Wide broadcast(const uint8_t* p) { return _mm512_set1_epi32(four_bytes(p)); }
    static I32 dot(I32 acc, Wide a, Wide b) {
      asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
      return acc;
    }
  };
  using Operand = Bytes;

  struct Taps : Bytes {
    static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    using Rows = __m128i;
    using Bytes::load;
    static Wide load(const uint8_t* p) { return _mm512_loadu_si512(p); }
    template <bool Signed>
    static Rows rows16(const uint8_t* p) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    }
    // Four rows of 16 bytes; the 4 x 4 dwords are transposed, then the 4 x 4 bytes of every 128-bit lane.
    template <bool Signed, int V>
    static Wide zip(const Rows* x) {
      const __m512i rows =
          _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(x[1], x[0])), _mm256_set_m128i(x[3], x[2]), 1);
      const __m512i dwords =
          _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), rows);
      const __m512i bytes = _mm512_shuffle_epi8(
          dwords, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
      return Signed ? _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) : bytes;
    }
  };
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

  static I32 fixed(F32 x) { return round(x); }
  static F32 roughly(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }

  struct Codes {
    using Vec = __m512i;
    static constexpr int kCount = 64;
    static Vec load(const uint8_t* p) { return _mm512_loadu_si512(p); }
    static void store(uint8_t* p, Vec x) { _mm512_storeu_si512(p, x); }
    static void store_halves(uint8_t* p, uint8_t* q, Vec x) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(x));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm512_extracti64x4_epi64(x, 1));
    }
    static Vec set(uint8_t x) { return _mm512_set1_epi8(static_cast<char>(x)); }
    static Vec add(Vec x, Vec y) { return _mm512_add_epi8(x, y); }
    template <bool Signed>
    static Vec max(Vec x, Vec y) {
      return Signed ? _mm512_max_epi8(x, y) : _mm512_max_epu8(x, y);
    }
    static Vec narrow(I32 a, I32 b, I32 c, I32 d, int32_t z) {
      const __m512i zero = _mm512_set1_epi16(static_cast<int16_t>(z));
      const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero);
      const __m512i cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero);
      // Packing works within 128-bit quarters: fours of a, b, c, d in each.
      const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
      return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(ab, cd));
    }
    static Vec narrow_fixed(I32 a, I32 b, I32 c, I32 d, uint16_t limit, bool& near) {
      const __m512i lowest = _mm512_min_epu16(_mm512_min_epu16(a, b), _mm512_min_epu16(c, d));
      near = _mm512_cmplt_epu16_mask(lowest, _mm512_set1_epi32(limit)) != 0;  // (the high halves: below 0, never)
      // Words of a and b, of c and d, in turns.
      constexpr __mmask32 kOdd = 0xAAAAAAAA;
      const __m512i ab = _mm512_mask_blend_epi16(kOdd, _mm512_srli_epi32(a, 16), b);
      const __m512i cd = _mm512_mask_blend_epi16(kOdd, _mm512_srli_epi32(c, 16), d);
      const __m512i apart = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
      const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
      return _mm512_permutexvar_epi32(order, _mm512_shuffle_epi8(_mm512_packs_epi16(ab, cd), apart));
    }
    // The table as 128 words of two entries: bits 1 to 6 of a code index one half of it, bit 7 chooses the half,
    // bit 0 the byte. Codes at even and at odd places take their turns as words.
    static Vec lookup(const uint8_t* table, Vec x) {
      const __m512i even = entries(table, _mm512_and_si512(x, _mm512_set1_epi16(255)));
      const __m512i odd = entries(table, _mm512_srli_epi16(x, 8));
      return _mm512_mask_mov_epi8(even, 0xAAAAAAAAAAAAAAAA, _mm512_slli_epi16(odd, 8));
    }

   private:
    // Words with a code each -> words with its entry in the low byte and anything in the high one.
    [[gnu::always_inline]] static Vec entries(const uint8_t* table, Vec code) {
      const __m512i at = _mm512_srli_epi16(code, 1);
      const __m512i low = _mm512_permutex2var_epi16(load(table), at, load(table + 64));
      const __m512i high = _mm512_permutex2var_epi16(load(table + 128), at, load(table + 192));
      const __m512i pair = _mm512_mask_mov_epi16(low, _mm512_test_epi16_mask(code, _mm512_set1_epi16(128)), high);
      return _mm512_mask_srli_epi16(pair, _mm512_test_epi16_mask(code, _mm512_set1_epi16(1)), pair, 8);
    }
  };

 private:
  static __m128i window(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static int32_t four_bytes(const void* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return four;
  }
};

}  // namespace octensor::simd
