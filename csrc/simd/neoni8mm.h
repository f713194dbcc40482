// NEON with the 8-bit matrix multiply: usmmla multiplies two rows of eight unsigned bytes with two columns of eight
// signed ones and adds the 2 x 2 sums of eight products to four int32 lanes, twice as many as a dot product. Its GEMM
// therefore works on blocks of two rows and two columns (kernels/tile_blocks.h). Elsewhere usdot multiplies unsigned by
// signed bytes. Activations stay bytes (signed codes with their top bit flipped): codes of quint8 are read as they are.
// Everything else is NeonDot's.
#pragma once
#include "simd/neondot.h"

namespace octensor::simd {

struct NeonI8mm : NeonDot {
  static constexpr int kRows = 6;  // 24 blocks, 3 pairs of rows and 5 registers for columns to pass through

  struct Bytes {
    using Activation = uint8_t;
    using Wide = int8x16x2_t;
    static constexpr int kGroup = 4;
    static Wide load(const int8_t* p) { return {{vld1q_s8(p), vld1q_s8(p + 16)}}; }
    template <bool Signed>
    static Wide pick(const uint8_t* p, const int32_t* windows, const uint8_t* index) {
      const uint8x16_t flip = vdupq_n_u8(Signed ? 0x80 : 0);
      const uint8x16_t low = vqtbl1q_u8(vld1q_u8(p + windows[0]), vld1q_u8(index));
      const uint8x16_t high = vqtbl1q_u8(vld1q_u8(p + windows[1]), vld1q_u8(index + 16));
      return {{vreinterpretq_s8_u8(veorq_u8(low, flip)), vreinterpretq_s8_u8(veorq_u8(high, flip))}};
    }
    static void store(uint8_t* p, Wide x) {
      vst1q_u8(p, unsigned_of(x.val[0]));
      vst1q_u8(p + 16, unsigned_of(x.val[1]));
    }
    static I32 dot(I32 acc, Wide a, Wide b) {
      return {{vusdotq_s32(acc.val[0], unsigned_of(a.val[0]), b.val[0]),
               vusdotq_s32(acc.val[1], unsigned_of(a.val[1]), b.val[1])}};
    }

   private:
    static uint8x16_t unsigned_of(int8x16_t x) { return vreinterpretq_u8_s8(x); }
  };
  struct Taps : Bytes {
    static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    using Rows = uint8x16_t;
    using Bytes::load;
    static Wide load(const uint8_t* p) { return load(reinterpret_cast<const int8_t*>(p)); }
    template <bool Signed>
    static Rows rows16(const uint8_t* p) {
      return Signed ? veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)) : vld1q_u8(p);
    }
    template <bool Signed, int V>
    static Wide zip(const Rows* x) {
      return NeonDot::Taps::template zip<Signed, V>(x);
    }
  };

  // The GEMM's operands: kLanes columns of eight K are four pairs of columns.
  struct Blocks {
    using Activation = uint8_t;
    static constexpr int kGroup = 8;
    using Wide = const int8_t*;  // loaded where they are used
    static Wide load(const int8_t* p) { return p; }
    struct Columns {
      int8x16_t b0, b1, b2, b3;
    };
    static Columns columns(Wide p) { return {vld1q_s8(p), vld1q_s8(p + 16), vld1q_s8(p + 32), vld1q_s8(p + 48)}; }
    using Rows = uint8x16_t;

    struct Sums {
      int32x4_t c0, c1, c2, c3;
    };
    // Two rows: the first's sums for a pair of columns lie in a block's lower half, the second's in its upper.
    struct TwoRows {
      static Rows load(const uint8_t* first, const uint8_t* second) {
        return vcombine_u8(vld1_u8(first), vld1_u8(second));
      }
      static void dot(Sums& c, Rows a, const Columns& b) {
        c.c0 = vusmmlaq_s32(c.c0, a, b.b0);
        c.c1 = vusmmlaq_s32(c.c1, a, b.b1);
        c.c2 = vusmmlaq_s32(c.c2, a, b.b2);
        c.c3 = vusmmlaq_s32(c.c3, a, b.b3);
      }
      static Sums start(const int32_t* first, const int32_t* second) {
        const auto block = [&](int i) { return vcombine_s32(vld1_s32(first + i), vld1_s32(second + i)); };
        return {block(0), block(2), block(4), block(6)};
      }
      static void save(const Sums& c, int32_t* first, int32_t* second) {
        const auto four = [](int32_t* to, int32_t* below, int32x4_t x, int32x4_t y) {
          vst1q_s32(to, vcombine_s32(vget_low_s32(x), vget_low_s32(y)));
          vst1q_s32(below, vcombine_s32(vget_high_s32(x), vget_high_s32(y)));
        };
        four(first, second, c.c0, c.c1);
        four(first + 4, second + 4, c.c2, c.c3);
      }
    };
    // One row: half of a block would be wasted, a dot product wastes nothing. Two lanes per column.
    struct OneRow {
      static Rows load(const uint8_t* row, const uint8_t*) { return vcombine_u8(vld1_u8(row), vld1_u8(row)); }
      static void dot(Sums& c, Rows a, const Columns& b) {
        c.c0 = vusdotq_s32(c.c0, a, b.b0);
        c.c1 = vusdotq_s32(c.c1, a, b.b1);
        c.c2 = vusdotq_s32(c.c2, a, b.b2);
        c.c3 = vusdotq_s32(c.c3, a, b.b3);
      }
      static Sums start(const int32_t* row, const int32_t*) {
        const int32x4_t zero = vdupq_n_s32(0), low = vld1q_s32(row), high = vld1q_s32(row + 4);
        return {vzip1q_s32(low, zero), vzip2q_s32(low, zero), vzip1q_s32(high, zero), vzip2q_s32(high, zero)};
      }
      static void save(const Sums& c, int32_t* row, int32_t*) {
        vst1q_s32(row, vpaddq_s32(c.c0, c.c1));
        vst1q_s32(row + 4, vpaddq_s32(c.c2, c.c3));
      }
    };
  };
  using Operand = Blocks;
};

}  // namespace octensor::simd
