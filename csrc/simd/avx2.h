// AVX2: 8 lanes. Two exact products of 8-bit codes:
//   Words  pairs of K through vpmaddwd on 16-bit operands, which no 8-bit code with any zero point overflows
//   Mixed  groups of four K through vpmaddubsw and vpmaddwd, in forms of which the weights prove that no sum of 16 bits
//          overflows (kernels/mixed_tile.h), or of magnitudes (kernels/gemm_row.h)
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
  static F32 fsub(F32 x, F32 y) { return _mm256_sub_ps(x, y); }
  static F32 fsqrt(F32 x) { return _mm256_sqrt_ps(x); }
  static F32 ffma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
  static F32 where_greater(F32 x, F32 y, F32 a, F32 b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_GT_OQ));
  }
  static F32 where_number(F32 x, F32 a, F32 b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, x, _CMP_ORD_Q)); }
  static I32 bits(F32 x) { return _mm256_castps_si256(x); }
  static F32 from_bits(I32 x) { return _mm256_castsi256_ps(x); }
  static void transposed(const float* p, int64_t stride, F32 (&rows)[kLanes]) {
    // Halves of rows i and i + 4 side by side: two 4 x 4 transpositions in each register.
    const auto halves = [&](int i, int k) {
      return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + i * stride + k)),
                                  _mm_loadu_ps(p + (i + 4) * stride + k), 1);
    };
    for (int k = 0; k < kLanes; k += 4) {
      const F32 a = halves(0, k), b = halves(1, k), c = halves(2, k), d = halves(3, k);
      const F32 ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
      const F32 ab2 = _mm256_unpackhi_ps(a, b), cd2 = _mm256_unpackhi_ps(c, d);
      rows[k] = _mm256_shuffle_ps(ab, cd, 0x44);
      rows[k + 1] = _mm256_shuffle_ps(ab, cd, 0xEE);
      rows[k + 2] = _mm256_shuffle_ps(ab2, cd2, 0x44);
      rows[k + 3] = _mm256_shuffle_ps(ab2, cd2, 0xEE);
    }
  }
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
    template <bool Signed>
    static Wide pick(const uint8_t* p, const int32_t* windows, const uint8_t* index) {
      const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + windows[0]));
      const __m128i codes = _mm_shuffle_epi8(c, _mm_loadu_si128(reinterpret_cast<const __m128i*>(index)));
      return Signed ? _mm256_cvtepi8_epi16(codes) : _mm256_cvtepu8_epi16(codes);
    }
    static Wide set(int16_t x) { return _mm256_set1_epi16(x); }
    static Wide add(Wide x, Wide y) { return _mm256_add_epi16(x, y); }
    static Wide sub(Wide x, Wide y) { return _mm256_sub_epi16(x, y); }
    template <int N>
    static Wide shift_left(Wide x) {
      return _mm256_slli_epi16(x, N);
    }
    static Wide load(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
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
  struct Mixed {
    using Activation = uint8_t;
    using Wide = __m256i;
    static constexpr int kGroup = 4, kRows = 8, kBlock = 128, kFewRows = 8;
    static Wide load(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static Wide broadcast(const uint8_t* p) {
      int32_t four;
      __builtin_memcpy(&four, p, sizeof four);
      return _mm256_set1_epi32(four);
    }
    // Sums of byte pairs as words; dot sums these by twos.
    static Words::Wide pairs(Wide a, Wide b) { return _mm256_maddubs_epi16(a, b); }
    static I32 dot(I32 acc, Wide a, Wide b) { return Words::dot(acc, pairs(a, b), Words::set(1)); }
    // The first n < kLanes groups of codes and, in place of the others, codes of 128.
    static Wide load_part(const uint8_t* p, int64_t n) {
      const Wide there =
          _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
      return _mm256_blendv_epi8(_mm256_set1_epi8(-128), _mm256_maskload_epi32(reinterpret_cast<const int*>(p), there),
                                there);
    }
    // kLanes groups of kRows rows: out[i] holds group i of all rows.
    static void interleave(const Wide (&rows)[kRows], Wide (&out)[kRows]) {
      for (int i = 0; i < 2; ++i) {  // each half of two registers: rows 0 to 3, then 4 to 7, side by side
        const auto half = [&](int r) {
          return i ? high_halves(rows[r], rows[r + 4]) : low_halves(rows[r], rows[r + 4]);
        };
        const Wide r0 = half(0), r1 = half(1), r2 = half(2), r3 = half(3);
        const Wide low01 = _mm256_unpacklo_epi32(r0, r1), high01 = _mm256_unpackhi_epi32(r0, r1);
        const Wide low23 = _mm256_unpacklo_epi32(r2, r3), high23 = _mm256_unpackhi_epi32(r2, r3);
        out[4 * i] = _mm256_unpacklo_epi64(low01, low23);
        out[4 * i + 1] = _mm256_unpackhi_epi64(low01, low23);
        out[4 * i + 2] = _mm256_unpacklo_epi64(high01, high23);
        out[4 * i + 3] = _mm256_unpackhi_epi64(high01, high23);
      }
    }
    // |a - 128|, and all bits where a < 128, byte by byte; weights with such bits flipped.
    static Wide distances(Wide a) { return _mm256_abs_epi8(_mm256_xor_si256(a, _mm256_set1_epi8(-128))); }
    static Wide below(Wide a) { return _mm256_cmpgt_epi8(a, _mm256_set1_epi8(-1)); }
    static Wide flip(Wide b, Wide bits) { return _mm256_xor_si256(b, bits); }
    // |w| as unsigned bytes, and what flips codes a to the bits of (a - 128) ^ (w < 0 ? -1 : 0).
    static Wide magnitudes(Wide w) { return _mm256_abs_epi8(w); }
    static Wide flips(Wide w) {
      return _mm256_xor_si256(_mm256_cmpgt_epi8(_mm256_setzero_si256(), w), _mm256_set1_epi8(-128));
    }
    // Four bytes of x, four of y, the next four of x ...
    static void store_in_turns(uint8_t* p, Wide x, Wide y) {
      const Wide low = _mm256_unpacklo_epi32(x, y), high = _mm256_unpackhi_epi32(x, y);
      store(p, low_halves(low, high));
      store(p + 32, high_halves(low, high));
    }
    static Wide low_halves(Wide x, Wide y) { return _mm256_permute2x128_si256(x, y, 0x20); }
    static Wide high_halves(Wide x, Wide y) { return _mm256_permute2x128_si256(x, y, 0x31); }
    static void store(uint8_t* p, Wide x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  };
  using Operand = Mixed;

  struct Taps : Words {
    static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};
    using Rows = __m256i;  // as words
    template <bool Signed>
    static Rows rows16(const uint8_t* p) {
      return widen<Signed>(p);
    }
    template <bool Signed, int V>
    static Wide zip(const Rows* rows) {
      return V == 0 ? _mm256_unpacklo_epi16(rows[0], rows[1]) : _mm256_unpackhi_epi16(rows[0], rows[1]);
    }
  };
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

  static I32 fixed(F32 x) { return round(x); }
  static F32 roughly(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }

  struct Codes {
    using Vec = __m256i;
    static constexpr int kCount = 32;
    static Vec load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static void store(uint8_t* p, Vec x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
    static void store_halves(uint8_t* p, uint8_t* q, Vec x) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(x));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm256_extracti128_si256(x, 1));
    }
    // Eights, `stride` apart.
    static void store_quarters(uint8_t* p, int64_t stride, Vec x) {
      const __m128i low = _mm256_castsi256_si128(x), high = _mm256_extracti128_si256(x, 1);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), low);
      _mm_storeh_pd(reinterpret_cast<double*>(p + stride), _mm_castsi128_pd(low));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p + 2 * stride), high);
      _mm_storeh_pd(reinterpret_cast<double*>(p + 3 * stride), _mm_castsi128_pd(high));
    }
    static Vec set(uint8_t x) { return _mm256_set1_epi8(static_cast<char>(x)); }
    static Vec add(Vec x, Vec y) { return _mm256_add_epi8(x, y); }
    template <bool Signed>
    static Vec max(Vec x, Vec y) {
      return Signed ? _mm256_max_epi8(x, y) : _mm256_max_epu8(x, y);
    }
    static Vec narrow(I32 a, I32 b, I32 c, I32 d, int32_t z) {
      const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(z));
      const __m256i ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), zero);
      const __m256i cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), zero);
      // Packing works within 128-bit halves: fours of a, b, c, d, then the rest of each.
      return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
    static Vec narrow_fixed(I32 a, I32 b, I32 c, I32 d, uint16_t limit, bool& near) {
      // The high halves of the minima mean nothing; nothing is below 0 there.
      const __m256i lowest = _mm256_min_epu16(_mm256_min_epu16(a, b), _mm256_min_epu16(c, d));
      const __m256i below = _mm256_subs_epu16(_mm256_set1_epi32(limit), lowest);
      near = !_mm256_testz_si256(below, below);
      // Words of a and b, of c and d, in turns.
      const __m256i ab = _mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xAA);
      const __m256i cd = _mm256_blend_epi16(_mm256_srli_epi32(c, 16), d, 0xAA);
      const __m256i apart = _mm256_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15, 0, 2, 4, 6, 1, 3, 5,
                                             7, 8, 10, 12, 14, 9, 11, 13, 15);
      return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(_mm256_packs_epi16(ab, cd), apart),
                                         _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
    // 16 tables of 16 entries, all indexed by the low four bits; then the high bits choose, one by one.
    static Vec lookup(const uint8_t* table, Vec x) {
      return choose<128>(table, _mm256_and_si256(x, _mm256_set1_epi8(15)), x);
    }

   private:
    template <int Half>
    [[gnu::always_inline]] static Vec choose(const uint8_t* table, Vec low, Vec x) {
      if constexpr (Half == 8) {
        return _mm256_shuffle_epi8(
            _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), low);
      } else {
        constexpr int kShift = Half == 128 ? 0 : Half == 64 ? 1 : Half == 32 ? 2 : 3;  // that bit to each byte's top
        return _mm256_blendv_epi8(choose<Half / 2>(table, low, x), choose<Half / 2>(table + Half, low, x),
                                  _mm256_slli_epi16(x, kShift));
      }
    }
  };
};

}  // namespace octensor::simd
