#include "core/copy.h"
#include "ops/checks.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {

PlanStep quantize_step(QParamsPtr qparams, bool channels_last) {
  return [=](Inputs& in) -> Planned {
    want(Element::float32, "quantize", in, 0);
    const Layout layout = channels_last && in[0].ndim() == 4 ? Layout::channels_last : Layout::contiguous;
    View out = dense_view(Element::codes, qparams, in[0].shape, layout);
    if (!ops::quantizes_in_one_pass({nullptr, in[0].shape, in[0].strides}, *qparams, out.strides))
      in.dense(0, qparams->per_channel() ? Layout::contiguous : layout);
    auto axes = copy_plan(in[0].strides, out.strides, in[0].shape);
    return {.outputs = {{.view = std::move(out)}}, .run = [axes = std::move(axes)](const Operands& t) {
              ops::quantize_into(t.in[0]->floats(), axes, t.out[0]->codes());
            }};
  };
}

PlanStep dequantize_step() {
  return [](Inputs& in) -> Planned {
    want(Element::codes, "dequantize", in, 0);
    const View& x = in.dense(0, in[0].qparams->per_channel() ? Layout::contiguous : in[0].layout());
    return {.outputs = {{.view = {Element::float32, {}, x.shape, x.strides}}}, .run = [](const Operands& t) {
              ops::dequantize(t.in[0]->codes(), t.out[0]->data<float>(), t.in[0]->view().strides);
            }};
  };
}

PlanStep lookup_step(const ops::CodeTable& table, QParamsPtr qparams) {
  return [=](Inputs& in) -> Planned {
    ops::check_activation("lookup", "input", codes("lookup", in, 0));
    ops::check_output("lookup", *qparams);
    const View& x = in.dense(0, in[0].layout());
    return {.outputs = {{.view = {Element::codes, qparams, x.shape, x.strides}, .replaces = 1}},
            .run = [table](const Operands& t) { ops::lookup_into(t.in[0]->codes(), table.data(), t.out[0]->codes()); }};
  };
}

PlanStep requantize_step(QParamsPtr qparams) {
  return [=](Inputs& in) -> Planned {
    const QTensor x = codes("requantize", in, 0);
    if (x.qparams() == *qparams) return {.outputs = {{.view = in[0], .alias = 0}}};
    ops::check_activation("requantize", "input", x);
    ops::check_output("requantize", *qparams);
    return lookup_step(ops::requantize_table(x.qparams(), *qparams), qparams)(in);
  };
}

PlanStep binary_step(ops::Binary which, QParamsPtr qparams, bool relu) {
  return [=](Inputs& in) -> Planned {
    const char* op = which == ops::Binary::add ? "add" : "mul";
    ops::check_activation(op, "a", codes(op, in, 0));
    ops::check_activation(op, "b", codes(op, in, 1));
    ops::check_output(op, *qparams);
    const Shape shape = broadcast(op, in[0].shape, in[1].shape);
    const Layout layout = in[in[0].shape == shape ? 0 : 1].layout();
    in.expanded(0, shape, layout);
    in.expanded(1, shape, layout);
    return {.outputs = {{.view = dense_view(Element::codes, qparams, shape, layout), .replaces = 3}},
            .run = [=](const Operands& t) {
              ops::binary_into(which, t.in[0]->codes(), t.in[1]->codes(), relu, t.out[0]->codes());
            }};
  };
}

}  // namespace octensor::program
