// Values moved to other places than a view can say: padding, nearest interpolation, indices.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "ops/gather.h"
#include "ops/pick.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

using Mode = AxisPick::Mode;

// The place that a padded axis of n has at i, counted from the first place of the input.
int64_t padded_place(Mode mode, int64_t i, int64_t n) {
  if (i >= 0 && i < n) return i;
  switch (mode) {
    case Mode::reflect:
      return i < 0 ? -i : 2 * (n - 1) - i;
    case Mode::replicate:
      return std::clamp<int64_t>(i, 0, n - 1);
    case Mode::circular:
      return (i + n) % n;
    default:
      return -1;
  }
}

ops::PickPlan::Sources sources_of(const AxisPick& pick, int64_t n) {
  std::vector<int64_t> sources;
  switch (pick.kind) {
    case AxisPick::whole:
      return std::nullopt;
    case AxisPick::pad: {
      const int64_t a = pick.before, b = pick.after, least = std::min(a, b), most = std::max(a, b);
      const int64_t room = pick.mode == Mode::reflect ? n - 1 : n;
      const bool fits = pick.mode == Mode::constant    ? n + a + b >= 0 && least >= -n
                        : pick.mode == Mode::replicate ? least >= 0 && (n > 0 || most == 0)
                                                       : least >= 0 && (most <= room || most == 0);
      check(fits, "pad: pad: ", a, " and ", b, " do not fit an axis of size ", n);
      for (int64_t i = -a; i < n + b; ++i) sources.push_back(padded_place(pick.mode, i, n));
      return sources;
    }
    case AxisPick::nearest:
      check(n > 0, "interpolate: input: expected at least one place on each axis");
      for (int64_t i = 0; i < pick.size; ++i) {
        const float at = std::floor(static_cast<float>(i) * pick.ratio);
        check(at >= 0, "interpolate: axes: expected a ratio that is not negative, got ", pick.ratio);
        sources.push_back(at < static_cast<float>(n - 1) ? static_cast<int64_t>(at) : n - 1);
      }
      return sources;
    case AxisPick::places:
      for (int64_t place : pick.list) {
        check(place >= -n && place < n, "index: expected an index in [", -n, ", ", n - 1, "], got ", place);
        sources.push_back(place < 0 ? place + n : place);
      }
      return sources;
  }
  return std::nullopt;
}

// A number as the low bytes of an element.
uint64_t bits_of(const View& x, double value) {
  if (x.element == Element::float32) return std::bit_cast<uint32_t>(static_cast<float>(value));
  return static_cast<uint64_t>(static_cast<int64_t>(value));
}

int64_t along(const char* op, int64_t axis, const View& x) {
  check(axis >= -x.ndim() && axis < x.ndim(), op, ": dim: expected an axis of ", x.text(), ", got ", axis);
  return axis < 0 ? axis + x.ndim() : axis;
}

const View& movable(const char* op, Inputs& in, size_t i, Layout layout = Layout::contiguous) {
  if (in[i].element == Element::codes)
    check<TypeError>(!in[i].qparams->per_channel() && in[i].qparams->dtype() != DType::quint4x2, op,
                     ": input: expected 8-bit or 32-bit codes with one scale, got ", in[i].text());
  return in.dense(i, layout);
}

}  // namespace

PlanStep pick_step(std::vector<AxisPick> picks, double fill) {
  return [=](Inputs& in) -> Planned {
    const View& x = movable("pick", in, 0, in[0].layout());
    check(static_cast<int>(picks.size()) == x.ndim(), "pick: input: expected ", picks.size(), " axes, got ", x.text());
    std::vector<ops::PickPlan::Sources> sources;
    Shape shape = x.shape;
    for (int a = 0; a < x.ndim(); ++a) {
      sources.push_back(sources_of(picks[a], x.shape[a]));
      if (sources.back()) shape[a] = static_cast<int64_t>(sources.back()->size());
    }
    View out = dense_view(x.element, x.qparams, std::move(shape), x.layout());
    auto plan = std::make_shared<const ops::PickPlan>(sources, x.shape, x.strides, out.strides);
    const auto item = static_cast<size_t>(x.itemsize());
    return {.outputs = {{.view = std::move(out)}}, .run = [=, bits = bits_of(x, fill)](const Operands& t) {
              plan->run(t.in[0]->bytes(), item, bits, t.out[0]->bytes());
            }};
  };
}

PlanStep take_step(int64_t dim) {
  return [=](Inputs& in) -> Planned {
    want(Element::int64, "take", in, 1);
    const View& x = movable("take", in, 0);
    const int64_t a = along("take", dim, x), n = x.shape[a];
    const Shape indices = in.dense(1).shape, before(x.shape.begin(), x.shape.begin() + a),
                after(x.shape.begin() + a + 1, x.shape.end());
    Shape shape = before;
    shape.insert(shape.end(), indices.begin(), indices.end());
    shape.insert(shape.end(), after.begin(), after.end());
    const int64_t outer = count(before), inner = count(after) * x.itemsize(), some = count(indices);
    return {.outputs = {{.view = dense_view(x.element, x.qparams, std::move(shape))}}, .run = [=](const Operands& t) {
              ops::take_into(t.in[0]->bytes(), outer, n, inner, t.in[1]->data<int64_t>(), some, t.out[0]->bytes());
            }};
  };
}

PlanStep take_along_step(int64_t dim) {
  return [=](Inputs& in) -> Planned {
    want(Element::int64, "gather", in, 1);
    const View& x = movable("gather", in, 0);
    const int64_t a = along("gather", dim, x), n = x.shape[a], item = x.itemsize();
    const Shape shape = in.dense(1).shape;
    Shape same = x.shape;
    if (static_cast<int>(shape.size()) == x.ndim()) same[a] = shape[a];
    check(shape == same, "gather: indices: expected the sizes of ", x.text(), " but along axis ", a, ", got ",
          to_text(shape));
    const int64_t outer = count({shape.begin(), shape.begin() + a}),
                  inner = count({shape.begin() + a + 1, shape.end()});
    return {.outputs = {{.view = dense_view(x.element, x.qparams, shape)}},
            .run = [=, some = shape[a]](const Operands& t) {
              ops::take_along_into(t.in[0]->bytes(), outer, n, inner, t.in[1]->data<int64_t>(), some, item,
                                   t.out[0]->bytes());
            }};
  };
}

PlanStep gather_nd_step() {
  return [](Inputs& in) -> Planned {
    want(Element::int64, "gather_nd", in, 1);
    const View& x = movable("gather_nd", in, 0);
    const Shape indices = in.dense(1).shape;
    check(!indices.empty() && indices.back() >= 1 && indices.back() <= x.ndim(),
          "gather_nd: indices: expected tuples of at most ", x.ndim(), " indices, got ", to_text(indices));
    const auto middle = x.shape.begin() + indices.back();
    const Shape sizes(x.shape.begin(), middle), after(middle, x.shape.end());
    Shape shape(indices.begin(), indices.end() - 1);
    const int64_t some = count(shape), inner = count(after) * x.itemsize();
    shape.insert(shape.end(), after.begin(), after.end());
    return {.outputs = {{.view = dense_view(x.element, x.qparams, std::move(shape))}}, .run = [=](const Operands& t) {
              ops::gather_nd_into(t.in[0]->bytes(), sizes, inner, t.in[1]->data<int64_t>(), some, t.out[0]->bytes());
            }};
  };
}

}  // namespace octensor::program
