#include <algorithm>
#include <cstring>
#include <numeric>

#include "isa/dispatch.h"
#include "ops/recurrent.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

View floats(Shape shape) { return dense_view(Element::float32, {}, std::move(shape)); }

// Row `index` of a quantized table, as reals.
void real_row(const QTensor& table, int64_t index, int64_t width, float* out) {
  const QParams& q = table.qparams();
  const size_t c = q.per_channel() ? index : 0;
  const uint8_t* codes = table.bytes() + index * width;
  if (q.has_float_zero_points()) {
    const float scale = q.scales()[c], zero = q.float_zero_points()[c];
    for (int64_t i = 0; i < width; ++i)
      out[i] = (static_cast<float>(is_signed8(q.dtype()) ? static_cast<int8_t>(codes[i]) : int32_t{codes[i]}) - zero) *
               scale;
  } else {
    kernel_table().dequantize(codes, is_signed8(q.dtype()), width, q.scales()[c], q.zero_points()[c], out);
  }
}

}  // namespace

PlanStep recurrent_step(RecurrentCell cell, Shared<PackedLinear> w_ih, Shared<PackedLinear> w_hh,
                        std::vector<Size> sizes, bool backward, bool reduce_range) {
  return [=](Inputs& in) -> Planned {
    constexpr const char* kOp = "recurrent";
    const Shape times = sizes_at(sizes, in.batch());
    const int64_t rows = std::accumulate(times.begin(), times.end(), int64_t{0});
    const int64_t inputs = w_ih->matrix().k, hidden = w_hh->matrix().k, width = w_ih->matrix().columns;
    check(width == ops::gates_of(cell) * hidden && w_hh->matrix().columns == width, kOp,
          ": weights: expected gates * hidden rows in both");
    check(!times.empty() && std::is_sorted(times.rbegin(), times.rend()), kOp,
          ": sizes: expected the number of rows at each time, never more than the time before");
    for (size_t i = 0; i < in.size(); ++i) {
      want(Element::float32, kOp, in, i);
      const Shape wanted = i ? Shape{times[0], hidden} : Shape{rows, inputs};
      check(in[i].shape == wanted, kOp, ": expected shape ", to_text(wanted), ", got ", in[i].text());
      in.dense(i);
    }
    Planned planned;
    planned.outputs.push_back({.view = floats({rows, hidden})});
    for (size_t i = 1; i < in.size(); ++i)
      planned.outputs.push_back({.view = floats({times[0], hidden}), .replaces = 1u << i});
    planned.multiply_adds = rows * width * (inputs + hidden);
    planned.constant_bytes = width * (inputs + hidden);
    planned.run = [=, states = in.size() - 1](const Operands& t) {
      for (size_t i = 0; i < states; ++i)
        if (t.in[1 + i]->bytes() != t.out[1 + i]->bytes())
          std::memcpy(t.out[1 + i]->bytes(), t.in[1 + i]->bytes(), times[0] * hidden * sizeof(float));
      ops::recurrent({.cell = cell, .input = *w_ih, .hidden = *w_hh, .reduce_range = reduce_range},
                     t.in[0]->data<float>(), times, backward, t.out[1]->data<float>(),
                     states > 1 ? t.out[2]->data<float>() : nullptr, t.out[0]->data<float>(), hidden);
    };
    return planned;
  };
}

PlanStep embedding_step() {
  return [](Inputs& in) -> Planned {
    constexpr const char* kOp = "embedding";
    want(Element::int64, kOp, in, 1);
    const View& table = in.dense(0);
    check<TypeError>(table.element == Element::float32 || table.element == Element::codes, kOp,
                     ": weight: expected floats or codes, got ", table.text());
    check(table.ndim() == 2, kOp, ": weight: expected shape [rows, D], got ", to_text(table.shape));
    const int64_t known = table.shape[0], width = table.shape[1];
    Shape shape = in.dense(1).shape;
    const int64_t n = count(shape);
    shape.push_back(width);
    const bool quantized = table.element == Element::codes;
    return {.outputs = {{.view = floats(std::move(shape))}}, .run = [=](const Operands& t) {
              const auto* indices = t.in[1]->data<int64_t>();
              float* out = t.out[0]->data<float>();
              if (n == 0) return;
              const auto [least, most] = std::minmax_element(indices, indices + n);
              check(*least >= 0 && *most < known, kOp, ": input: expected values in [0, ", known, "), got ", *least,
                    " to ", *most);
              if (!quantized) return ops::float_embedding_into(t.in[0]->data<float>(), width, indices, n, out);
              for (int64_t i = 0; i < n; ++i) real_row(t.in[0]->codes(), indices[i], width, out + i * width);
            }};
  };
}

}  // namespace octensor::program
