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
};

}  // namespace octensor::simd
