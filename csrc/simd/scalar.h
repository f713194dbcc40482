// The portable instruction set, and the contract that every instruction set fulfils.
//
// A struct of this kind is the template argument of all kernels. It names vector types and the few
// operations that kernels are written in; every operation is defined per lane, with these bits:
//   kLanes              int32 lanes of I32 and float lanes of F32
//   kGroup              K elements that one dot step consumes
//   kRows               rows of the GEMM tile; its columns are kPanel = 2 * kLanes
//   Activation          the form in which GEMM reads activations: int16_t holds code minus zero point;
//                       uint8_t or int8_t holds the code itself, shifted by 128 where its signedness is
//                       the other, and the driver corrects for the zero point per column
//   Wide                kLanes * kGroup values as dot takes them
//   load_codes<Signed>  kLanes 8-bit codes, zero- or sign-extended to int32
//   store_codes         the low byte of each lane
//   widen<Signed>       kLanes * kGroup 8-bit codes as Wide; with wide_set, wide_sub, wide_load and
//                       wide_store only where Activation is int16_t
//   load_weights        kLanes * kGroup int8 weights as Wide
//   broadcast           kGroup activations, repeated
//   dot(acc, a, b)      acc[i] + sum over g of a[i * kGroup + g] * b[i * kGroup + g], exact in int32
//   Codes, codes16<Signed>   16 channels' codes of one row, on their way to
//   zip<Signed, V>      the V-th kLanes of these channels, of kGroup rows, as dot takes them: a channel's codes side by
//                       side, their zero point not subtracted; kOrder says which channel comes where
//   round_low           round, for arguments below int32 too: they give its lowest value
//   store_two           16 codes twice, each max(sum + shift, 0) + base modulo 256, from sums of at most 255 - shift in
//                       the order of zip; Finish{shift, base} are int16 and a byte
//   nan_to_zero, fmin, fmax   the latter two are only ever given numbers
//   pow2                2 to the power of an integer in [-126, 127]
//   round               nearest int32, ties to even; the argument is inside int32
// Float operations round once each; nothing here fuses a multiplication with an addition.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace octensor::simd {

struct Scalar {
  static constexpr int kLanes = 4, kGroup = 1, kRows = 4, kPanel = 2 * kLanes;
  struct I32 {
    int32_t v[kLanes];
  };
  struct F32 {
    float v[kLanes];
  };
  using Activation = int16_t;
  struct Wide {
    int16_t v[kLanes * kGroup];
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
  template <bool Signed>
  static I32 load_codes(const uint8_t* p) {
    return lanes<I32>([&](int i) { return code<Signed>(p[i]); });
  }
  static void store_codes(uint8_t* p, I32 x) {
    for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint8_t>(x.v[i]);
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
  static F32 to_float(I32 x) {
    return lanes<F32>([&](int i) { return static_cast<float>(x.v[i]); });
  }
  static I32 round(F32 x) {
    return lanes<I32>([&](int i) { return static_cast<int32_t>(__builtin_rintf(x.v[i])); });
  }
  static I32 round_low(F32 x) { return round(fmax(x, fset(-2147483648.0f))); }

  static F32 pow2(I32 n) {
    const I32 bits = lanes<I32>([&](int i) { return (n.v[i] + 127) << 23; });
    F32 out;
    std::memcpy(out.v, bits.v, sizeof out.v);
    return out;
  }

  template <bool Signed>
  static Wide widen(const uint8_t* p) {
    return lanes<Wide>([&](int i) { return static_cast<int16_t>(code<Signed>(p[i])); });
  }
  static Wide load_weights(const int8_t* p) { return widen<true>(reinterpret_cast<const uint8_t*>(p)); }
  static Wide wide_set(int16_t x) { return {{x, x, x, x}}; }
  static Wide wide_sub(Wide x, Wide y) {
    return lanes<Wide>([&](int i) { return static_cast<int16_t>(x.v[i] - y.v[i]); });
  }
  static Wide wide_load(const int16_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static void wide_store(int16_t* p, Wide x) { std::memcpy(p, x.v, sizeof x.v); }
  static Wide broadcast(const int16_t* p) { return wide_set(*p); }
  static I32 dot(I32 acc, Wide a, Wide b) {
    return add(acc, lanes<I32>([&](int i) { return a.v[i] * b.v[i]; }));
  }
  static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  using Codes = const uint8_t*;
  template <bool Signed>
  static Codes codes16(const uint8_t* p) {
    return p;
  }
  template <bool Signed, int V>
  static Wide zip(const Codes* rows) {
    return widen<Signed>(rows[0] + V * kLanes);
  }
  struct Finish {
    int16_t shift;
    uint8_t base;
  };
  static void store_two(uint8_t* p, uint8_t* q, const Finish& f, I32 x0, I32 x1, I32 x2, I32 x3, I32 y0, I32 y1, I32 y2,
                        I32 y3) {
    const I32 x[] = {x0, x1, x2, x3}, y[] = {y0, y1, y2, y3};
    for (int i = 0; i < 16; ++i) p[i] = finished(f, x[i / 4].v[i % 4]), q[i] = finished(f, y[i / 4].v[i % 4]);
  }

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
