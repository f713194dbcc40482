// Steps along axes that choose or count: extremes and where they are, sums of whole numbers, running sums.
#include "core/check.h"
#include "ops/extremes.h"
#include "ops/sorted.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

ops::Ordered ordered(const char* op, const View& x) {
  check<TypeError>(x.element != Element::boolean && (x.element != Element::codes || !x.qparams->per_channel()), op,
                   ": input: expected numbers, or codes with one scale, got ", x.text());
  if (x.element == Element::codes && x.itemsize() == 1)
    return is_signed8(x.qparams->dtype()) ? ops::Ordered::int8 : ops::Ordered::uint8;
  return x.element == Element::float32 ? ops::Ordered::float32
         : x.element == Element::int64 ? ops::Ordered::int64
                                       : ops::Ordered::int32;
}

// The last axes of an input as rows.
struct Rows {
  Shape shape;  // without them
  int64_t rows, n;
  Rows(const char* op, const View& x, int axes) {
    check(x.ndim() >= axes, op, ": input: expected at least ", axes, " axes, got ", x.text());
    const auto middle = x.shape.end() - axes;
    shape.assign(x.shape.begin(), middle);
    rows = count(shape);
    n = count({middle, x.shape.end()});
  }
};

}  // namespace

PlanStep extreme_step(int axes, bool largest) {
  return [=](Inputs& in) -> Planned {
    const View& x = in.dense(0);
    const Rows r("amax", x, axes);
    check(r.n > 0 || r.rows == 0, "amax: input: expected at least one value, got ", x.text());
    return {.outputs = {{.view = dense_view(x.element, x.qparams, r.shape)}},
            .run = [=, kind = ordered("amax", x), rows = r.rows, n = r.n](const Operands& t) {
              ops::extremes_into(kind, largest, t.in[0]->bytes(), rows, n, t.out[0]->bytes());
            }};
  };
}

PlanStep place_step(bool largest, bool last) {
  return [=](Inputs& in) -> Planned {
    const View& x = in.dense(0);
    const Rows r("argmax", x, 1);
    check(r.n > 0 || r.rows == 0, "argmax: input: expected at least one value, got ", x.text());
    return {.outputs = {{.view = dense_view(Element::int64, {}, r.shape)}},
            .run = [=, kind = ordered("argmax", x), rows = r.rows, n = r.n](const Operands& t) {
              ops::places_into(kind, largest, last, t.in[0]->bytes(), rows, n, t.out[0]->data<int64_t>());
            }};
  };
}

PlanStep sorted_step(bool descending) {
  return [=](Inputs& in) -> Planned {
    const View& x = in.dense(0);
    const Rows r("sort", x, 1);
    return {.outputs = {{.view = dense_view(Element::int64, {}, x.shape)}},
            .run = [=, kind = ordered("sort", x), rows = r.rows, n = r.n](const Operands& t) {
              ops::sorted_into(kind, descending, t.in[0]->bytes(), rows, n, t.out[0]->data<int64_t>());
            }};
  };
}

PlanStep whole_sum_step(int axes) {
  return [=](Inputs& in) -> Planned {
    const View& x = in.dense(0);
    check<TypeError>(x.element == Element::int64 || x.element == Element::int32,
                     "sum: input: expected whole numbers, got ", x.text());
    const Rows r("sum", x, axes);
    return {.outputs = {{.view = dense_view(x.element, {}, r.shape)}},
            .run = [=, kind = ordered("sum", x), rows = r.rows, n = r.n](const Operands& t) {
              ops::whole_sums_into(kind, t.in[0]->bytes(), rows, n, t.out[0]->bytes());
            }};
  };
}

PlanStep running_sums_step(int64_t dim) {
  return [=](Inputs& in) -> Planned {
    const View& x = in.dense(0);
    check<TypeError>(x.element != Element::boolean && x.element != Element::codes,
                     "cumsum: input: expected numbers, got ", x.text());
    check(dim >= 0 && dim < x.ndim(), "cumsum: dim: expected an axis of ", x.text(), ", got ", dim);
    const auto axis = x.shape.begin() + dim;
    const int64_t outer = count({x.shape.begin(), axis}), inner = count({axis + 1, x.shape.end()});
    return {.outputs = {{.view = x}}, .run = [=, kind = ordered("cumsum", x), n = *axis](const Operands& t) {
              ops::running_sums_into(kind, t.in[0]->bytes(), outer, n, inner, t.out[0]->bytes());
            }};
  };
}

}  // namespace octensor::program
