// NEON, the aarch64 baseline: 8 lanes as two quads, one K at a time through smlal on int16 operands.
// The contract of each operation is in simd/scalar.h.
#pragma once
#include <arm_neon.h>

#include <cstdint>

namespace octensor::simd {

struct Neon {
  static constexpr int kLanes = 8, kGroup = 1, kRows = 4, kPanel = 2 * kLanes;
  using I32 = int32x4x2_t;
  using F32 = float32x4x2_t;
  using Wide = int16x8_t;
  using Activation = int16_t;

  static I32 set(int32_t x) { return {{vdupq_n_s32(x), vdupq_n_s32(x)}}; }
  static I32 load(const int32_t* p) { return {{vld1q_s32(p), vld1q_s32(p + 4)}}; }
  static void store(int32_t* p, I32 x) {
    vst1q_s32(p, x.val[0]);
    vst1q_s32(p + 4, x.val[1]);
  }
  static I32 add(I32 x, I32 y) { return {{vaddq_s32(x.val[0], y.val[0]), vaddq_s32(x.val[1], y.val[1])}}; }
  static I32 sub(I32 x, I32 y) { return {{vsubq_s32(x.val[0], y.val[0]), vsubq_s32(x.val[1], y.val[1])}}; }
  static I32 mul(I32 x, I32 y) { return {{vmulq_s32(x.val[0], y.val[0]), vmulq_s32(x.val[1], y.val[1])}}; }
  template <bool Signed>
  static I32 load_codes(const uint8_t* p) {
    const int16x8_t w = widen<Signed>(p);
    return {{vmovl_s16(vget_low_s16(w)), vmovl_high_s16(w)}};
  }
  static void store_codes(uint8_t* p, I32 x) {
    const int16x8_t words = vcombine_s16(vmovn_s32(x.val[0]), vmovn_s32(x.val[1]));
    vst1_u8(p, vreinterpret_u8_s8(vmovn_s16(words)));
  }

  static F32 fset(float x) { return {{vdupq_n_f32(x), vdupq_n_f32(x)}}; }
  static F32 fload(const float* p) { return {{vld1q_f32(p), vld1q_f32(p + 4)}}; }
  static void fstore(float* p, F32 x) {
    vst1q_f32(p, x.val[0]);
    vst1q_f32(p + 4, x.val[1]);
  }
  static F32 fadd(F32 x, F32 y) { return {{vaddq_f32(x.val[0], y.val[0]), vaddq_f32(x.val[1], y.val[1])}}; }
  static F32 fmul(F32 x, F32 y) { return {{vmulq_f32(x.val[0], y.val[0]), vmulq_f32(x.val[1], y.val[1])}}; }
  static F32 fdiv(F32 x, F32 y) { return {{vdivq_f32(x.val[0], y.val[0]), vdivq_f32(x.val[1], y.val[1])}}; }
  static F32 fmin(F32 x, F32 y) { return {{vminq_f32(x.val[0], y.val[0]), vminq_f32(x.val[1], y.val[1])}}; }
  static F32 fmax(F32 x, F32 y) { return {{vmaxq_f32(x.val[0], y.val[0]), vmaxq_f32(x.val[1], y.val[1])}}; }
  static F32 nan_to_zero(F32 x) { return {{number(x.val[0]), number(x.val[1])}}; }
  static F32 to_float(I32 x) { return {{vcvtq_f32_s32(x.val[0]), vcvtq_f32_s32(x.val[1])}}; }
  static I32 round(F32 x) { return {{vcvtnq_s32_f32(x.val[0]), vcvtnq_s32_f32(x.val[1])}}; }
  static I32 round_low(F32 x) { return round(x); }  // saturates

  static F32 pow2(I32 n) {
    const I32 biased = add(n, set(127));
    return {
        {vreinterpretq_f32_s32(vshlq_n_s32(biased.val[0], 23)), vreinterpretq_f32_s32(vshlq_n_s32(biased.val[1], 23))}};
  }

  template <bool Signed>
  static Wide widen(const uint8_t* p) {
    const uint8x8_t c = vld1_u8(p);
    return Signed ? vmovl_s8(vreinterpret_s8_u8(c)) : vreinterpretq_s16_u16(vmovl_u8(c));
  }
  static Wide load_weights(const int8_t* p) { return widen<true>(reinterpret_cast<const uint8_t*>(p)); }
  static Wide wide_set(int16_t x) { return vdupq_n_s16(x); }
  static Wide wide_sub(Wide x, Wide y) { return vsubq_s16(x, y); }
  static Wide wide_load(const int16_t* p) { return vld1q_s16(p); }
  static void wide_store(int16_t* p, Wide x) { vst1q_s16(p, x); }
  static Wide broadcast(const int16_t* p) { return vld1q_dup_s16(p); }
  static I32 dot(I32 acc, Wide a, Wide b) {
    return {{vmlal_s16(acc.val[0], vget_low_s16(a), vget_low_s16(b)), vmlal_high_s16(acc.val[1], a, b)}};
  }
  static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  using Codes = int16x8x2_t;
  template <bool Signed>
  static Codes codes16(const uint8_t* p) {
    return {{widen<Signed>(p), widen<Signed>(p + 8)}};
  }
  template <bool Signed, int V>
  static Wide zip(const Codes* rows) {
    return rows[0].val[V];
  }
  struct Finish {
    int16_t shift;
    uint8_t base;
  };
  static void store_two(uint8_t* p, uint8_t* q, const Finish& f, I32 x0, I32 x1, I32 y0, I32 y1) {
    const auto codes = [&](I32 v) {
      const int16x8_t words = vcombine_s16(vqmovn_s32(v.val[0]), vqmovn_s32(v.val[1]));
      return vadd_u8(vqmovun_s16(vqaddq_s16(words, vdupq_n_s16(f.shift))), vdup_n_u8(f.base));
    };
    vst1q_u8(p, vcombine_u8(codes(x0), codes(x1)));
    vst1q_u8(q, vcombine_u8(codes(y0), codes(y1)));
  }

 private:
  static float32x4_t number(float32x4_t x) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), vceqq_f32(x, x)));
  }
};

}  // namespace octensor::simd
