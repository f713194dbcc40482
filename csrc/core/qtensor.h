// QTensor: integer data with its QParams. A view: storage, a first element, a shape, strides.
//
// Views share storage; nothing here does arithmetic. Shapes are logical (NCHW); 4-D activations are
// usually laid out channels-last, which is a matter of strides alone. Strides count elements.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/copy.h"
#include "core/qparams.h"
#include "core/storage.h"

namespace octensor {

using Shape = std::vector<int64_t>;

enum class Layout : uint8_t { contiguous, channels_last };

class QTensor {
 public:
  // Dense, uninitialised. channels_last applies to 4-D shapes only.
  static QTensor empty(Shape shape, QParamsPtr qparams, Layout layout = Layout::contiguous);
  QTensor(StoragePtr storage, uint8_t* data, Shape shape, Shape strides, QParamsPtr qparams);

  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  int64_t size(int axis) const { return shape_[axis]; }
  int64_t stride(int axis) const { return strides_[axis]; }
  int ndim() const { return static_cast<int>(shape_.size()); }
  int64_t numel() const;
  const QParams& qparams() const { return *qparams_; }
  const QParamsPtr& qparams_ptr() const { return qparams_; }
  DType dtype() const { return qparams_->dtype(); }
  size_t itemsize() const { return info(dtype()).itemsize; }
  const StoragePtr& storage() const { return storage_; }

  // The same view of other memory, which the caller keeps alive.
  void move_to(uint8_t* data) { data_ = data; }

  uint8_t* bytes() { return data_; }
  const uint8_t* bytes() const { return data_; }
  template <class T>
  T* data() {
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(data_);
  }

  bool is_dense(Layout layout) const;  // that exact layout, no gaps

  // Views. Axes count from the end when negative; errors name the method.
  QTensor permute(const std::vector<int>& axes) const;
  QTensor transpose(int a, int b) const;
  QTensor slice(int axis, int64_t start, int64_t length, int64_t step) const;
  QTensor select(int axis, int64_t index) const;
  QTensor expand(const Shape& shape) const;  // broadcasts size-1 axes, as NumPy
  std::optional<QTensor> try_view(Shape shape) const;
  // A view where strides allow it, else a copy in logical order. One size may be -1.
  QTensor reshape(Shape shape) const;
  QTensor view(Shape shape) const;  // ValueError where strides do not allow it

  QTensor to(Layout layout) const;                 // itself when already so, else a dense copy
  QTensor clone() const;                           // dense copy that keeps the layout where it is dense
  QTensor with_qparams(QParamsPtr qparams) const;  // same integers, other meaning

  bool equal(const QTensor& other) const;  // qparams, shape and every integer
  std::string shape_text() const;

 private:
  Shape resolve(Shape shape, const char* op) const;
  StoragePtr storage_;
  uint8_t* data_;
  Shape shape_, strides_;
  QParamsPtr qparams_;
};

std::string to_text(const Shape& shape);  // "(2, 3)"
int64_t count(const Shape& shape);        // checked product; ValueError when it passes 2^62
Shape dense_strides(const Shape& shape, Layout layout);
int normalize_axis(const char* op, const char* argument, int64_t axis, int ndim);
Shape broadcast(const char* op, const Shape& a, const Shape& b);

}  // namespace octensor
