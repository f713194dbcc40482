#include "ops/elements.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/check.h"
#include "ops/order.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

constexpr int64_t kTask = 1 << 13;  // elements

template <class T>
constexpr Kind kind_of() {
  return std::is_same_v<T, float>     ? Kind::float32
         : std::is_same_v<T, int64_t> ? Kind::int64
         : std::is_same_v<T, int32_t> ? Kind::int32
                                      : Kind::boolean;
}

template <class T, class F>
void unary_row(const uint8_t* x, int64_t n, double a, double b, uint8_t* out) {
  using R = decltype(F{}(T{}, T{}, T{}));
  const auto first = static_cast<T>(a), second = static_cast<T>(b);
  for (int64_t i = 0; i < n; ++i) reinterpret_cast<R*>(out)[i] = F{}(reinterpret_cast<const T*>(x)[i], first, second);
}

template <class T, class F>
void pair_row(const uint8_t* a, int64_t a_step, const uint8_t* b, int64_t b_step, int64_t n, uint8_t* out) {
  using R = decltype(F{}(T{}, T{}));
  const T *x = reinterpret_cast<const T*>(a), *y = reinterpret_cast<const T*>(b);
  R* const to = reinterpret_cast<R*>(out);
  if (a_step == 1 && b_step == 1)
    for (int64_t i = 0; i < n; ++i) to[i] = F{}(x[i], y[i]);
  else if (a_step == 1 && b_step == 0)
    for (int64_t i = 0; i < n; ++i) to[i] = F{}(x[i], *y);
  else
    for (int64_t i = 0; i < n; ++i) to[i] = F{}(x[i * a_step], y[i * b_step]);
}

template <class T>
void select_row(const uint8_t* condition, int64_t c_step, const uint8_t* a, int64_t a_step, const uint8_t* b,
                int64_t b_step, int64_t n, uint8_t* out) {
  const T *x = reinterpret_cast<const T*>(a), *y = reinterpret_cast<const T*>(b);
  for (int64_t i = 0; i < n; ++i) reinterpret_cast<T*>(out)[i] = condition[i * c_step] ? x[i * a_step] : y[i * b_step];
}

template <class T, class F>
Function<PairRow> pair(F) {
  return {pair_row<T, F>, kind_of<decltype(F{}(T{}, T{}))>()};
}

template <class T, class F>
Function<UnaryRow> unary(F) {
  return {unary_row<T, F>, kind_of<decltype(F{}(T{}, T{}, T{}))>()};
}

template <class T>
T quotient(T a, T b) {
  return b == 0 ? 0 : b == -1 ? wrapping<T>(0, a, [](auto x, auto y) { return x - y; }) : a / b;
}

template <class T>
T remainder(T a, T b) {  // with the sign of a
  return b == 0 || b == -1 ? 0 : a % b;
}

template <class T>
Function<PairRow> comparison(const std::string& name) {
  if (name == "equal") return pair<T>([](T a, T b) { return a == b; });
  if (name == "not_equal") return pair<T>([](T a, T b) { return a != b; });
  if (name == "less") return pair<T>([](T a, T b) { return a < b; });
  if (name == "less_equal") return pair<T>([](T a, T b) { return a <= b; });
  if (name == "greater") return pair<T>([](T a, T b) { return a > b; });
  if (name == "greater_equal") return pair<T>([](T a, T b) { return a >= b; });
  return {};
}

template <class T>
Function<PairRow> extreme(const std::string& name) {
  if (name == "maximum") return pair<T>([](T a, T b) { return larger(a, b); });
  if (name == "minimum") return pair<T>([](T a, T b) { return smaller(a, b); });
  return comparison<T>(name);
}

Function<PairRow> of_floats(const std::string& name) {
  if (name == "prelu") return pair<float>([](float a, float b) { return a > 0 ? a : a * b; });
  return extreme<float>(name);
}

template <class T>
Function<PairRow> of_whole(const std::string& name) {
  if (name == "add") return pair<T>([](T a, T b) { return wrapping(a, b, [](auto x, auto y) { return x + y; }); });
  if (name == "sub") return pair<T>([](T a, T b) { return wrapping(a, b, [](auto x, auto y) { return x - y; }); });
  if (name == "mul") return pair<T>([](T a, T b) { return wrapping(a, b, [](auto x, auto y) { return x * y; }); });
  if (name == "div") return pair<T>([](T a, T b) { return quotient(a, b); });
  if (name == "fmod") return pair<T>([](T a, T b) { return remainder(a, b); });
  if (name == "mod")
    return pair<T>([](T a, T b) {
      const T rest = remainder(a, b);
      return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
    });
  return extreme<T>(name);
}

Function<PairRow> of_truths(const std::string& name) {
  if (name == "and") return pair<bool>([](bool a, bool b) { return a && b; });
  if (name == "or") return pair<bool>([](bool a, bool b) { return a || b; });
  if (name == "xor") return pair<bool>([](bool a, bool b) { return a != b; });
  return comparison<bool>(name);
}

Function<UnaryRow> float_function(const std::string& name) {
  using F = float;
  if (name == "abs") return unary<F>([](F x, F, F) { return std::fabs(x); });
  if (name == "neg") return unary<F>([](F x, F, F) { return -x; });
  if (name == "sign") return unary<F>([](F x, F, F) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? 0.0f : x; });
  if (name == "floor") return unary<F>([](F x, F, F) { return std::floor(x); });
  if (name == "ceil") return unary<F>([](F x, F, F) { return std::ceil(x); });
  if (name == "round") return unary<F>([](F x, F, F) { return std::nearbyint(x); });
  if (name == "reciprocal") return unary<F>([](F x, F, F) { return 1.0f / x; });
  if (name == "threshold") return unary<F>([](F x, F a, F b) { return x > a ? x : b; });
  if (name == "isnan") return unary<F>([](F x, F, F) { return x != x; });
  if (name == "isinf") return unary<F>([](F x, F, F) { return std::isinf(x); });
  return {};
}

template <class T>
Function<UnaryRow> whole_function(const std::string& name) {
  const auto negative = [](T x) { return wrapping<T>(0, x, [](auto a, auto b) { return a - b; }); };
  using Negative = decltype(negative);
  if (name == "neg") return unary<T>([](T x, T, T) { return Negative{}(x); });
  if (name == "abs") return unary<T>([](T x, T, T) { return x < 0 ? Negative{}(x) : x; });
  if (name == "sign") return unary<T>([](T x, T, T) { return static_cast<T>((x > 0) - (x < 0)); });
  return {};
}

template <class From, class To>
Function<UnaryRow> cast() {
  return unary<From>([](From x, From, From) -> To {
    if constexpr (std::is_same_v<From, float> && std::is_integral_v<To> && !std::is_same_v<To, bool>) {
      constexpr auto kEnd = -static_cast<float>(std::numeric_limits<To>::min());
      return x >= -kEnd && x < kEnd ? static_cast<To>(x) : std::numeric_limits<To>::min();
    } else {
      return static_cast<To>(x);
    }
  });
}

template <class From>
Function<UnaryRow> cast_from(Kind to) {
  switch (to) {
    case Kind::float32:
      return cast<From, float>();
    case Kind::int64:
      return cast<From, int64_t>();
    case Kind::int32:
      return cast<From, int32_t>();
    default:
      return cast<From, bool>();
  }
}

template <class Row>
Function<Row> found(Function<Row> function, const std::string& name, Kind kind) {
  constexpr const char* kNames[] = {"float32", "int64", "int32", "bool"};
  check(function.row != nullptr, "elements: name: expected a function of ", kNames[static_cast<size_t>(kind)],
        ", got '", name, "'");
  return function;
}

}  // namespace

size_t size_of(Kind kind) { return kind == Kind::int64 ? 8 : kind == Kind::boolean ? 1 : 4; }

Function<UnaryRow> unary_named(const std::string& name, Kind kind) {
  Function<UnaryRow> function{};
  if (kind == Kind::float32) function = float_function(name);
  if (kind == Kind::int64) function = whole_function<int64_t>(name);
  if (kind == Kind::int32) function = whole_function<int32_t>(name);
  if (kind == Kind::boolean && name == "not") function = unary<bool>([](bool x, bool, bool) { return !x; });
  return found(function, name, kind);
}

Function<UnaryRow> cast_between(Kind from, Kind to) {
  switch (from) {
    case Kind::float32:
      return cast_from<float>(to);
    case Kind::int64:
      return cast_from<int64_t>(to);
    case Kind::int32:
      return cast_from<int32_t>(to);
    default:
      return cast_from<bool>(to);
  }
}

Function<PairRow> pair_named(const std::string& name, Kind kind) {
  return found(kind == Kind::float32 ? of_floats(name)
               : kind == Kind::int64 ? of_whole<int64_t>(name)
               : kind == Kind::int32 ? of_whole<int32_t>(name)
                                     : of_truths(name),
               name, kind);
}

SelectRow select_of(size_t itemsize) {
  return itemsize == 1 ? select_row<uint8_t> : itemsize == 4 ? select_row<uint32_t> : select_row<uint64_t>;
}

void unary_into(UnaryRow row, const uint8_t* x, size_t itemsize, int64_t n, double a, double b, uint8_t* out,
                size_t out_itemsize) {
  run_tasks(ceil_div(n, kTask), threads_for(n * 4), [&](int64_t task) {
    const int64_t at = task * kTask;
    row(x + at * itemsize, std::min(kTask, n - at), a, b, out + at * out_itemsize);
  });
}

Broadcast::Broadcast(const Shape& shape, const std::vector<Shape>& strides) : run_steps_(strides.size(), 0) {
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    std::vector<int64_t> steps;
    for (const Shape& s : strides) steps.push_back(s[i]);
    bool adjacent = !sizes_.empty();  // to the axis before: one longer axis
    for (size_t k = 0; k < steps.size() && adjacent; ++k) adjacent = steps_.back()[k] == steps[k] * shape[i];
    if (adjacent) {
      sizes_.back() *= shape[i];
      steps_.back() = std::move(steps);
    } else {
      sizes_.push_back(shape[i]);
      steps_.push_back(std::move(steps));
    }
  }
  if (!sizes_.empty()) {
    run_ = sizes_.back();
    run_steps_ = steps_.back();
    sizes_.pop_back();
    steps_.pop_back();
  }
  for (int64_t size : sizes_) runs_ *= size;
}

// call(operands' first elements, n, where the results go) for stretches of runs.
template <size_t kOperands, class Call>
void Broadcast::each(const Operand (&operands)[kOperands], uint8_t* out, size_t itemsize, const Call& call) const {
  if (runs_ * run_ == 0) return;
  const int64_t pieces = ceil_div(run_, kTask), some = std::max<int64_t>(1, kTask / run_);
  run_tasks(ceil_div(runs_, some) * pieces, threads_for(runs_ * run_ * 4), [&](int64_t task) {
    const int64_t begin = task / pieces * some, at = task % pieces * kTask, n = std::min(kTask, run_ - at);
    for (int64_t r = begin; r < std::min(runs_, begin + some); ++r) {
      const uint8_t* from[kOperands];
      for (size_t k = 0; k < kOperands; ++k) {
        int64_t place = at * run_steps_[k], rest = r;
        for (size_t i = sizes_.size(); i-- > 0; rest /= sizes_[i]) place += rest % sizes_[i] * steps_[i][k];
        from[k] = operands[k].data + place * static_cast<int64_t>(operands[k].itemsize);
      }
      call(from, n, out + (r * run_ + at) * static_cast<int64_t>(itemsize));
    }
  });
}

void Broadcast::run(PairRow row, Operand a, Operand b, uint8_t* out, size_t itemsize) const {
  each<2>({a, b}, out, itemsize, [&](const uint8_t* const* from, int64_t n, uint8_t* to) {
    row(from[0], run_steps_[0], from[1], run_steps_[1], n, to);
  });
}

void Broadcast::run(SelectRow row, Operand condition, Operand a, Operand b, uint8_t* out, size_t itemsize) const {
  each<3>({condition, a, b}, out, itemsize, [&](const uint8_t* const* from, int64_t n, uint8_t* to) {
    row(from[0], run_steps_[0], from[1], run_steps_[1], from[2], run_steps_[2], n, to);
  });
}

}  // namespace octensor::ops
