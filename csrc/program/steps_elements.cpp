// Steps on elements of every kind: comparisons, logic, choices, whole numbers, casts, and floats' further functions.
#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "ops/elements.h"
#include "ops/float_power.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

constexpr int64_t kMostValues = int64_t{1} << 30;  // that a few numbers may ask for

// Elements but codes are the first of `Element`, in the same order.
ops::Kind kind_of(const char* op, const Inputs& in, size_t i) {
  check<TypeError>(in[i].element != Element::codes, op, ": input: expected numbers, got ", in[i].text(),
                   ": dequantize it first");
  switch (in[i].element) {
    case Element::float32:
      return ops::Kind::float32;
    case Element::int64:
      return ops::Kind::int64;
    case Element::int32:
      return ops::Kind::int32;
    default:
      return ops::Kind::boolean;
  }
}

Element element_of(ops::Kind kind) {
  switch (kind) {
    case ops::Kind::float32:
      return Element::float32;
    case ops::Kind::int64:
      return Element::int64;
    case ops::Kind::int32:
      return Element::int32;
    default:
      return Element::boolean;
  }
}

Planned unary_of(Inputs& in, ops::Function<ops::UnaryRow> function, double a, double b) {
  const View x = in.dense(0, in[0].layout());
  View out = dense_view(element_of(function.result), {}, x.shape, x.layout());
  const auto item = static_cast<size_t>(x.itemsize()), out_item = static_cast<size_t>(out.itemsize());
  return {.outputs = {{.view = std::move(out), .replaces = item == out_item ? 1u : 0u}},
          .run = [=, n = x.numel()](const Operands& t) {
            ops::unary_into(function.row, t.in[0]->bytes(), item, n, a, b, t.out[0]->bytes(), out_item);
          }};
}

// All inputs broadcast to one shape, in the order of the result's memory.
struct Broadcasting {
  View out;
  ops::Broadcast how;
};
Broadcasting broadcasting(const char* op, Inputs& in, Element element, QParamsPtr qparams) {
  Shape shape = in[0].shape;
  for (size_t i = 1; i < in.size(); ++i) shape = broadcast(op, shape, in[i].shape);
  Layout layout = Layout::contiguous;
  for (size_t i = 0; i < in.size(); ++i)
    if (in[i].shape == shape && in[i].layout() == Layout::channels_last) layout = Layout::channels_last;
  View out = dense_view(element, std::move(qparams), shape, layout);
  std::vector<int> order(shape.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int i, int j) { return out.strides[i] > out.strides[j]; });
  Shape sizes;
  std::vector<Shape> strides(in.size());
  for (int axis : order) sizes.push_back(shape[axis]);
  for (size_t i = 0; i < in.size(); ++i) {
    const Shape own = in[i].tensor().expand(shape).strides();
    for (int axis : order) strides[i].push_back(shape[axis] == 1 ? 0 : own[axis]);
  }
  return {std::move(out), {sizes, strides}};
}

ops::Operand operand(const Slot& slot) { return {slot.bytes(), static_cast<size_t>(slot.view().itemsize())}; }

}  // namespace

PlanStep unary_step(const std::string& name, double a, double b) {
  return [=](Inputs& in) { return unary_of(in, ops::unary_named(name, kind_of(name.c_str(), in, 0)), a, b); };
}

PlanStep cast_step(Element to) {
  return [=](Inputs& in) -> Planned {
    const ops::Kind from = kind_of("cast", in, 0);
    if (in[0].element == to) return {.outputs = {{.view = in[0], .alias = 0}}};
    const ops::Kind kinds[] = {ops::Kind::float32, ops::Kind::int64, ops::Kind::int32, ops::Kind::boolean};
    const auto kind =
        *std::find_if(std::begin(kinds), std::end(kinds), [&](ops::Kind k) { return element_of(k) == to; });
    return unary_of(in, ops::cast_between(from, kind), 0, 0);
  };
}

PlanStep pair_step(const std::string& name) {
  return [=](Inputs& in) -> Planned {
    const ops::Kind kind = kind_of(name.c_str(), in, 0);
    check<TypeError>(in[1].element == in[0].element, name, ": expected two tensors of one dtype, got ", in[0].text(),
                     " and ", in[1].text());
    const auto function = ops::pair_named(name, kind);
    Broadcasting b = broadcasting(name.c_str(), in, element_of(function.result), {});
    const auto item = static_cast<size_t>(b.out.itemsize());
    return {.outputs = {{.view = std::move(b.out)}}, .run = [=, how = std::move(b.how)](const Operands& t) {
              how.run(function.row, operand(*t.in[0]), operand(*t.in[1]), t.out[0]->bytes(), item);
            }};
  };
}

PlanStep select_step() {
  return [](Inputs& in) -> Planned {
    want(Element::boolean, "where", in, 0);
    const bool codes = in[1].element == Element::codes;
    check<TypeError>(in[1].element == in[2].element &&
                         (!codes || (*in[1].qparams == *in[2].qparams && !in[1].qparams->per_channel())),
                     "where: expected two tensors of one kind, got ", in[1].text(), " and ", in[2].text());
    Broadcasting b = broadcasting("where", in, in[1].element, in[1].qparams);
    const auto item = static_cast<size_t>(b.out.itemsize());
    return {.outputs = {{.view = std::move(b.out)}},
            .run = [=, how = std::move(b.how), row = ops::select_of(item)](const Operands& t) {
              how.run(row, operand(*t.in[0]), operand(*t.in[1]), operand(*t.in[2]), t.out[0]->bytes(), item);
            }};
  };
}

PlanStep range_step(Size start, Size stop, int64_t step) {
  return [=](Inputs& in) -> Planned {
    const int64_t first = start.at(in.batch()), last = stop.at(in.batch());
    check(step != 0, "range: step: expected a number other than 0, got 0");
    const int64_t way = step > 0 ? last - first : first - last, by = std::abs(step);
    const int64_t n = way > 0 ? (way + by - 1) / by : 0;
    check(n <= kMostValues, "range: expected at most ", kMostValues, " numbers, got ", n);
    return {.outputs = {{.view = dense_view(Element::int64, {}, {n})}}, .run = [=](const Operands& t) {
              for (int64_t i = 0; i < n; ++i) t.out[0]->data<int64_t>()[i] = first + i * step;
            }};
  };
}

PlanStep float_power_step(float exponent) {
  return [=](Inputs& in) -> Planned {
    want(Element::float32, "pow", in, 0);
    const View& x = in.dense(0, in[0].layout());
    return {.outputs = {{.view = x, .replaces = 1}}, .run = [=, n = x.numel()](const Operands& t) {
              ops::float_power_into(t.in[0]->data<float>(), n, exponent, t.out[0]->data<float>());
            }};
  };
}

PlanStep float_response_norm_step(ops::ResponseNorm norm) {
  return [=](Inputs& in) -> Planned {
    want(Element::float32, "local_response_norm", in, 0);
    const View& x = in.dense(0);
    ops::check_response_norm(x.shape, norm);
    const int64_t outer = x.shape[0], channels = x.shape[1], inner = count({x.shape.begin() + 2, x.shape.end()});
    return {.outputs = {{.view = x}}, .run = [=](const Operands& t) {
              ops::float_response_norm_into(t.in[0]->data<float>(), outer, channels, inner, norm,
                                            t.out[0]->data<float>());
            }};
  };
}

}  // namespace octensor::program
