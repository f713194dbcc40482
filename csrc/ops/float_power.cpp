#include "ops/float_power.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/check.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

constexpr int64_t kTask = 1 << 12;
constexpr int64_t kMostNeighbours = int64_t{1} << 30;
constexpr double kLn2 = 0x1.62e42fefa39efp-1, kLn2Tail = 0x1.abc9e3b39803fp-56;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// log of a positive, finite double: 2^k m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)).
double log_of(double x) {
  const auto bits = std::bit_cast<uint64_t>(x) - 0x3fe6a09e667f3bcdULL;  // sqrt(1/2)
  const auto k = static_cast<double>(static_cast<int64_t>(bits) >> 52);
  const double m = std::bit_cast<double>((bits & 0x000fffffffffffffULL) + 0x3fe6a09e667f3bcdULL);
  const double f = (m - 1) / (m + 1), s = f * f;
  double sum = 0;
  for (int i = 21; i >= 3; i -= 2) sum = (sum + 1.0 / i) * s;
  return k * kLn2 + (2 * f + (2 * f * sum + k * kLn2Tail));
}

// exp of a double in [-708, 709]: 2^k exp(r), |r| <= ln 2 / 2, by Taylor's sum.
double exp_of(double x) {
  const double k = std::nearbyint(x * 0x1.71547652b82fep0);
  const double r = (x - k * kLn2) - k * kLn2Tail;
  double sum = 1;
  for (int i = 14; i >= 1; --i) sum = 1 + sum * r / i;
  return sum * std::bit_cast<double>(static_cast<uint64_t>(static_cast<int64_t>(k) + 1023) << 52);
}

double by_logarithm(double x, double exponent) {
  const double size = std::fabs(x);
  const bool whole = exponent == std::floor(exponent), odd = whole && std::fmod(exponent, 2) != 0;
  if (x != x || (x < 0 && !whole && size != kInfinity)) return std::numeric_limits<double>::quiet_NaN();
  const double to = size == 0           ? (exponent > 0 ? 0 : kInfinity)
                    : size == kInfinity ? (exponent > 0 ? kInfinity : 0)
                                        : exp_of(std::clamp(exponent * log_of(size), -700.0, 700.0));
  return odd && std::signbit(x) ? -to : to;
}

// x to the power quarters / 4, by the bits of `quarters`.
struct Roots {
  int quarters;
  double operator()(double x) const {
    const int n = std::abs(quarters);
    double power = 1;
    if (n & 3) {
      const double half = std::sqrt(x);
      if (n & 1) power = std::sqrt(half);
      if (n & 2) power = n & 1 ? power * half : half;
    }
    for (int i = n >> 2, bit = 1; bit <= i; bit <<= 1, x = x * x)
      if (i & bit) power = power * x;
    return quarters < 0 ? 1 / power : power;
  }
};

struct Logarithm {
  double exponent;
  double operator()(double x) const { return by_logarithm(x, exponent); }
};

// body(power) with the function that an exponent takes.
template <class Body>
void with_power(float exponent, const Body& body) {
  const float quarters = exponent * 4;
  if (quarters == 2) return body([](double x) { return std::sqrt(x); });
  if (quarters == 3)
    return body([](double x) {
      const double half = std::sqrt(x);
      return std::sqrt(half) * half;
    });
  if (quarters == 8) return body([](double x) { return x * x; });
  if (std::fabs(quarters) <= 64 && quarters == std::floor(quarters)) return body(Roots{static_cast<int>(quarters)});
  body(Logarithm{exponent});
}

float rounded(double y) { return y == y ? static_cast<float>(y) : __builtin_nanf(""); }

}  // namespace

void float_power_into(const float* x, int64_t n, float exponent, float* out) {
  with_power(exponent, [&](const auto& power) {
    run_tasks(ceil_div(n, kTask), threads_for(n * 16), [&](int64_t task) {
      for (int64_t i = task * kTask; i < std::min(n, (task + 1) * kTask); ++i) out[i] = rounded(power(x[i]));
    });
  });
}

void check_response_norm(const Shape& input, const ResponseNorm& norm) {
  check(input.size() >= 2 && norm.size >= 1 && norm.size <= kMostNeighbours,
        "local_response_norm: input: expected shape [N, C, ...] and 1 to ", kMostNeighbours, " neighbours, got ",
        to_text(input), " and ", norm.size);
}

void float_response_norm_into(const float* x, int64_t outer, int64_t channels, int64_t inner, const ResponseNorm& norm,
                              float* out) {
  const int64_t before = (norm.size - 1) / 2;
  const auto rate = static_cast<float>(norm.alpha / static_cast<double>(norm.size));
  with_power(norm.beta, [&](const auto& power) {
    run_tasks(outer * channels, threads_for(outer * channels * inner * (norm.size + 16)), [&](int64_t task) {
      const int64_t c = task % channels, first = std::max<int64_t>(0, c - before);
      const int64_t end = std::min(channels, c - before + norm.size);
      const float* const image = x + (task - c) * inner;
      const float* const own = image + c * inner;
      float* const y = out + task * inner;
      std::fill_n(y, inner, 0.0f);
      for (int64_t k = first; k < end; ++k)
        for (int64_t i = 0; i < inner; ++i) y[i] = y[i] + image[k * inner + i] * image[k * inner + i];
      for (int64_t i = 0; i < inner; ++i) y[i] = own[i] / rounded(power(static_cast<double>(norm.bias + rate * y[i])));
    });
  });
}

}  // namespace octensor::ops
