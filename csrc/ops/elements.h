// Functions of one, two or three elements of any kind, broadcast: comparisons, logic, choices, whole numbers, and the
// few of floats that are no arithmetic. Their values are exact, so nothing here rounds but casts; `maximum` and
// `minimum` of floats are NaN where one is, and take +0 for larger than -0.
//
// A function is looked up by name and element when a call is prepared, and is then a loop over one row. Bound: the
// bytes moved.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/qtensor.h"

namespace octensor::ops {

enum class Kind : uint8_t { float32, int64, int32, boolean };
size_t size_of(Kind kind);

// n results, operands `step` elements apart (0: one for all).
using UnaryRow = void (*)(const uint8_t* x, int64_t n, double a, double b, uint8_t* out);
using PairRow = void (*)(const uint8_t* a, int64_t a_step, const uint8_t* b, int64_t b_step, int64_t n, uint8_t* out);
using SelectRow = void (*)(const uint8_t* condition, int64_t c_step, const uint8_t* a, int64_t a_step, const uint8_t* b,
                           int64_t b_step, int64_t n, uint8_t* out);

template <class Row>
struct Function {
  Row row;
  Kind result;
};

// abs neg sign floor ceil round reciprocal isnan isinf not, threshold (a: above which x stays, b: what else).
// ValueError where there is none of this kind.
Function<UnaryRow> unary_named(const std::string& name, Kind kind);
Function<UnaryRow> cast_between(Kind from, Kind to);  // to whole numbers toward 0; NaN and what does not fit: the least
// add sub mul div mod fmod (of whole numbers: div toward 0, mod with b's sign, both 0 by 0), maximum minimum, prelu (of
// floats: a, or a * b below 0); equal not_equal less less_equal greater greater_equal; and or xor.
Function<PairRow> pair_named(const std::string& name, Kind kind);
SelectRow select_of(size_t itemsize);

void unary_into(UnaryRow row, const uint8_t* x, size_t itemsize, int64_t n, double a, double b, uint8_t* out,
                size_t out_itemsize);

// Operands of one row function, broadcast to a shape in the order of the result's memory, which is dense.
struct Operand {
  const uint8_t* data;
  size_t itemsize;
};
class Broadcast {
 public:
  // Strides of each operand, in elements, 0 where it repeats.
  Broadcast(const Shape& shape, const std::vector<Shape>& strides);
  void run(PairRow row, Operand a, Operand b, uint8_t* out, size_t itemsize) const;
  void run(SelectRow row, Operand condition, Operand a, Operand b, uint8_t* out, size_t itemsize) const;

 private:
  template <size_t kOperands, class Call>
  void each(const Operand (&operands)[kOperands], uint8_t* out, size_t itemsize, const Call& call) const;

  std::vector<int64_t> sizes_;               // of the axes around a run
  std::vector<std::vector<int64_t>> steps_;  // per axis, of each operand
  int64_t runs_ = 1, run_ = 1;
  std::vector<int64_t> run_steps_;
};

}  // namespace octensor::ops
