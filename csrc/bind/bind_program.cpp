// Programs: their making, step by step, and their runs.
#include "bind/program_steps.h"
#include "core/check.h"
#include "program/steps.h"

namespace octensor::bind {
namespace {

using program::Element;
using program::Program;
using program::Size;
using program::View;

// A tensor as a program takes it: what it is, where it lies, and who keeps it.
struct Taken {
  View view;
  uint8_t* data;
  py::object keep;
};

std::optional<Element> element_of(const py::dtype& t) {
  const bool native = t.byteorder() == '=' || t.byteorder() == '|' || t.byteorder() == '<';
  if (!native) return std::nullopt;
  if (t.kind() == 'f' && t.itemsize() == 4) return Element::float32;
  if (t.kind() == 'i' && t.itemsize() == 8) return Element::int64;
  if (t.kind() == 'i' && t.itemsize() == 4) return Element::int32;
  if (t.kind() == 'b') return Element::boolean;
  return std::nullopt;
}

py::dtype dtype_of(Element e) {
  return e == Element::float32 ? py::dtype::of<float>()
         : e == Element::int64 ? py::dtype::of<int64_t>()
         : e == Element::int32 ? py::dtype::of<int32_t>()
                               : py::dtype::of<bool>();
}

Taken take(const char* where, const py::handle& object) {
  if (py::isinstance<QTensor>(object)) {
    auto& q = object.cast<QTensor&>();
    return {{Element::codes, q.qparams_ptr(), q.shape(), q.strides()},
            q.bytes(),
            py::reinterpret_borrow<py::object>(object)};
  }
  // Texts are made only where they are needed: one costs more than a small network.
  if (!py::isinstance<py::array>(object))
    throw TypeError(text(where, ": expected arrays or QTensors, got ", std::string(py::str(py::type::of(object)))));
  py::array a = py::reinterpret_borrow<py::array>(object);
  const auto element = element_of(a.dtype());
  if (!element)
    throw TypeError(text(where, ": expected float32, int64, int32 or bool, got ", std::string(py::str(a.dtype()))));
  const py::ssize_t item = a.itemsize();
  bool readable = reinterpret_cast<uintptr_t>(a.data()) % item == 0;
  for (py::ssize_t i = 0; i < a.ndim(); ++i) readable &= a.strides(i) % item == 0;
  if (!readable) a = py::module_::import("numpy").attr("ascontiguousarray")(a);
  View view{*element, {}, {a.shape(), a.shape() + a.ndim()}, {a.strides(), a.strides() + a.ndim()}};
  for (auto& s : view.strides) s /= item;
  return {std::move(view), static_cast<uint8_t*>(const_cast<void*>(a.data())), a};
}

py::object make_result(const View& view, uint8_t*& data) {
  if (view.element == Element::codes) {
    QTensor q = QTensor::empty(view.shape, view.qparams, view.layout());
    data = q.bytes();
    return py::cast(std::move(q));
  }
  if (view.element == Element::float32) {
    py::array a = float_result(view.shape, view.strides);
    data = static_cast<uint8_t*>(a.mutable_data());
    return a;
  }
  Shape strides = view.strides;
  for (auto& s : strides) s *= view.itemsize();
  py::array a(dtype_of(view.element), view.shape, strides);
  data = static_cast<uint8_t*>(a.mutable_data());
  return a;
}

// A call's inputs, checked.
struct Call {
  std::vector<py::object> keep;
  std::vector<View> views;
  std::vector<uint8_t*> data;
  std::shared_ptr<const program::Plan> plan;

  Call(Program& p, const py::sequence& inputs) {
    const size_t wanted = p.inputs().size();
    if (inputs.size() != wanted) {
      std::string names;
      for (const auto& spec : p.inputs()) names += (names.empty() ? "" : ", ") + spec.name;
      throw TypeError(
          text("program: expected ", wanted, wanted == 1 ? " input (" : " inputs (", names, "), got ", inputs.size()));
    }
    for (size_t i = 0; i < wanted; ++i) {
      Taken t = [&] {
        try {
          return take("", inputs[i]);
        } catch (const TypeError& e) {
          throw TypeError(text("program: input '", p.inputs()[i].name, "'", e.what()));
        }
      }();
      p.check_input(i, t.view);
      keep.push_back(std::move(t.keep));
      views.push_back(std::move(t.view));
      data.push_back(t.data);
    }
    plan = p.known_plan(views);
    if (plan) return;
    py::gil_scoped_release unlocked;
    const DefaultFloatEnvironment environment;
    plan = p.plan(views);
  }
};

py::list run(Program& p, const py::sequence& inputs, std::vector<double>* seconds = nullptr) {
  const Call call(p, inputs);
  py::list results;
  std::vector<uint8_t*> outputs(call.plan->outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i)
    results.append(make_result(call.plan->places[call.plan->outputs[i]].view, outputs[i]));
  if (seconds) seconds->resize(call.plan->steps.size());
  py::gil_scoped_release unlocked;
  p.run(call.plan, call.data.data(), outputs.data(), seconds ? seconds->data() : nullptr);
  return results;
}

std::vector<std::string> texts(const program::Plan& plan, const std::vector<int>& places) {
  std::vector<std::string> out;
  for (int place : places) out.push_back(plan.places[place].view.text());
  return out;
}

// What a plan's steps are, for people: one dict each.
py::list describe(Program& p, const py::sequence& inputs) {
  const Call call(p, inputs);
  py::list rows;
  for (const program::PlannedStep& s : call.plan->steps) {
    int64_t bytes = s.what.constant_bytes;
    bool in_place = false;
    for (int place : s.in) bytes += call.plan->places[place].view.bytes();
    for (int place : s.out) {
      bytes += call.plan->places[place].view.bytes();
      for (int from : s.in) in_place |= call.plan->places[place].buffer == call.plan->places[from].buffer;
    }
    py::dict row;
    row["op"] = s.step < 0 ? "copy" : p.graph().steps[s.step].op;
    row["path"] = s.step < 0 ? "" : p.graph().steps[s.step].path;
    row["inputs"] = texts(*call.plan, s.in);
    row["outputs"] = texts(*call.plan, s.out);
    row["multiply_adds"] = s.what.multiply_adds;
    row["bytes"] = bytes;
    row["in_place"] = in_place;
    rows.append(row);
  }
  return rows;
}

py::dict memory(Program& p, const py::sequence& inputs) {
  const Call call(p, inputs);
  py::dict sizes;
  int64_t constants = 0;
  for (const auto& s : call.plan->steps) constants += s.what.constant_bytes;
  sizes["arena"] = call.plan->arena_bytes;
  sizes["live"] = call.plan->live_bytes;
  sizes["weights"] = constants;
  return sizes;
}

// None: a new axis; an integer: one place, and the axis goes; (start, stop, step), ends as (fixed, per_batch) or None.
std::vector<program::Cut> cuts_of(const py::sequence& items) {
  using End = std::optional<std::pair<int64_t, int64_t>>;
  const auto size = [](const End& end) { return end ? std::optional(Size{end->first, end->second}) : std::nullopt; };
  std::vector<program::Cut> cuts;
  for (const auto& item : items) {
    if (item.is_none()) {
      cuts.push_back({program::Cut::insert, {}, {}, 1});
    } else if (py::isinstance<py::tuple>(item)) {
      const auto [start, stop, step] = item.cast<std::tuple<End, End, int64_t>>();
      check(step != 0, "index: expected a step other than 0, got 0");
      cuts.push_back({program::Cut::range, size(start), size(stop), step});
    } else {
      cuts.push_back({program::Cut::index, Size{item.cast<int64_t>(), 0}, {}, 1});
    }
  }
  return cuts;
}

}  // namespace

void bind_program(py::module_& m) {
  using namespace program;
  using Q = const std::shared_ptr<QParams>&;
  ProgramClass c(m, "Program", R"(A network as one planned list of steps; ``octensor.compile`` makes them.

Built by adding inputs, constants and steps, each of which gives the number of a value, and naming the outputs.)");
  c.def(py::init<>())
      .def(
          "add_input",
          [](Program& p, std::string name, const py::object& like, std::vector<int64_t> sizes) {
            Taken t = take("add_input", like);
            t.view.shape = std::move(sizes);
            return p.add_input({std::move(name), std::move(t.view)});
          },
          py::arg("name"), py::arg("like"), py::arg("sizes"),
          "An input with the dtype (and parameters) of `like`; sizes of -1 are free.")
      .def(
          "add_constant",
          [](Program& p, const py::object& value) {
            Taken t = take("add_constant", value);
            return p.add_constant({std::move(t.view), borrow(t.data, keep_alive(t.keep), false), t.data});
          },
          py::arg("value"), "A tensor that is the same in every call; it must not change.")
      .def("set_batch_axis", &Program::set_batch_axis, py::arg("axis"), "Which axis of the first input the batch is.")
      .def("set_outputs", &Program::set_outputs, py::arg("values"), "Name the values that a call returns.")
      .def(
          "run", [](Program& p, const py::sequence& inputs) { return run(p, inputs); }, py::arg("inputs"),
          "Run all steps; any number of threads may.")
      .def(
          "run_timed",
          [](Program& p, const py::sequence& inputs) {
            std::vector<double> seconds;
            run(p, inputs, &seconds);
            return seconds;
          },
          py::arg("inputs"), "Run all steps and return the seconds that each took.")
      .def("describe", &describe, py::arg("inputs"), "What the steps are for inputs of these shapes, one dict each.")
      .def("memory", &memory, py::arg("inputs"), "Bytes of the arena, of its largest live set, and of the weights.");

  step<Q, bool>(
      c, "quantize", [](Q q, bool last) { return quantize_step(q, last); }, py::arg("qparams").none(false),
      py::arg("channels_last"));
  step(c, "dequantize", [] { return dequantize_step(); });
  step<Q>(c, "requantize", [](Q q) { return requantize_step(q); }, py::arg("qparams").none(false));
  step<const py::array_t<uint8_t, py::array::c_style>&, Q>(
      c, "lookup",
      [](const py::array_t<uint8_t, py::array::c_style>& table, Q q) {
        check(table.size() == 256, "lookup: table: expected 256 entries, got ", table.size());
        ops::CodeTable codes;
        std::copy_n(table.data(), 256, codes.begin());
        return lookup_step(codes, q);
      },
      py::arg("table"), py::arg("qparams").none(false));
  for (auto [name, which] : {std::pair("add", ops::Binary::add), std::pair("mul", ops::Binary::mul)})
    step<Q, bool>(
        c, name, [which = which](Q q, bool relu) { return binary_step(which, q, relu); },
        py::arg("qparams").none(false), py::arg("relu") = false);

  step<std::shared_ptr<PackedConv>, Q, bool>(
      c, "conv", [](std::shared_ptr<PackedConv> w, Q q, bool relu) { return conv_step(std::move(w), q, relu); },
      py::arg("packed").none(false), py::arg("qparams").none(false), py::arg("relu") = false);
  step<std::shared_ptr<PackedLinear>, Q, bool>(
      c, "linear", [](std::shared_ptr<PackedLinear> w, Q q, bool relu) { return linear_step(std::move(w), q, relu); },
      py::arg("packed").none(false), py::arg("qparams").none(false), py::arg("relu") = false);
  using S = ops::Sizes;
  step<S, S, S, S, bool>(c, "max_pool", &max_pool_step, py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
                         py::arg("dilation"), py::arg("ceil_mode"));
  step<S, S, S, bool, bool, std::optional<int64_t>>(c, "avg_pool", &avg_pool_step, py::arg("kernel_size"),
                                                    py::arg("stride"), py::arg("padding"), py::arg("ceil_mode"),
                                                    py::arg("count_include_pad"), py::arg("divisor_override"));
  step<std::vector<std::optional<int64_t>>>(c, "adaptive_avg_pool", &adaptive_avg_pool_step, py::arg("output_size"));

  step<std::shared_ptr<PackedLinear>, bool, bool, bool>(
      c, "linear_dynamic",
      [](std::shared_ptr<PackedLinear> w, bool reduce_range, bool relu, bool per_row) {
        return linear_dynamic_step(std::move(w), {reduce_range, relu, per_row});
      },
      py::arg("packed").none(false), py::arg("reduce_range") = false, py::arg("relu") = false,
      py::arg("per_row") = false);
  step<std::shared_ptr<PackedInt4Linear>, bool>(
      c, "linear_int4", [](std::shared_ptr<PackedInt4Linear> w, bool relu) { return linear_int4_step(w, relu); },
      py::arg("packed").none(false), py::arg("relu") = false);
  step<std::shared_ptr<PackedWeightOnly>, bool>(
      c, "linear_weight_only",
      [](std::shared_ptr<PackedWeightOnly> w, bool relu) {
        return linear_weight_only_step(Shared<PackedWeightOnly>(w), relu);
      },
      py::arg("packed").none(false), py::arg("relu") = false);
  step<std::shared_ptr<PackedInt4Linear>, bool>(
      c, "linear_weight_only",
      [](std::shared_ptr<PackedInt4Linear> w, bool relu) {
        return linear_weight_only_step(Shared<PackedInt4Linear>(w), relu);
      },
      py::arg("packed").none(false), py::arg("relu") = false);

  step<const SizePairs&>(c, "reshape", [](const SizePairs& s) { return reshape_step(sizes_of(s)); }, py::arg("sizes"));
  step<std::vector<int>>(c, "permute", &permute_step, py::arg("dims"));
  step<const SizePairs&>(c, "expand", [](const SizePairs& s) { return expand_step(sizes_of(s)); }, py::arg("sizes"));
  step<const py::sequence&>(
      c, "cut", [](const py::sequence& items) { return cut_step(cuts_of(items)); }, py::arg("index"));
  step<bool>(
      c, "contiguous", [](bool last) { return contiguous_step(last ? Layout::channels_last : Layout::contiguous); },
      py::arg("channels_last") = false);
  step<int64_t, Q>(c, "cat", [](int64_t dim, Q q) { return cat_step(dim, q); }, py::arg("dim"), py::arg("qparams"));
  bind_program_floats(c);
  bind_program_elements(c);
}

}  // namespace octensor::bind
