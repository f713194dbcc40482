// 4-bit weights without vector instructions. The contract of each operation is in simd/int4.h.
#pragma once
#include "simd/int4.h"
#include "simd/scalar.h"

namespace octensor::simd {

template <>
struct Int4<Scalar> {
  static constexpr int kLanes = Scalar::kLanes, kRows = 2;
  static constexpr bool kDrains = false;
  struct Bytes {
    uint8_t v[4 * kLanes];
  };
  using I32 = Scalar::I32;
  using Sum = I32;

  static Bytes load(const uint8_t* p) {
    Bytes x;
    std::memcpy(x.v, p, sizeof x.v);
    return x;
  }
  static void store(uint8_t* p, Bytes x) { std::memcpy(p, x.v, sizeof x.v); }
  static Bytes low(Bytes x) {
    for (uint8_t& b : x.v) b &= 15;
    return x;
  }
  static Bytes high(Bytes x) {
    for (uint8_t& b : x.v) b >>= 4;
    return x;
  }
  static Bytes quad(const int8_t* p) {
    Bytes x;
    for (int i = 0; i < kLanes; ++i) std::memcpy(x.v + 4 * i, p, 4);
    return x;
  }
  static Sum first(Bytes w, Bytes a) { return step({}, w, a); }
  static Sum step(Sum sum, Bytes w, Bytes a) {
    for (int i = 0; i < 4 * kLanes; ++i) sum.v[i / 4] += w.v[i] * static_cast<int8_t>(a.v[i]);
    return sum;
  }
  static I32 drain(I32 acc, Sum sum) { return Scalar::add(acc, sum); }
  template <int I>
  static I32 nibble(I32 x) {
    for (int32_t& v : x.v) v = static_cast<int32_t>(static_cast<uint32_t>(v) >> (4 * I) & 15);
    return x;
  }
};

}  // namespace octensor::simd
