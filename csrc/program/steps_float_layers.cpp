// Float layers with weights, matrix products, convolutions and pools.
#include <algorithm>

#include "isa/dispatch.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

View floats(Shape shape, Layout layout = Layout::contiguous) {
  return dense_view(Element::float32, {}, std::move(shape), layout);
}

using Triple = std::array<int64_t, 3>;

Triple spatial_of(const Shape& shape) {
  Triple size{1, 1, 1};
  for (size_t i = 2; i < shape.size(); ++i) size[i + 3 - shape.size()] = shape[i];
  return size;
}

// The distance between matrices [..., r, c] of a view, all the same; nothing where they are not.
std::optional<int64_t> even_step(const View& x) {
  const int lead = x.ndim() - 2;
  int64_t step = 0, size = 1;
  for (int i = lead; i-- > 0;) {
    if (x.shape[i] == 1) continue;
    if (size == 1)
      step = x.strides[i];
    else if (x.strides[i] != step * size)
      return std::nullopt;
    size *= x.shape[i];
  }
  return step;
}

}  // namespace

PlanStep float_linear_step(Shared<PackedFloat> w, bool relu) {
  return [=](Inputs& in) -> Planned {
    want(Element::float32, "linear", in, 0);
    check(in[0].ndim() >= 1 && in[0].shape.back() == w->k(), "linear: input: expected shape [..., ", w->k(),
          "] (in_features of the weight), got ", to_text(in[0].shape));
    Shape shape = in.dense(0).shape;
    const int64_t rows = count({shape.begin(), shape.end() - 1}), columns = w->columns();
    shape.back() = columns;
    return {.outputs = {{.view = floats(std::move(shape))}},
            .run =
                [=](const Operands& t) {
                  ops::float_linear_into(t.in[0]->data<float>(), rows, *w, relu, t.out[0]->data<float>());
                },
            .multiply_adds = rows * columns * w->k(),
            .constant_bytes = 4 * columns * w->k()};
  };
}

PlanStep float_matmul_step() {
  return [](Inputs& in) -> Planned {
    want(Element::float32, "matmul", in, 0);
    want(Element::float32, "matmul", in, 1);
    const Shape a = in[0].shape, b = in[1].shape;
    check(a.size() >= 2 && b.size() >= 2 && a.back() == b[b.size() - 2],
          "matmul: expected [..., M, K] and [..., K, N], got ", to_text(a), " and ", to_text(b));
    const int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
    const bool shared = b.size() == 2;
    const Shape lead = shared ? Shape(a.begin(), a.end() - 2)
                              : broadcast("matmul", {a.begin(), a.end() - 2}, {b.begin(), b.end() - 2});
    const auto whole = [&](int64_t r, int64_t c) {
      Shape s = lead;
      s.push_back(r);
      s.push_back(c);
      return s;
    };
    if (in[0].shape != whole(m, k) || in[0].strides.back() != 1 || !even_step(in[0]))
      in.expanded(0, whole(m, k), Layout::contiguous);
    if (!shared && (in[1].shape != whole(k, n) || !even_step(in[1]))) in.expanded(1, whole(k, n), Layout::contiguous);
    const int64_t batch = count(lead), a_step = *even_step(in[0]), b_step = shared ? 0 : *even_step(in[1]);
    const int64_t rows = in[0].strides[in[0].ndim() - 2];
    const int64_t down = in[1].strides[in[1].ndim() - 2], across = in[1].strides.back();
    return {.outputs = {{.view = floats(whole(m, n))}},
            .run =
                [=](const Operands& t) {
                  if (batch * m * n == 0) return;
                  ops::float_matmul_into({t.in[0]->data<float>(), m, rows}, a_step,
                                         {t.in[1]->data<float>(), k, n, down, across}, b_step, batch,
                                         t.out[0]->data<float>());
                },
            .multiply_adds = batch * m * n * k};
  };
}

PlanStep float_conv_step(FloatConvStep conv) {
  auto kept = std::make_shared<const FloatConvStep>(std::move(conv));
  return [kept](Inputs& in) -> Planned {
    const FloatConvStep& c = *kept;
    want(Element::float32, "conv", in, 0);
    check(in[0].ndim() == c.spec.spatial + 2 && in[0].shape[1] == c.channels, "conv: input: expected ", c.channels,
          " channels and ", c.spec.spatial, " spatial axes, got ", in[0].text());
    const Shape x = in.dense(0, Layout::channels_last).shape;
    const Triple size = spatial_of(x), out = FloatFilters::output_size(c.spec, c.kernel, size);
    Shape shape{x[0], c.outputs};
    for (int i = 3 - c.spec.spatial; i < 3; ++i) {
      check(out[i] >= 0 && (c.spec.transposed || out[i] > 0 || x[0] == 0),
            "conv: input: the kernel does not fit an input of shape ", to_text(x));
      shape.push_back(out[i]);
    }
    const int64_t taps = c.kernel[0] * c.kernel[1] * c.kernel[2], results = count(shape), batch = x[0];
    const int64_t per_channel = taps * (c.spec.transposed ? c.outputs : c.channels) / c.spec.groups;
    return {.outputs = {{.view = floats(std::move(shape), Layout::channels_last)}},
            .run =
                [=](const Operands& t) {
                  if (results == 0) return;
                  const auto filters = kept->w->filters(kernel_table());
                  ops::float_conv_into(t.in[0]->data<float>(), batch, size, *filters, kept->w->bias(), kept->relu,
                                       t.out[0]->data<float>());
                },
            .multiply_adds = (c.spec.transposed ? in[0].numel() : results) * per_channel,
            .constant_bytes = 4 * taps * c.channels * c.outputs / c.spec.groups};
  };
}

PlanStep float_pool_step(FloatReduce reduce, size_t axes, MakeWindows windows, std::vector<int64_t> dilation,
                         std::optional<float> divisor) {
  return [=](Inputs& in) -> Planned {
    want(Element::float32, "pool", in, 0);
    check(in[0].ndim() == static_cast<int>(axes) + 2, "pool: input: expected ", axes + 2, " dimensions, got ",
          in[0].text());
    const Shape x = in.dense(0, Layout::channels_last).shape;
    auto pool = std::make_shared<ops::FloatPool>(ops::FloatPool{.reduce = reduce, .windows = {}, .divisor = divisor});
    Shape shape{x[0], x[1]};
    for (size_t i = 0; i < 3; ++i) {
      const bool real = i + axes >= 3;
      pool->windows[i] = real ? windows(i + axes - 3, x[i + axes - 1]) : std::vector<PoolWindow>{{0, 1, 1}};
      if (!real) continue;
      if (!dilation.empty()) pool->dilation[i] = dilation[i + axes - 3];
      shape.push_back(static_cast<int64_t>(pool->windows[i].size()));
    }
    const int64_t results = count(shape), batch = x[0], channels = x[1];
    return {.outputs = {{.view = floats(std::move(shape), Layout::channels_last)}},
            .run = [=, size = spatial_of(x)](const Operands& t) {
              if (results == 0) return;
              ops::float_pool_into(t.in[0]->data<float>(), batch, size, channels, *pool, t.out[0]->data<float>());
            }};
  };
}

}  // namespace octensor::program
