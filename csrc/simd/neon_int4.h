// 4-bit weights on NEON: smull of signed bytes (a nibble is one), pairwise added into int32. The contract of each
// operation is in simd/int4.h.
#pragma once
#include "simd/int4.h"
#include "simd/neon.h"

namespace octensor::simd {

template <>
struct Int4<Neon> {
  static constexpr int kRows = 2;
  static constexpr bool kDrains = true;
  using Bytes = int8x16x2_t;
  using I32 = Neon::I32;
  struct Sum {  // int16 pairs of each column, four columns to a quad
    int16x8_t quad[2];
  };

  static Bytes load(const uint8_t* p) {
    return {{vreinterpretq_s8_u8(vld1q_u8(p)), vreinterpretq_s8_u8(vld1q_u8(p + 16))}};
  }
  static void store(uint8_t* p, Bytes x) {
    vst1q_u8(p, vreinterpretq_u8_s8(x.val[0]));
    vst1q_u8(p + 16, vreinterpretq_u8_s8(x.val[1]));
  }
  static Bytes low(Bytes x) {
    const int8x16_t mask = vdupq_n_s8(15);
    return {{vandq_s8(x.val[0], mask), vandq_s8(x.val[1], mask)}};
  }
  static Bytes high(Bytes x) {
    return {{vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(x.val[0]), 4)),
             vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(x.val[1]), 4))}};
  }
  static Bytes quad(const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
    return {{x, x}};
  }
  static Sum first(Bytes w, Bytes a) { return {{products(w.val[0], a.val[0]), products(w.val[1], a.val[1])}}; }
  static Sum step(Sum sum, Bytes w, Bytes a) {
    const Sum more = first(w, a);
    return {{vaddq_s16(sum.quad[0], more.quad[0]), vaddq_s16(sum.quad[1], more.quad[1])}};
  }
  static I32 drain(I32 acc, Sum sum) {
    return {{vpadalq_s16(acc.val[0], sum.quad[0]), vpadalq_s16(acc.val[1], sum.quad[1])}};
  }
  template <int I>
  static I32 nibble(I32 x) {
    return {{quarter<I>(x.val[0]), quarter<I>(x.val[1])}};
  }

 private:
  // Neighbouring products added: two int16 per column.
  static int16x8_t products(int8x16_t w, int8x16_t a) {
    return vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a)), vmull_high_s8(w, a));
  }
  template <int I>
  static int32x4_t quarter(int32x4_t x) {
    uint32x4_t u = vreinterpretq_u32_s32(x);
    if constexpr (I > 0) u = vshrq_n_u32(u, 4 * I);
    return vreinterpretq_s32_u32(vandq_u32(u, vdupq_n_u32(15)));
  }
};

}  // namespace octensor::simd
