#include "core/check.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

// Float input [..., K] to float output [..., N].
PlanStep rows_step(const char* op, int64_t k, int64_t n, int64_t constant_bytes, Run run) {
  return [=](Inputs& in) -> Planned {
    want(Element::float32, op, in, 0);
    check(in[0].ndim() >= 1 && in[0].shape.back() == k, op, ": input: expected shape [..., ", k,
          "] (in_features of the weight), got ", to_text(in[0].shape));
    Shape shape = in.dense(0).shape;
    shape.back() = n;
    const int64_t work = count(shape) * k;
    return {.outputs = {{.view = dense_view(Element::float32, {}, std::move(shape))}},
            .run = run,
            .multiply_adds = work,
            .constant_bytes = constant_bytes};
  };
}

}  // namespace

PlanStep linear_dynamic_step(Shared<PackedLinear> w, ops::DynamicLinear how) {
  const WeightMatrix& m = w->matrix();
  return rows_step("linear_dynamic", m.k, m.columns, m.k * m.columns, [w, how](const Operands& t) {
    ops::linear_dynamic(t.in[0]->floats(), *w, how, t.out[0]->data<float>());
  });
}

PlanStep linear_int4_step(Shared<PackedInt4Linear> w, bool relu) {
  const int64_t k = w->in_features(), n = w->out_features();
  return rows_step("linear_int4", k, n, k * n / 2, [w, relu](const Operands& t) {
    ops::linear_int4(t.in[0]->floats(), *w, relu, t.out[0]->data<float>());
  });
}

PlanStep linear_weight_only_step(Shared<PackedWeightOnly> w, bool relu) {
  const int64_t k = w->in_features(), n = w->out_features();
  return rows_step("linear_weight_only", k, n, k * n, [w, relu](const Operands& t) {
    ops::linear_weight_only(t.in[0]->floats(), *w, relu, t.out[0]->data<float>());
  });
}

PlanStep linear_weight_only_step(Shared<PackedInt4Linear> w, bool relu) {
  const int64_t k = w->in_features(), n = w->out_features();
  return rows_step("linear_weight_only", k, n, k * n / 2, [w, relu](const Operands& t) {
    ops::linear_weight_only(t.in[0]->floats(), *w, relu, t.out[0]->data<float>());
  });
}

}  // namespace octensor::program
