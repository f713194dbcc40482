// What steps check of their inputs.
#pragma once
#include "core/check.h"
#include "program/step.h"

namespace octensor::program {

inline void want(Element element, const char* op, const Inputs& in, size_t i) {
  constexpr const char* kWhat[] = {"a float32 tensor", "int64 indices", "int32 numbers", "truth values",
                                   "a quantized tensor"};
  check<TypeError>(in[i].element == element, op, ": input: expected ", kWhat[static_cast<size_t>(element)], ", got ",
                   in[i].text());
}

// Input i as a tensor without memory, for the checks of ops.
inline QTensor codes(const char* op, const Inputs& in, size_t i) {
  want(Element::codes, op, in, i);
  return in[i].tensor();
}

}  // namespace octensor::program
