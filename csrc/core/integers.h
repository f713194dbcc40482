// Division and rounding of sizes, which are never negative (`by` and `to` are at least 1), and arithmetic that wraps.
#pragma once
#include <cstdint>
#include <type_traits>

namespace octensor {

constexpr int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }
constexpr int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

// f(a, b) of signed integers, modulo 2^N: sums, differences and products wrap, as NumPy's do.
template <class T, class F>
constexpr T wrapping(T a, T b, F f) {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(f(static_cast<U>(a), static_cast<U>(b)));
}

}  // namespace octensor
