// Float steps on elements and rows. Results may take the memory of an input that has their form.
#include <numeric>

#include "ops/checks.h"
#include "ops/code_norm.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

View floats(Shape shape, Layout layout = Layout::contiguous) {
  return dense_view(Element::float32, {}, std::move(shape), layout);
}

}  // namespace

PlanStep float_unary_step(const std::string& name, FloatParameters parameters) {
  return [name, op = ops::float_unary_named(name.c_str()), parameters](Inputs& in) -> Planned {
    want(Element::float32, name.c_str(), in, 0);
    const View& x = in.dense(0, in[0].layout());
    const int64_t n = x.numel();
    return {.outputs = {{.view = floats(x.shape, x.layout()), .replaces = 1}}, .run = [=](const Operands& t) {
              ops::float_unary_into(op, t.in[0]->data<float>(), n, parameters, t.out[0]->data<float>());
            }};
  };
}

PlanStep float_binary_step(FloatBinary op, bool relu) {
  return [=](Inputs& in) -> Planned {
    constexpr const char* kNames[] = {"add", "sub", "mul", "div"};
    const char* name = kNames[static_cast<size_t>(op)];
    want(Element::float32, name, in, 0);
    want(Element::float32, name, in, 1);
    const Shape shape = broadcast(name, in[0].shape, in[1].shape);
    const Layout layout = in[in[0].shape == shape ? 0 : 1].layout();
    View out = floats(shape, layout);
    // Dense in logical order, both may have any strides; in another layout axes go in the order of memory.
    const Shape a = in[0].tensor().expand(shape).strides(), b = in[1].tensor().expand(shape).strides();
    std::vector<int> order(shape.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int i, int j) { return out.strides[i] > out.strides[j]; });
    ops::Extents sizes, left, right;
    for (int axis : order) {
      sizes.push_back(shape[axis]);
      left.push_back(shape[axis] == 1 ? 0 : a[axis]);
      right.push_back(shape[axis] == 1 ? 0 : b[axis]);
    }
    const bool same = in[0].shape == shape && in[0].is_dense(layout);
    return {.outputs = {{.view = std::move(out), .replaces = same ? 1u : 0u}}, .run = [=](const Operands& t) {
              ops::float_binary_into(op, relu, t.in[0]->data<float>(), left, t.in[1]->data<float>(), right, sizes,
                                     t.out[0]->data<float>());
            }};
  };
}

PlanStep float_softmax_step(bool log) {
  return [=](Inputs& in) -> Planned {
    want(Element::float32, "softmax", in, 0);
    const View& x = in.dense(0);
    check(x.ndim() >= 1, "softmax: input: expected at least one axis, got a scalar");
    const int64_t n = x.shape.back(), rows = n ? x.numel() / n : 0;
    return {.outputs = {{.view = x, .replaces = 1}}, .run = [=](const Operands& t) {
              if (rows) ops::float_softmax_into(t.in[0]->data<float>(), rows, n, log, t.out[0]->data<float>());
            }};
  };
}

PlanStep float_sum_step(int axes, bool mean) {
  return [=](Inputs& in) -> Planned {
    want(Element::float32, "sum", in, 0);
    const View& x = in.dense(0);
    check(x.ndim() >= axes, "sum: input: expected at least ", axes, " axes, got ", x.text());
    const auto middle = x.shape.end() - axes;
    const int64_t rows = count({x.shape.begin(), middle}), n = count({middle, x.shape.end()});
    return {.outputs = {{.view = floats({x.shape.begin(), middle})}}, .run = [=](const Operands& t) {
              ops::float_sum_into(t.in[0]->data<float>(), rows, n, mean ? static_cast<float>(n) : 1.0f,
                                  t.out[0]->data<float>());
            }};
  };
}

PlanStep float_norm_step(FloatNormStep norm) {
  auto kept = std::make_shared<const FloatNormStep>(std::move(norm));
  return [kept](Inputs& in) -> Planned {
    want(Element::float32, "norm", in, 0);
    const View& x = in.dense(0);
    const int64_t rows = kept->row ? x.numel() / kept->row : 0;
    check(rows * kept->row == x.numel(), "norm: input: expected rows of ", kept->row, " elements, got ", x.text());
    return {.outputs = {{.view = x, .replaces = 1}}, .run = [=](const Operands& t) {
              const FloatNormStep& k = *kept;
              if (rows == 0) return;
              ops::float_norm_into(t.in[0]->data<float>(), rows, k.row,
                                   {.eps = static_cast<float>(k.eps),
                                    .centre = true,
                                    .weight = k.weight.empty() ? nullptr : k.weight.data(),
                                    .bias = k.bias.empty() ? nullptr : k.bias.data(),
                                    .groups = k.groups,
                                    .run = k.run},
                                   t.out[0]->data<float>());
            }};
  };
}

PlanStep code_norm_step(FloatNormStep norm) {
  auto kept = std::make_shared<const FloatNormStep>(std::move(norm));
  return [kept](Inputs& in) -> Planned {
    ops::check_activation("norm", "input", codes("norm", in, 0));
    const View& x = in.dense(0);
    const int64_t rows = kept->row ? x.numel() / kept->row : 0;
    check(rows * kept->row == x.numel(), "norm: input: expected rows of ", kept->row, " elements, got ", x.text());
    const bool is_signed = is_signed8(x.qparams->dtype());
    return {.outputs = {{.view = floats(x.shape)}}, .run = [=, scale = x.qparams->scales()[0]](const Operands& t) {
              const FloatNormStep& k = *kept;
              ops::code_norm_into(t.in[0]->bytes(), is_signed, rows, k.row,
                                  {.scale = scale,
                                   .eps = k.eps,
                                   .weight = k.weight.empty() ? nullptr : k.weight.data(),
                                   .bias = k.bias.empty() ? nullptr : k.bias.data(),
                                   .groups = k.groups,
                                   .run = k.run},
                                  t.out[0]->data<float>());
            }};
  };
}

}  // namespace octensor::program
