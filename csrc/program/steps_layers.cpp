#include "ops/checks.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

using MakeCall = std::function<std::shared_ptr<const ops::PoolCall>(const QTensor&)>;

PlanStep pool_step(MakeCall make) {
  return [=](Inputs& in) -> Planned {
    const QTensor x = codes("pool", in, 0);
    auto call = make(x);
    in.dense(0, Layout::channels_last);
    return {
        .outputs = {{.view = dense_view(Element::codes, in[0].qparams, ops::pool_shape(*call), Layout::channels_last)}},
        .run = [call](const Operands& t) { ops::pool_into(*call, t.in[0]->codes(), t.out[0]->codes()); }};
  };
}

}  // namespace

PlanStep conv_step(Shared<PackedConv> w, QParamsPtr qparams, bool relu) {
  return [=](Inputs& in) -> Planned {
    const QTensor x = codes(w->op(), in, 0);
    Shape shape = ops::conv_shape(*w, x.shape());
    ops::check_activation(w->op(), "input", x);
    ops::check_output(w->op(), *qparams);
    if (x.stride(1) != 1 && x.size(1) != 1) in.dense(0, Layout::channels_last);
    const int64_t upsample = w->upsample[0] * w->upsample[1] * w->upsample[2];
    const int64_t work = count(shape) * w->matrix().k / upsample;
    return {.outputs = {{.view = dense_view(Element::codes, qparams, std::move(shape), Layout::channels_last)}},
            .run = [w, epilogue = w->epilogue(x.qparams(), *qparams), relu](
                       const Operands& t) { ops::conv_into(t.in[0]->codes(), *w, epilogue, relu, t.out[0]->codes()); },
            .multiply_adds = work,
            .constant_bytes = w->weight().numel()};
  };
}

PlanStep linear_step(Shared<PackedLinear> w, QParamsPtr qparams, bool relu) {
  return [=](Inputs& in) -> Planned {
    const QTensor x = codes("linear", in, 0);
    Shape shape = ops::linear_shape(*w, x.shape());
    ops::check_activation("linear", "input", x);
    ops::check_output("linear", *qparams);
    if (x.ndim() != 2 || (x.stride(1) != 1 && x.size(1) != 1)) in.dense(0);
    const int64_t work = count(shape) * w->matrix().k;
    return {
        .outputs = {{.view = dense_view(Element::codes, qparams, std::move(shape))}},
        .run = [w, epilogue = w->epilogue(x.qparams(), *qparams), relu](
                   const Operands& t) { ops::linear_into(t.in[0]->codes(), *w, *epilogue, relu, t.out[0]->codes()); },
        .multiply_adds = work,
        .constant_bytes = w->weight().numel()};
  };
}

PlanStep max_pool_step(ops::Sizes kernel, ops::Sizes stride, ops::Sizes padding, ops::Sizes dilation, bool ceil_mode) {
  return pool_step(
      [=](const QTensor& x) { return ops::max_pool_call(x, kernel, stride, padding, dilation, ceil_mode); });
}

PlanStep avg_pool_step(ops::Sizes kernel, ops::Sizes stride, ops::Sizes padding, bool ceil_mode, bool count_include_pad,
                       std::optional<int64_t> divisor_override) {
  return pool_step([=](const QTensor& x) {
    return ops::avg_pool_call(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override);
  });
}

PlanStep adaptive_avg_pool_step(std::vector<std::optional<int64_t>> output_size) {
  return pool_step([=](const QTensor& x) { return ops::adaptive_avg_pool_call(x, output_size); });
}

}  // namespace octensor::program
