// Movement. What strides can say is a view and costs nothing; QTensor's methods work out which views there are.
#include <algorithm>

#include "core/check.h"
#include "core/copy.h"
#include "ops/checks.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

// Some memory that is never touched: views are told apart by where they begin in it.
uint8_t* nowhere() { return reinterpret_cast<uint8_t*>(uintptr_t{1} << 40); }

Output alias(const View& from, const QTensor& view) {
  const QParamsPtr qparams = from.element == Element::codes ? view.qparams_ptr() : nullptr;
  return {.view = {from.element, qparams, view.shape(), view.strides()},
          .alias = 0,
          .offset = (view.bytes() - nowhere()) / static_cast<int64_t>(view.itemsize())};
}

Planned view_of(const Inputs& in, const QTensor& view) { return {.outputs = {alias(in[0], view)}}; }

// Python's slice(start, stop, step) of an axis: its first index and its length.
std::pair<int64_t, int64_t> range_of(const Cut& cut, int64_t size, int64_t batch) {
  const auto at = [&](const std::optional<Size>& index, int64_t missing) {
    if (!index) return missing;
    const int64_t i = index->at(batch) < 0 ? index->at(batch) + size : index->at(batch);
    return cut.step > 0 ? std::clamp<int64_t>(i, 0, size) : std::clamp<int64_t>(i, -1, size - 1);
  };
  const int64_t first = at(cut.start, cut.step > 0 ? 0 : size - 1), end = at(cut.stop, cut.step > 0 ? size : -1);
  const int64_t way = cut.step > 0 ? end - first : first - end, step = std::abs(cut.step);
  return {first, way > 0 ? (way + step - 1) / step : 0};
}

}  // namespace

PlanStep reshape_step(std::vector<Size> shape) {
  return [=](Inputs& in) -> Planned {
    Shape wanted = sizes_at(shape, in.batch());
    int64_t known = 1;
    auto open = wanted.end();
    for (auto i = wanted.begin(); i != wanted.end(); ++i) *i == -1 ? void(open = i) : void(known *= *i);
    if (open != wanted.end()) *open = known ? in[0].numel() / known : 0;
    check(count(wanted) == in[0].numel(), "reshape: shape: expected as many elements as the input's ", in[0].text(),
          ", got ", to_text(wanted));
    if (auto view = in[0].tensor(nowhere()).try_view(wanted)) return view_of(in, *view);
    return view_of(in, *in.dense(0).tensor(nowhere()).try_view(wanted));
  };
}

PlanStep permute_step(std::vector<int> axes) {
  return [=](Inputs& in) { return view_of(in, in[0].tensor(nowhere()).permute(axes)); };
}

PlanStep expand_step(std::vector<Size> shape) {
  return [=](Inputs& in) {
    Shape wanted = sizes_at(shape, in.batch());
    const size_t extra = wanted.size() - std::min(wanted.size(), in[0].shape.size());
    for (size_t i = extra; i < wanted.size(); ++i)
      if (wanted[i] == -1) wanted[i] = in[0].shape[i - extra];
    return view_of(in, in[0].tensor(nowhere()).expand(wanted));
  };
}

PlanStep cut_step(std::vector<Cut> cuts) {
  return [=](Inputs& in) {
    QTensor x = in[0].tensor(nowhere());
    int axis = 0;
    for (const Cut& cut : cuts) {
      if (cut.kind == Cut::insert) {
        Shape shape = x.shape(), strides = x.strides();
        shape.insert(shape.begin() + axis, 1);
        strides.insert(strides.begin() + axis, 0);
        QParamsPtr q = x.qparams_ptr();
        if (q->axis() >= axis) q = std::make_shared<QParams>(q->with_axis(q->axis() + 1));
        x = QTensor({}, x.bytes(), std::move(shape), std::move(strides), std::move(q));
        ++axis;
        continue;
      }
      check(axis < x.ndim(), "index: expected at most ", x.ndim(), " indices, got more");
      const int64_t size = x.size(axis);
      if (cut.kind == Cut::index) {
        const int64_t wanted = cut.start->at(in.batch()), i = wanted < 0 ? wanted + size : wanted;
        check(i >= 0 && i < size, "index: expected an index in [", -size, ", ", size - 1, "] for axis ", axis, " of ",
              in[0].text(), ", got ", wanted);
        x = x.select(axis, i);
      } else {
        const auto [first, length] = range_of(cut, size, in.batch());
        x = x.slice(axis++, first, length, cut.step);
      }
    }
    return view_of(in, x);
  };
}

PlanStep contiguous_step(Layout layout) {
  return [=](Inputs& in) { return view_of(in, in.dense(0, layout).tensor(nowhere())); };
}

PlanStep cat_step(int64_t axis, QParamsPtr qparams) {
  return [=](Inputs& in) -> Planned {
    struct Part {
      std::vector<CopyAxis> axes;
      int64_t offset;  // bytes
      bool same;       // the codes need no change
      ops::CodeTable table;
    };
    const View& first = in[0];
    std::vector<Shape> shapes;
    for (size_t i = 0; i < in.size(); ++i) {
      want(first.element, "cat", in, i);
      if (qparams) ops::check_activation("cat", "tensors", in[i].tensor());
      shapes.push_back(in[i].shape);
    }
    if (qparams) ops::check_output("cat", *qparams);
    const View out = dense_view(first.element, qparams, ops::cat_shape(shapes, axis), first.layout());
    const int a = normalize_axis("cat", "dim", axis, out.ndim());
    // Parts are whole blocks of the result where no axis that lies outside of this one has more than one place.
    bool blocks = true;
    for (int i = 0; i < out.ndim(); ++i)
      blocks = blocks && (i == a || out.shape[i] == 1 || out.strides[i] < out.strides[a]);
    const auto item = static_cast<size_t>(out.itemsize());
    Planned planned{.outputs = {{.view = out}}};
    std::vector<Part> parts;
    int64_t at = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      const View& x = in[i];
      Part part{.axes = copy_plan(x.strides, out.strides, x.shape),
                .offset = at * out.strides[a] * static_cast<int64_t>(item),
                .same = !qparams || *x.qparams == *qparams,
                .table = {}};
      if (!part.same) part.table = ops::requantize_table(*x.qparams, *qparams);
      planned.places.push_back(blocks && part.same && x.is_dense(first.layout()) ? at * out.strides[a] : -1);
      at += x.shape[a];
      if (x.numel() == 0) planned.places.back() = -1;
      parts.push_back(std::move(part));
    }
    planned.run = [parts = std::move(parts), item](const Operands& t) {
      for (size_t i = 0; i < parts.size(); ++i) {
        const Part& part = parts[i];
        uint8_t* to = t.out[0]->bytes() + part.offset;
        if (t.in[i]->bytes() == to || t.in[i]->view().numel() == 0) continue;  // made there
        if (part.same)
          copy_planned(t.in[i]->bytes(), to, part.axes, item);
        else
          ops::map_strided(part.axes, part.table.data(), t.in[i]->bytes(), to);
      }
    };
    return planned;
  };
}

}  // namespace octensor::program
