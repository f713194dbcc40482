// The larger and the smaller of two numbers; of floats NaN where one is, and +0 above -0, whichever comes first.
#pragma once
#include <bit>
#include <cstdint>
#include <type_traits>

namespace octensor::ops {

template <bool kLarger, class T>
inline T extreme_of(T a, T b) {
  if constexpr (std::is_same_v<T, float>) {
    if (a != a || b != b) return __builtin_nanf("");
    const auto x = std::bit_cast<uint32_t>(a), y = std::bit_cast<uint32_t>(b);
    if (a == b) return std::bit_cast<float>(kLarger ? x & y : x | y);  // the same, but for the sign of 0
  }
  return kLarger == (a > b) ? a : b;
}

template <class T>
inline T larger(T a, T b) {
  return extreme_of<true>(a, b);
}

template <class T>
inline T smaller(T a, T b) {
  return extreme_of<false>(a, b);
}

}  // namespace octensor::ops
