// Element-wise kernels on contiguous runs. The tail goes through one full vector of copies, so that
// every element sees the same arithmetic.
//
//   quantize    q = clamp(round_half_even(x / scale), lo, hi) + zero_point    NaN -> zero_point
//   dequantize  x = float(q - zero_point) * scale
//   add         clamp(round_half_even(((a - za) * sa + (b - zb) * sb) / so), lo, hi) + zo
//   mul         clamp(round_half_even(float((a - za) * (b - zb)) * m), lo, hi) + zo
//   range       smallest and largest of n floats and 0; not finite if any of them is not
#pragma once
#include "kernels/args.h"
#include "kernels/requantize.h"

namespace octensor::kernels {

template <class S>
void quantize(const float* x, int64_t n, float scale, int32_t zero_point, float lo, float hi, uint8_t* out) {
  constexpr int kLanes = S::kLanes;
  const typename S::F32 s = S::fset(scale), low = S::fset(lo), high = S::fset(hi);
  const typename S::I32 zero = S::set(zero_point);
  auto codes = [&](const float* p) [[gnu::always_inline]] {
    const typename S::F32 v = S::nan_to_zero(S::fdiv(S::fload(p), s));
    return S::add(S::round(S::fmin(S::fmax(v, low), high)), zero);
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) S::store_codes(out + i, codes(x + i));
  if (i < n) {
    float tail[kLanes] = {};
    uint8_t q[kLanes];
    for (int64_t t = i; t < n; ++t) tail[t - i] = x[t];
    S::store_codes(q, codes(tail));
    for (int64_t t = i; t < n; ++t) out[t] = q[t - i];
  }
}

// The range of what it took. A NaN may come out of fmin and fmax as either operand: poison knows of it.
template <class S>
struct RangeOf {
  typename S::F32 low, high, poison;
  [[gnu::always_inline]] void take(const float* p) {
    const typename S::F32 v = S::fload(p);
    low = S::fmin(low, v);
    high = S::fmax(high, v);
    poison = S::fadd(poison, S::fmul(v, S::fset(0.0f)));  // NaN and infinities times 0 are NaN and stay
  }
  [[gnu::always_inline]] void join(const RangeOf& other) {
    low = S::fmin(low, other.low);
    high = S::fmax(high, other.high);
    poison = S::fadd(poison, other.poison);
  }
};

// Widens [lo, hi], which holds 0, to hold all of x. A NaN or infinity makes both NaN. Four vectors are on the way at
// a time, for each chain waits for its own minimum; the bound is then the three operations on the multiply ports.
template <class S>
void range(const float* x, int64_t n, float* lo, float* hi) {
  constexpr int kLanes = S::kLanes;
  RangeOf<S> r0{S::fset(*lo), S::fset(*hi), S::fset(0.0f)}, r1 = r0, r2 = r0, r3 = r0;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    r0.take(x + i);
    r1.take(x + i + kLanes);
    r2.take(x + i + 2 * kLanes);
    r3.take(x + i + 3 * kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) r0.take(x + i);
  if (i < n) {
    float tail[kLanes] = {};
    for (int64_t t = i; t < n; ++t) tail[t - i] = x[t];
    r1.take(tail);
  }
  r0.join(r1);
  r2.join(r3);
  r0.join(r2);
  float l[kLanes], h[kLanes], p[kLanes], bad = 0.0f;
  S::fstore(l, r0.low);
  S::fstore(h, r0.high);
  S::fstore(p, r0.poison);
  for (int t = 0; t < kLanes; ++t) {
    *lo = l[t] < *lo ? l[t] : *lo;
    *hi = h[t] > *hi ? h[t] : *hi;
    bad += p[t];
  }
  *lo += bad;
  *hi += bad;
}

template <class S, bool Signed>
void dequantize_of(const uint8_t* q, int64_t n, float scale, int32_t zero_point, float* out) {
  constexpr int kLanes = S::kLanes;
  const typename S::F32 s = S::fset(scale);
  const typename S::I32 zero = S::set(zero_point);
  auto values = [&](const uint8_t* p) [[gnu::always_inline]] {
    return S::fmul(S::to_float(S::sub(S::template load_codes<Signed>(p), zero)), s);
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) S::fstore(out + i, values(q + i));
  if (i < n) {
    uint8_t tail[kLanes] = {};
    float x[kLanes];
    for (int64_t t = i; t < n; ++t) tail[t - i] = q[t];
    S::fstore(x, values(tail));
    for (int64_t t = i; t < n; ++t) out[t] = x[t - i];
  }
}

template <class S>
void dequantize(const uint8_t* q, bool is_signed, int64_t n, float scale, int32_t zero_point, float* out) {
  is_signed ? dequantize_of<S, true>(q, n, scale, zero_point, out)
            : dequantize_of<S, false>(q, n, scale, zero_point, out);
}

// Applies `codes(pa, pb) -> I32` to whole vectors of two runs, and to the tail.
template <class S, class F>
[[gnu::always_inline]] inline void binary_run(const BinaryArgs& e, F codes) {
  constexpr int kLanes = S::kLanes;
  int64_t i = 0;
  for (; i + kLanes <= e.n; i += kLanes) S::store_codes(e.out + i, codes(e.a + i, e.b + i));
  if (i < e.n) {
    uint8_t a[kLanes] = {}, b[kLanes] = {}, q[kLanes];
    for (int64_t t = i; t < e.n; ++t) a[t - i] = e.a[t], b[t - i] = e.b[t];
    S::store_codes(q, codes(a, b));
    for (int64_t t = i; t < e.n; ++t) e.out[t] = q[t - i];
  }
}

template <class S, bool SignedA, bool SignedB>
void add_of(const BinaryArgs& e) {
  const typename S::I32 za = S::set(e.a_zero), zb = S::set(e.b_zero), zo = S::set(e.out_zero);
  const typename S::F32 sa = S::fset(e.a_scale), sb = S::fset(e.b_scale), so = S::fset(e.out_scale);
  const typename S::F32 lo = S::fset(e.lo), hi = S::fset(e.hi);
  binary_run<S>(e, [&](const uint8_t* a, const uint8_t* b) [[gnu::always_inline]] {
    const typename S::F32 x = S::fmul(S::to_float(S::sub(S::template load_codes<SignedA>(a), za)), sa);
    const typename S::F32 y = S::fmul(S::to_float(S::sub(S::template load_codes<SignedB>(b), zb)), sb);
    // inf - inf cannot be rounded; both operands can only be infinite for scales near float32's end
    const typename S::F32 v = S::nan_to_zero(S::fdiv(S::fadd(x, y), so));
    return S::add(S::round(S::fmin(S::fmax(v, lo), hi)), zo);
  });
}

template <class S, bool SignedA, bool SignedB>
void mul_of(const BinaryArgs& e) {
  const typename S::I32 za = S::set(e.a_zero), zb = S::set(e.b_zero), zo = S::set(e.out_zero);
  const typename S::F32 m = S::fset(e.out_scale), lo = S::fset(e.lo), hi = S::fset(e.hi);
  binary_run<S>(e, [&](const uint8_t* a, const uint8_t* b) [[gnu::always_inline]] {
    const typename S::I32 product =
        S::mul(S::sub(S::template load_codes<SignedA>(a), za), S::sub(S::template load_codes<SignedB>(b), zb));
    return requantize_vector<S>(product, m, lo, hi, zo);
  });
}

template <class S>
void add(const BinaryArgs& e) {
  if (e.a_signed)
    e.b_signed ? add_of<S, true, true>(e) : add_of<S, true, false>(e);
  else
    e.b_signed ? add_of<S, false, true>(e) : add_of<S, false, false>(e);
}

template <class S>
void mul(const BinaryArgs& e) {
  if (e.a_signed)
    e.b_signed ? mul_of<S, true, true>(e) : mul_of<S, true, false>(e);
  else
    e.b_signed ? mul_of<S, false, true>(e) : mul_of<S, false, false>(e);
}

}  // namespace octensor::kernels
