// View: a value of a program as its plan sees it: what its elements are and how they lie, without the memory.
#pragma once
#include <cstdint>

#include "core/qtensor.h"

namespace octensor::program {

enum class Element : uint8_t { float32, int64, int32, boolean, codes };

struct View {
  Element element = Element::float32;
  QParamsPtr qparams;      // of codes
  Shape shape, strides{};  // strides in elements

  int ndim() const { return static_cast<int>(shape.size()); }
  int64_t numel() const { return count(shape); }
  int64_t itemsize() const;
  int64_t bytes() const { return numel() * itemsize(); }
  bool is_dense(Layout layout) const;
  Layout layout() const;                     // channels-last where it, or what it is a part of, is so
  bool operator==(const View& other) const;  // parameters by value
  const char* name() const;                  // "float32", "quint8"
  std::string text() const;                  // "float32 (2, 3)"

  // A tensor of this form over `data`, which the caller keeps alive. Of other elements than codes, as codes of int8
  // whose place says which elements they are: for what QTensor knows about views.
  QTensor tensor(uint8_t* data = nullptr) const;
};

// A new value, dense.
View dense_view(Element element, QParamsPtr qparams, Shape shape, Layout layout = Layout::contiguous);

}  // namespace octensor::program
