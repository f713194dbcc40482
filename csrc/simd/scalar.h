// The portable instruction set, and the contract that every instruction set fulfils.
//
// A struct of this kind is the template argument of all kernels. It names vector types and the few
// operations that kernels are written in; every operation is defined per lane, with these bits:
//   kLanes              int32 lanes of I32 and float lanes of F32
//   kRows               rows of the GEMM tile; its columns are kPanel = 2 * kLanes
//   Words               16-bit operands of exact products, as a nested struct (every set has it)
//   Operand             the operands of the 8-bit GEMM: Words, whose activations hold code minus zero point, or
//                       Bytes, whose activations hold the code itself (shifted by 128 where its signedness is
//                       the other; the driver corrects for the zero point per column), or
//                       Mixed (AVX2; kernels/mixed_tile.h), or
//                       Blocks (kernels/tile_blocks.h): as Bytes, but sums are blocks of two rows and two columns
// An operand struct has
//   Activation          int16_t in Words; uint8_t or int8_t in Bytes
//   kGroup              K elements that one dot step consumes
//   Wide                kLanes * kGroup values as dot takes them
//   load                as many weights: from int8_t in an Operand, from int16_t in Words
//   broadcast           kGroup activations, repeated
//   dot(acc, a, b)      acc[i] + sum over g of a[i * kGroup + g] * b[i * kGroup + g], exact in int32 as long as
//                       no pair of Words sums beyond it
//   pick<Signed>        as many 8-bit codes: value i is p[windows[i / 16] + index[i]], index below 16, whole windows
//                       of 16 read; as Activation has them (in Words without the zero point subtracted)
//   store               a Wide
// and Words also widen<Signed> (kLanes * kGroup 8-bit codes as Wide), set, add, sub and shift_left<N> (modulo 2^16).
// The rest:
//   shift_left<N>, shift_right<N>   of int32, the latter copying the sign
//   store_panel         the low bytes of kPanel lanes, in two vectors
//   store_two           16 codes twice, each max(sum + shift, 0) + base modulo 256, from sums of at most 255 - shift in
//                       the order of Taps::zip; Finish{shift, base} are int16 and a byte
//   nan_to_zero, fmin, fmax   the latter two may return either operand where one is NaN
//   ffma(a, b, c)       a * b + c, rounded once
//   where_greater(x, y, a, b), where_number(x, a, b)   a where x > y, or where x is no NaN, else b
//   bits, from_bits     a float's bits as int32, and back
//   transposed(p, stride, rows)  rows[k][i] = p[i * stride + k], kLanes of each
//   pow2                2 to the power of an integer in [-126, 127]
//   round               nearest int32, ties to even; the argument is inside int32
//   fixed               nearest int32 for any argument; where there is none, a number whose low 16 bits are 0, or
//                       (not for NaN) int32's end on that side
//   roughly(a, b, c)    a * b + c, rounded once or twice: for estimates whose error is bounded, never for results
// Taps is the operand form of depthwise convolution, with besides
//   Rows, rows16<Signed>   16 channels' codes of one row, on their way to
//   zip<Signed, V>      the V-th kLanes of these channels, of kGroup rows, as dot takes them: a channel's codes side by
//                       side, their zero point not subtracted; kOrder says which channel comes where
// Codes is the nested struct of whole vectors of 8-bit codes, for kernels that only move or compare them:
//   kCount              4 * kLanes codes in a Vec
//   load, store, set, add (wrapping); store_halves (each half to a place of its own)
//   max<Signed>         of bytes, signed or unsigned
//   narrow(a, b, c, d, z)  four I32, in this order, each saturated to int16, z added saturating, then saturated to int8
//   narrow_fixed(a, b, c, d, limit, near)  the same of the high halves, without z; sets near where any low half,
//                       unsigned, is below limit
//   lookup(table, x)    table[x]: 256 bytes, x unsigned
// Float operations round once each; nothing but `ffma` and `roughly` fuses a multiplication with an addition.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace octensor::simd {

struct Scalar {
  static constexpr int kLanes = 4, kRows = 4, kPanel = 2 * kLanes;
  struct I32 {
    int32_t v[kLanes];
  };
  struct F32 {
    float v[kLanes];
  };

  static I32 set(int32_t x) { return {{x, x, x, x}}; }
  static I32 load(const int32_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static void store(int32_t* p, I32 x) { std::memcpy(p, x.v, sizeof x.v); }
  // Wrap-around arithmetic, as the vector instructions have it.
  static I32 add(I32 x, I32 y) {
    return lanes<I32>([&](int i) { return static_cast<int32_t>(uint32_t(x.v[i]) + uint32_t(y.v[i])); });
  }
  static I32 sub(I32 x, I32 y) {
    return lanes<I32>([&](int i) { return static_cast<int32_t>(uint32_t(x.v[i]) - uint32_t(y.v[i])); });
  }
  static I32 mul(I32 x, I32 y) {
    return lanes<I32>([&](int i) { return static_cast<int32_t>(uint32_t(x.v[i]) * uint32_t(y.v[i])); });
  }
  template <int N>
  static I32 shift_left(I32 x) {
    return lanes<I32>([&](int i) { return static_cast<int32_t>(uint32_t(x.v[i]) << N); });
  }
  template <int N>
  static I32 shift_right(I32 x) {
    return lanes<I32>([&](int i) { return x.v[i] >> N; });
  }
  template <bool Signed>
  static I32 load_codes(const uint8_t* p) {
    return lanes<I32>([&](int i) { return code<Signed>(p[i]); });
  }
  static void store_codes(uint8_t* p, I32 x) {
    for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint8_t>(x.v[i]);
  }
  static void store_panel(uint8_t* p, I32 x, I32 y) {
    store_codes(p, x);
    store_codes(p + kLanes, y);
  }

  static F32 fset(float x) { return {{x, x, x, x}}; }
  static F32 fload(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static void fstore(float* p, F32 x) { std::memcpy(p, x.v, sizeof x.v); }
  static F32 fadd(F32 x, F32 y) {
    return lanes<F32>([&](int i) { return x.v[i] + y.v[i]; });
  }
  static F32 fmul(F32 x, F32 y) {
    return lanes<F32>([&](int i) { return x.v[i] * y.v[i]; });
  }
  static F32 fdiv(F32 x, F32 y) {
    return lanes<F32>([&](int i) { return x.v[i] / y.v[i]; });
  }
  static F32 fmin(F32 x, F32 y) {
    return lanes<F32>([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
  }
  static F32 fmax(F32 x, F32 y) {
    return lanes<F32>([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
  }
  static F32 nan_to_zero(F32 x) {
    return lanes<F32>([&](int i) { return x.v[i] == x.v[i] ? x.v[i] : 0.0f; });
  }
  static F32 fsub(F32 x, F32 y) {
    return lanes<F32>([&](int i) { return x.v[i] - y.v[i]; });
  }
  static F32 fsqrt(F32 x) {
    return lanes<F32>([&](int i) { return __builtin_sqrtf(x.v[i]); });
  }
  static F32 ffma(F32 a, F32 b, F32 c) {
    return lanes<F32>([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
  }
  static F32 where_greater(F32 x, F32 y, F32 a, F32 b) {
    return lanes<F32>([&](int i) { return x.v[i] > y.v[i] ? a.v[i] : b.v[i]; });
  }
  static F32 where_number(F32 x, F32 a, F32 b) {
    return lanes<F32>([&](int i) { return x.v[i] == x.v[i] ? a.v[i] : b.v[i]; });
  }
  static I32 bits(F32 x) {
    I32 out;
    std::memcpy(out.v, x.v, sizeof out.v);
    return out;
  }
  static F32 from_bits(I32 x) {
    F32 out;
    std::memcpy(out.v, x.v, sizeof out.v);
    return out;
  }
  static void transposed(const float* p, int64_t stride, F32 (&rows)[kLanes]) {
    for (int k = 0; k < kLanes; ++k) rows[k] = lanes<F32>([&](int i) { return p[i * stride + k]; });
  }
  static F32 to_float(I32 x) {
    return lanes<F32>([&](int i) { return static_cast<float>(x.v[i]); });
  }
  static I32 round(F32 x) {
    return lanes<I32>([&](int i) { return static_cast<int32_t>(__builtin_rintf(x.v[i])); });
  }

  static F32 pow2(I32 n) {
    const I32 bits = lanes<I32>([&](int i) { return (n.v[i] + 127) << 23; });
    F32 out;
    std::memcpy(out.v, bits.v, sizeof out.v);
    return out;
  }

  struct Words {
    using Activation = int16_t;
    static constexpr int kGroup = 1;
    struct Wide {
      int16_t v[kLanes * kGroup];
    };
    template <bool Signed>
    static Wide widen(const uint8_t* p) {
      return lanes<Wide>([&](int i) { return static_cast<int16_t>(code<Signed>(p[i])); });
    }
    template <bool Signed>
    static Wide pick(const uint8_t* p, const int32_t* windows, const uint8_t* index) {
      return lanes<Wide>([&](int i) { return static_cast<int16_t>(code<Signed>(p[windows[0] + index[i]])); });
    }
    static Wide set(int16_t x) { return {{x, x, x, x}}; }
    static Wide add(Wide x, Wide y) {
      return lanes<Wide>([&](int i) { return static_cast<int16_t>(x.v[i] + y.v[i]); });
    }
    static Wide sub(Wide x, Wide y) {
      return lanes<Wide>([&](int i) { return static_cast<int16_t>(x.v[i] - y.v[i]); });
    }
    template <int N>
    static Wide shift_left(Wide x) {
      return lanes<Wide>([&](int i) { return static_cast<int16_t>(x.v[i] * (1 << N)); });
    }
    static Wide load(const int16_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
    static Wide load(const int8_t* p) { return widen<true>(reinterpret_cast<const uint8_t*>(p)); }
    static void store(int16_t* p, Wide x) { std::memcpy(p, x.v, sizeof x.v); }
    static Wide broadcast(const int16_t* p) { return set(*p); }
    static I32 dot(I32 acc, Wide a, Wide b) {
      return Scalar::add(acc, lanes<I32>([&](int i) { return a.v[i] * b.v[i]; }));
    }
  };
  using Operand = Words;

  struct Taps : Words {
    static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    using Rows = const uint8_t*;
    template <bool Signed>
    static Rows rows16(const uint8_t* p) {
      return p;
    }
    template <bool Signed, int V>
    static Wide zip(const Rows* rows) {
      return widen<Signed>(rows[0] + V * kLanes);
    }
  };
  struct Finish {
    int16_t shift;
    uint8_t base;
  };
  static void store_two(uint8_t* p, uint8_t* q, const Finish& f, I32 x0, I32 x1, I32 x2, I32 x3, I32 y0, I32 y1, I32 y2,
                        I32 y3) {
    const I32 x[] = {x0, x1, x2, x3}, y[] = {y0, y1, y2, y3};
    for (int i = 0; i < 16; ++i) p[i] = finished(f, x[i / 4].v[i % 4]), q[i] = finished(f, y[i / 4].v[i % 4]);
  }

  static I32 fixed(F32 x) {
    return lanes<I32>([&](int i) {
      const float r = __builtin_rintf(x.v[i]);
      return r >= -0x1p31f && r < 0x1p31f ? static_cast<int32_t>(r) : INT32_MIN;
    });
  }
  static F32 roughly(F32 a, F32 b, F32 c) { return fadd(fmul(a, b), c); }

  struct Codes {
    static constexpr int kCount = 4 * kLanes;
    struct Vec {
      uint8_t v[kCount];
    };
    static Vec load(const uint8_t* p) {
      Vec x;
      std::memcpy(x.v, p, sizeof x.v);
      return x;
    }
    static void store(uint8_t* p, Vec x) { std::memcpy(p, x.v, sizeof x.v); }
    static void store_halves(uint8_t* p, uint8_t* q, Vec x) {
      std::memcpy(p, x.v, kCount / 2);
      std::memcpy(q, x.v + kCount / 2, kCount / 2);
    }
    static Vec set(uint8_t x) {
      return each([&](int) { return x; });
    }
    static Vec add(Vec x, Vec y) {
      return each([&](int i) { return x.v[i] + y.v[i]; });
    }
    template <bool Signed>
    static Vec max(Vec x, Vec y) {
      return each([&](int i) { return code<Signed>(x.v[i]) > code<Signed>(y.v[i]) ? x.v[i] : y.v[i]; });
    }
    static Vec narrow(I32 a, I32 b, I32 c, I32 d, int32_t z) {
      const I32 all[] = {a, b, c, d};
      return each([&](int i) { return within<int8_t>(within<int16_t>(all[i / kLanes].v[i % kLanes]) + z); });
    }
    static Vec narrow_fixed(I32 a, I32 b, I32 c, I32 d, uint16_t limit, bool& near) {
      const I32 all[] = {a, b, c, d};
      near = false;
      return each([&](int i) {
        const int32_t x = all[i / kLanes].v[i % kLanes];
        near |= static_cast<uint16_t>(x) < limit;
        return within<int8_t>(x >> 16);
      });
    }
    static Vec lookup(const uint8_t* table, Vec x) {
      return each([&](int i) { return table[x.v[i]]; });
    }

   private:
    template <class T>
    static int32_t within(int32_t x) {
      constexpr int32_t low = -(1 << (8 * sizeof(T) - 1)), high = -low - 1;
      return x < low ? low : x > high ? high : x;
    }
    template <class F>
    static Vec each(F f) {
      Vec out;
      for (int i = 0; i < kCount; ++i) out.v[i] = static_cast<uint8_t>(f(i));
      return out;
    }
  };

 private:
  static uint8_t finished(const Finish& f, int32_t x) {
    return static_cast<uint8_t>((x < -f.shift ? 0 : x + f.shift) + f.base);
  }
  template <bool Signed>
  static int32_t code(uint8_t c) {
    return Signed ? static_cast<int8_t>(c) : c;
  }
  template <class V, class F>
  static V lanes(F f) {
    V out;
    for (int i = 0; i < kLanes; ++i) out.v[i] = f(i);
    return out;
  }
};

}  // namespace octensor::simd
