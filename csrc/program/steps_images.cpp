// Steps on images by channels and spatial axes: linear interpolation, and tables of codes for each channel.
#include "ops/channel_tables.h"
#include "ops/checks.h"
#include "ops/resample.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {

PlanStep resample_step(std::vector<ops::ResampleAxis> axes, bool align_corners) {
  return [=](Inputs& in) -> Planned {
    const bool codes = in[0].element == Element::codes;
    if (codes)
      ops::check_activation("interpolate", "input", in[0].tensor());
    else
      want(Element::float32, "interpolate", in, 0);
    const View& x = in.dense(0, in[0].layout());
    auto how = std::make_shared<const ops::LinearResample>(x.shape, x.layout(), axes, align_corners);
    return {.outputs = {{.view = dense_view(x.element, x.qparams, how->shape(), x.layout())}},
            .run =
                [how, codes](const Operands& t) {
                  if (codes)
                    how->codes(t.in[0]->bytes(), *t.in[0]->view().qparams, t.workspace, t.out[0]->bytes());
                  else
                    how->floats(t.in[0]->data<float>(), t.workspace, t.out[0]->data<float>());
                },
            .workspace = how->workspace(codes)};
  };
}

PlanStep lookup_channels_step(std::vector<uint8_t> tables, QParamsPtr qparams) {
  auto kept = std::make_shared<const std::vector<uint8_t>>(std::move(tables));
  const auto channels = static_cast<int64_t>(kept->size()) / 256;
  return [=](Inputs& in) -> Planned {
    ops::check_activation("lookup", "input", codes("lookup", in, 0));
    ops::check_output("lookup", *qparams);
    check(in[0].ndim() >= 2 && in[0].shape[1] == channels, "lookup: input: expected ", channels, " channels, got ",
          in[0].text());
    const View& x = in.dense(0, in[0].layout());
    const bool last = x.layout() == Layout::channels_last || x.ndim() == 2;
    const int64_t inner = last ? 1 : count({x.shape.begin() + 2, x.shape.end()});
    const int64_t rows = x.numel() == 0 ? 0 : x.numel() / (inner * channels);
    View out = dense_view(Element::codes, qparams, x.shape, x.layout());
    return {.outputs = {{.view = std::move(out), .replaces = 1}}, .run = [=](const Operands& t) {
              ops::lookup_channels_into(t.in[0]->bytes(), rows, channels, inner, kept->data(), t.out[0]->bytes());
            }};
  };
}

}  // namespace octensor::program
