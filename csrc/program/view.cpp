#include "program/view.h"

namespace octensor::program {
namespace {

constexpr const char* kNames[] = {"float32", "int64", "int32", "bool"};

bool same_parameters(const QParamsPtr& a, const QParamsPtr& b) { return a == b || (a && b && *a == *b); }

}  // namespace

int64_t View::itemsize() const {
  switch (element) {
    case Element::codes:
      return static_cast<int64_t>(info(qparams->dtype()).itemsize);
    case Element::boolean:
      return 1;
    case Element::int64:
      return 8;
    default:
      return 4;
  }
}

bool View::is_dense(Layout layout) const {
  if (numel() == 0) return true;
  const Shape want = dense_strides(shape, layout);
  for (int i = 0; i < ndim(); ++i)
    if (shape[i] != 1 && strides[i] != want[i]) return false;
  return true;
}

Layout View::layout() const {
  if (is_dense(Layout::contiguous)) return Layout::contiguous;
  // A part of an image with channels last lies as the image does.
  const bool image = ndim() >= 3 && ndim() <= 5 && strides[1] == 1 && shape[1] > 1 && strides.back() > 1;
  return image || is_dense(Layout::channels_last) ? Layout::channels_last : Layout::contiguous;
}

bool View::operator==(const View& other) const {
  return element == other.element && shape == other.shape && strides == other.strides &&
         same_parameters(qparams, other.qparams);
}

const char* View::name() const {
  return element == Element::codes ? info(qparams->dtype()).name : kNames[static_cast<size_t>(element)];
}

std::string View::text() const { return std::string(name()) + " " + to_text(shape); }

QTensor View::tensor(uint8_t* data) const {
  static const QParamsPtr plain = std::make_shared<QParams>(std::vector{1.0f}, std::vector{0}, DType::qint8);
  return QTensor({}, data, shape, strides, element == Element::codes ? qparams : plain);
}

View dense_view(Element element, QParamsPtr qparams, Shape shape, Layout layout) {
  Shape strides = dense_strides(shape, layout);
  return {element, std::move(qparams), std::move(shape), std::move(strides)};
}

}  // namespace octensor::program
