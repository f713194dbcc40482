// NEON, the aarch64 baseline: 8 lanes as two quads, one K at a time through smlal on int16 operands.
// The contract of each operation is in simd/scalar.h.
#pragma once
#include <arm_neon.h>

#include <cstdint>

namespace octensor::simd {

struct Neon {
  static constexpr int kLanes = 8, kRows = 4, kPanel = 2 * kLanes;
  using I32 = int32x4x2_t;
  using F32 = float32x4x2_t;

  static I32 set(int32_t x) { return {{vdupq_n_s32(x), vdupq_n_s32(x)}}; }
  static I32 load(const int32_t* p) { return {{vld1q_s32(p), vld1q_s32(p + 4)}}; }
  static void store(int32_t* p, I32 x) {
    vst1q_s32(p, x.val[0]);
    vst1q_s32(p + 4, x.val[1]);
  }
  static I32 add(I32 x, I32 y) { return {{vaddq_s32(x.val[0], y.val[0]), vaddq_s32(x.val[1], y.val[1])}}; }
  static I32 sub(I32 x, I32 y) { return {{vsubq_s32(x.val[0], y.val[0]), vsubq_s32(x.val[1], y.val[1])}}; }
  static I32 mul(I32 x, I32 y) { return {{vmulq_s32(x.val[0], y.val[0]), vmulq_s32(x.val[1], y.val[1])}}; }
  template <int N>
  static I32 shift_left(I32 x) {
    return {{vshlq_n_s32(x.val[0], N), vshlq_n_s32(x.val[1], N)}};
  }
  template <int N>
  static I32 shift_right(I32 x) {
    return {{vshrq_n_s32(x.val[0], N), vshrq_n_s32(x.val[1], N)}};
  }
  template <bool Signed>
  static I32 load_codes(const uint8_t* p) {
    const int16x8_t w = Words::widen<Signed>(p);
    return {{vmovl_s16(vget_low_s16(w)), vmovl_high_s16(w)}};
  }
  static void store_codes(uint8_t* p, I32 x) {
    const int16x8_t words = vcombine_s16(vmovn_s32(x.val[0]), vmovn_s32(x.val[1]));
    vst1_u8(p, vreinterpret_u8_s8(vmovn_s16(words)));
  }
  static void store_panel(uint8_t* p, I32 x, I32 y) {
    store_codes(p, x);
    store_codes(p + kLanes, y);
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
  static F32 fsub(F32 x, F32 y) { return {{vsubq_f32(x.val[0], y.val[0]), vsubq_f32(x.val[1], y.val[1])}}; }
  static F32 fsqrt(F32 x) { return {{vsqrtq_f32(x.val[0]), vsqrtq_f32(x.val[1])}}; }
  static F32 ffma(F32 a, F32 b, F32 c) {
    return {{vfmaq_f32(c.val[0], a.val[0], b.val[0]), vfmaq_f32(c.val[1], a.val[1], b.val[1])}};
  }
  static F32 where_greater(F32 x, F32 y, F32 a, F32 b) {
    return {{vbslq_f32(vcgtq_f32(x.val[0], y.val[0]), a.val[0], b.val[0]),
             vbslq_f32(vcgtq_f32(x.val[1], y.val[1]), a.val[1], b.val[1])}};
  }
  static F32 where_number(F32 x, F32 a, F32 b) {
    return {{vbslq_f32(vceqq_f32(x.val[0], x.val[0]), a.val[0], b.val[0]),
             vbslq_f32(vceqq_f32(x.val[1], x.val[1]), a.val[1], b.val[1])}};
  }
  static I32 bits(F32 x) { return {{vreinterpretq_s32_f32(x.val[0]), vreinterpretq_s32_f32(x.val[1])}}; }
  static F32 from_bits(I32 x) { return {{vreinterpretq_f32_s32(x.val[0]), vreinterpretq_f32_s32(x.val[1])}}; }
  static void transposed(const float* p, int64_t stride, F32 (&rows)[kLanes]) {
    for (int i = 0; i < kLanes; i += 4)
      for (int k = 0; k < kLanes; k += 4) {
        const float* at = p + i * stride + k;
        const float32x4x2_t ab = vtrnq_f32(vld1q_f32(at), vld1q_f32(at + stride));
        const float32x4x2_t cd = vtrnq_f32(vld1q_f32(at + 2 * stride), vld1q_f32(at + 3 * stride));
        for (int t = 0; t < 2; ++t) {
          rows[k + t].val[i / 4] = vcombine_f32(vget_low_f32(ab.val[t]), vget_low_f32(cd.val[t]));
          rows[k + 2 + t].val[i / 4] = vcombine_f32(vget_high_f32(ab.val[t]), vget_high_f32(cd.val[t]));
        }
      }
  }
  static F32 to_float(I32 x) { return {{vcvtq_f32_s32(x.val[0]), vcvtq_f32_s32(x.val[1])}}; }
  static I32 round(F32 x) { return {{vcvtnq_s32_f32(x.val[0]), vcvtnq_s32_f32(x.val[1])}}; }

  static F32 pow2(I32 n) {
    const I32 biased = add(n, set(127));
    return {
        {vreinterpretq_f32_s32(vshlq_n_s32(biased.val[0], 23)), vreinterpretq_f32_s32(vshlq_n_s32(biased.val[1], 23))}};
  }

  struct Words {
    using Activation = int16_t;
    using Wide = int16x8_t;
    static constexpr int kGroup = 1;
    template <bool Signed>
    static Wide widen(const uint8_t* p) {
      const uint8x8_t c = vld1_u8(p);
      return Signed ? vmovl_s8(vreinterpret_s8_u8(c)) : vreinterpretq_s16_u16(vmovl_u8(c));
    }
    template <bool Signed>
    static Wide pick(const uint8_t* p, const int32_t* windows, const uint8_t* index) {
      const uint8x8_t c = vqtbl1_u8(vld1q_u8(p + windows[0]), vld1_u8(index));
      return Signed ? vmovl_s8(vreinterpret_s8_u8(c)) : vreinterpretq_s16_u16(vmovl_u8(c));
    }
    static Wide set(int16_t x) { return vdupq_n_s16(x); }
    static Wide add(Wide x, Wide y) { return vaddq_s16(x, y); }
    static Wide sub(Wide x, Wide y) { return vsubq_s16(x, y); }
    template <int N>
    static Wide shift_left(Wide x) {
      return vshlq_n_s16(x, N);
    }
    static Wide load(const int16_t* p) { return vld1q_s16(p); }
    static Wide load(const int8_t* p) { return widen<true>(reinterpret_cast<const uint8_t*>(p)); }
    static void store(int16_t* p, Wide x) { vst1q_s16(p, x); }
    static Wide broadcast(const int16_t* p) { return vld1q_dup_s16(p); }
    static I32 dot(I32 acc, Wide a, Wide b) {
      return {{vmlal_s16(acc.val[0], vget_low_s16(a), vget_low_s16(b)), vmlal_high_s16(acc.val[1], a, b)}};
    }
  };
  using Operand = Words;

  struct Taps : Words {
    static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    using Rows = int16x8x2_t;
    template <bool Signed>
    static Rows rows16(const uint8_t* p) {
      return {{widen<Signed>(p), widen<Signed>(p + 8)}};
    }
    template <bool Signed, int V>
    static Wide zip(const Rows* rows) {
      return rows[0].val[V];
    }
  };
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

  static I32 fixed(F32 x) { return round(x); }
  static F32 roughly(F32 a, F32 b, F32 c) {
    return {{vfmaq_f32(c.val[0], a.val[0], b.val[0]), vfmaq_f32(c.val[1], a.val[1], b.val[1])}};
  }

  struct Codes {
    using Vec = uint8x16x2_t;
    static constexpr int kCount = 32;
    static Vec load(const uint8_t* p) { return {{vld1q_u8(p), vld1q_u8(p + 16)}}; }
    static void store(uint8_t* p, Vec x) {
      vst1q_u8(p, x.val[0]);
      vst1q_u8(p + 16, x.val[1]);
    }
    static void store_halves(uint8_t* p, uint8_t* q, Vec x) {
      vst1q_u8(p, x.val[0]);
      vst1q_u8(q, x.val[1]);
    }
    static Vec set(uint8_t x) { return {{vdupq_n_u8(x), vdupq_n_u8(x)}}; }
    static Vec add(Vec x, Vec y) { return {{vaddq_u8(x.val[0], y.val[0]), vaddq_u8(x.val[1], y.val[1])}}; }
    template <bool Signed>
    static Vec max(Vec x, Vec y) {
      if constexpr (Signed)
        return {{as_unsigned(vmaxq_s8(as_signed(x.val[0]), as_signed(y.val[0]))),
                 as_unsigned(vmaxq_s8(as_signed(x.val[1]), as_signed(y.val[1])))}};
      else
        return {{vmaxq_u8(x.val[0], y.val[0]), vmaxq_u8(x.val[1], y.val[1])}};
    }
    static Vec narrow(I32 a, I32 b, I32 c, I32 d, int32_t z) {
      const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(z));
      auto eight = [&](I32 x) {
        return vqmovn_s16(vqaddq_s16(vcombine_s16(vqmovn_s32(x.val[0]), vqmovn_s32(x.val[1])), zero));
      };
      return {{as_unsigned(vcombine_s8(eight(a), eight(b))), as_unsigned(vcombine_s8(eight(c), eight(d)))}};
    }
    static Vec narrow_fixed(I32 a, I32 b, I32 c, I32 d, uint16_t limit, bool& near) {
      uint16x8_t low = vdupq_n_u16(UINT16_MAX);
      auto eight = [&](I32 x) {
        const int16x8_t first = vreinterpretq_s16_s32(x.val[0]), second = vreinterpretq_s16_s32(x.val[1]);
        low = vminq_u16(low, vreinterpretq_u16_s16(vuzp1q_s16(first, second)));
        return vqmovn_s16(vuzp2q_s16(first, second));
      };
      const Vec codes = {{as_unsigned(vcombine_s8(eight(a), eight(b))), as_unsigned(vcombine_s8(eight(c), eight(d)))}};
      near = vminvq_u16(low) < limit;
      return codes;
    }
    static Vec lookup(const uint8_t* table, Vec x) { return {{entries(table, x.val[0]), entries(table, x.val[1])}}; }

   private:
    static int8x16_t as_signed(uint8x16_t x) { return vreinterpretq_s8_u8(x); }
    static uint8x16_t as_unsigned(int8x16_t x) { return vreinterpretq_u8_s8(x); }
    // Indices beyond a quarter of 64 entries leave what was found before.
    static uint8x16_t entries(const uint8_t* table, uint8x16_t x) {
      uint8x16_t found = vdupq_n_u8(0);
      for (int quarter = 0; quarter < 4; ++quarter) {
        const uint8_t* t = table + 64 * quarter;
        const uint8x16x4_t q = {{vld1q_u8(t), vld1q_u8(t + 16), vld1q_u8(t + 32), vld1q_u8(t + 48)}};
        found = vqtbx4q_u8(found, q, vsubq_u8(x, vdupq_n_u8(static_cast<uint8_t>(64 * quarter))));
      }
      return found;
    }
  };

 private:
  static float32x4_t number(float32x4_t x) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), vceqq_f32(x, x)));
  }
};

}  // namespace octensor::simd
