#include "program/step.h"

#include "core/copy.h"

namespace octensor::program {

Slot::Slot(const View& view) : view_(&view) {
  if (view.element == Element::codes) codes_.emplace(view.tensor());
  if (view.element == Element::float32) floats_ = {nullptr, view.shape, view.strides};
}

void Slot::place(uint8_t* data) {
  data_ = data;
  if (codes_) codes_->move_to(data);
  floats_.data = reinterpret_cast<const float*>(data);
}

const View& Inputs::expanded(size_t i, const Shape& shape, Layout layout) {
  View& view = views_[i];
  if (view.shape != shape || !view.is_dense(layout)) {
    wanted_[i] = {shape, layout};
    view = dense_view(view.element, view.qparams, shape, layout);
  }
  return view;
}

Shape sizes_at(const std::vector<Size>& sizes, int64_t batch) {
  Shape shape;
  for (const Size& s : sizes) shape.push_back(s.at(batch));
  return shape;
}

Planned plan_copy(const View& from, const Shape& shape, Layout layout) {
  View to = dense_view(from.element, from.qparams, shape, layout);
  auto axes = copy_plan(from.tensor().expand(shape).strides(), to.strides, shape);
  const auto item = static_cast<size_t>(from.itemsize());
  Planned planned{.outputs = {{.view = std::move(to)}}};
  if (count(shape) > 0)
    planned.run = [axes = std::move(axes), item](const Operands& t) {
      copy_planned(t.in[0]->bytes(), t.out[0]->bytes(), axes, item);
    };
  return planned;
}

}  // namespace octensor::program
