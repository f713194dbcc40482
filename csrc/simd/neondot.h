// NEON with the dot-product extension: four K at a time through sdot, which multiplies signed bytes and
// adds the four products to an int32 lane. Activations stay bytes (unsigned codes with their top bit
// flipped); the driver folds the zero point into a correction per column. Everything else is NEON's.
#pragma once
#include "simd/neon.h"

namespace octensor::simd {

struct NeonDot : Neon {
  static constexpr int kRows = 6;
  struct Bytes {
    using Activation = int8_t;
    using Wide = int8x16x2_t;
    static constexpr int kGroup = 4;
    static Wide load(const int8_t* p) { return {{vld1q_s8(p), vld1q_s8(p + 16)}}; }
    template <bool Signed>
    static Wide pick(const uint8_t* p, const int32_t* windows, const uint8_t* index) {
      const uint8x16_t flip = vdupq_n_u8(Signed ? 0 : 0x80);
      const uint8x16_t low = vqtbl1q_u8(vld1q_u8(p + windows[0]), vld1q_u8(index));
      const uint8x16_t high = vqtbl1q_u8(vld1q_u8(p + windows[1]), vld1q_u8(index + 16));
      return {{vreinterpretq_s8_u8(veorq_u8(low, flip)), vreinterpretq_s8_u8(veorq_u8(high, flip))}};
    }
    static void store(int8_t* p, Wide x) {
      vst1q_s8(p, x.val[0]);
      vst1q_s8(p + 16, x.val[1]);
    }
    static Wide broadcast(const int8_t* p) {
      int32_t four;
      __builtin_memcpy(&four, p, sizeof four);
      const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
      return {{x, x}};
    }
    static I32 dot(I32 acc, Wide a, Wide b) {
      return {{vdotq_s32(acc.val[0], a.val[0], b.val[0]), vdotq_s32(acc.val[1], a.val[1], b.val[1])}};
    }
  };
  using Operand = Bytes;
  struct Taps : Bytes {
    static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    using Rows = uint8x16_t;
    template <bool Signed>
    static Rows rows16(const uint8_t* p) {
      return Signed ? vld1q_u8(p) : veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80));
    }
    template <bool Signed, int V>
    static Wide zip(const Rows* x) {
      const auto pairs = [](Rows p, Rows q) {
        return vreinterpretq_s16_u8(V == 0 ? vzip1q_u8(p, q) : vzip2q_u8(p, q));
      };
      const int16x8x2_t quads = vzipq_s16(pairs(x[0], x[1]), pairs(x[2], x[3]));
      return {{vreinterpretq_s8_s16(quads.val[0]), vreinterpretq_s8_s16(quads.val[1])}};
    }
  };
};

}  // namespace octensor::simd
