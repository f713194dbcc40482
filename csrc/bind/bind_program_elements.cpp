// The steps of programs that work on elements of every kind, or move them.
#include "bind/program_steps.h"
#include "core/check.h"
#include "program/steps.h"

namespace octensor::bind {
namespace {

using program::AxisPick;
using program::Element;
using program::Size;

// None: the axis as it is; ("pad", before, after, mode), ("nearest", size, ratio) or ("places", [...]).
std::vector<AxisPick> picks_of(const py::sequence& items) {
  std::vector<AxisPick> picks;
  for (const auto& item : items) {
    AxisPick pick;
    if (!item.is_none()) {
      const auto parts = item.cast<py::tuple>();
      const auto kind = parts[0].cast<std::string>();
      if (kind == "pad") {
        const auto mode = parts[3].cast<std::string>();
        pick.kind = AxisPick::pad;
        pick.before = parts[1].cast<int64_t>();
        pick.after = parts[2].cast<int64_t>();
        pick.mode = mode == "reflect"     ? AxisPick::Mode::reflect
                    : mode == "replicate" ? AxisPick::Mode::replicate
                    : mode == "circular"  ? AxisPick::Mode::circular
                                          : AxisPick::Mode::constant;
      } else if (kind == "nearest") {
        pick.kind = AxisPick::nearest;
        pick.size = parts[1].cast<int64_t>();
        pick.ratio = parts[2].cast<float>();
      } else {
        pick.kind = AxisPick::places;
        pick.list = parts[1].cast<std::vector<int64_t>>();
      }
    }
    picks.push_back(std::move(pick));
  }
  return picks;
}

Element element_named(const std::string& name) {
  if (name == "float32") return Element::float32;
  if (name == "int64") return Element::int64;
  if (name == "int32") return Element::int32;
  check(name == "bool", "cast: dtype: expected float32, int64, int32 or bool, got ", name);
  return Element::boolean;
}

}  // namespace

void bind_program_elements(ProgramClass& c) {
  using namespace program;
  step<const std::string&, double, double>(c, "unary", &unary_step, py::arg("name"), py::arg("a") = 0.0,
                                           py::arg("b") = 0.0);
  step<const std::string&>(
      c, "cast", [](const std::string& name) { return cast_step(element_named(name)); }, py::arg("dtype"));
  step<const std::string&>(c, "pair", &pair_step, py::arg("name"));
  step(c, "select", &select_step);
  step<int, bool>(c, "extreme", &extreme_step, py::arg("axes"), py::arg("largest"));
  step<bool, bool>(c, "place", &place_step, py::arg("largest"), py::arg("last"));
  step<bool>(c, "sorted", &sorted_step, py::arg("descending"));
  step<int>(c, "whole_sum", &whole_sum_step, py::arg("axes"));
  step<int64_t>(c, "running_sums", &running_sums_step, py::arg("dim"));
  using Ends = std::pair<int64_t, int64_t>;
  step<Ends, Ends, int64_t>(
      c, "range",
      [](Ends start, Ends stop, int64_t by) {
        return range_step({start.first, start.second}, {stop.first, stop.second}, by);
      },
      py::arg("start"), py::arg("stop"), py::arg("by"));
  step<float>(c, "float_power", &float_power_step, py::arg("exponent"));
  step<int64_t, double, float, float>(
      c, "float_response_norm",
      [](int64_t size, double alpha, float beta, float bias) {
        return float_response_norm_step({size, alpha, beta, bias});
      },
      py::arg("size"), py::arg("alpha"), py::arg("beta"), py::arg("bias"));
  step<const py::sequence&, double>(
      c, "pick", [](const py::sequence& axes, double fill) { return pick_step(picks_of(axes), fill); }, py::arg("axes"),
      py::arg("fill") = 0.0);
  step<int64_t>(c, "take", &take_step, py::arg("dim"));
  step<int64_t>(c, "take_along", &take_along_step, py::arg("dim"));
  step(c, "gather_nd", &gather_nd_step);
  using Axes = std::vector<std::pair<int64_t, double>>;
  step<const Axes&, bool>(
      c, "resample",
      [](const Axes& axes, bool align_corners) {
        std::vector<ops::ResampleAxis> how;
        for (auto [size, ratio] : axes) how.push_back({size, ratio});
        return resample_step(std::move(how), align_corners);
      },
      py::arg("axes"), py::arg("align_corners"));
  step<const py::array_t<uint8_t, py::array::c_style>&, const std::shared_ptr<QParams>&>(
      c, "lookup_channels",
      [](const py::array_t<uint8_t, py::array::c_style>& tables, const std::shared_ptr<QParams>& q) {
        check(tables.size() % 256 == 0, "lookup: tables: expected 256 entries per channel, got ", tables.size());
        return lookup_channels_step({tables.data(), tables.data() + tables.size()}, q);
      },
      py::arg("tables"), py::arg("qparams").none(false));
  step<const std::shared_ptr<QParams>&>(
      c, "with_qparams", [](const std::shared_ptr<QParams>& q) { return with_qparams_step(q); },
      py::arg("qparams").none(false));
  c.def(
      "dynamic_quantize",
      [](Program& p, std::vector<int> inputs, std::string path) {
        return p.add_step("dynamic_quantize", std::move(path), std::move(inputs), 3, dynamic_quantize_step());
      },
      py::arg("inputs"), py::arg("path"));
  step<bool, bool>(c, "matmul_integer", &matmul_integer_step, py::arg("a_zeros"), py::arg("b_zeros"));
}

}  // namespace octensor::bind
