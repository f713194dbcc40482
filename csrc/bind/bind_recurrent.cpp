// Recurrent layers and cells, and the curves they are made of.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "bind/bind.h"
#include "core/check.h"
#include "isa/dispatch.h"
#include "ops/recurrent.h"

namespace octensor::bind {

RecurrentCell cell_of(const std::string& name) {
  if (name == "lstm") return RecurrentCell::lstm;
  if (name == "gru") return RecurrentCell::gru;
  if (name == "rnn_tanh") return RecurrentCell::rnn_tanh;
  check(name == "rnn_relu", "recurrent: cell: expected 'lstm', 'gru', 'rnn_tanh' or 'rnn_relu', got '", name, "'");
  return RecurrentCell::rnn_relu;
}

namespace {

// A dense float32 array of the given shape, or an error that names it.
py::array dense_floats(const char* op, const char* argument, const py::array& array, const Shape& shape) {
  check_dtype(op, argument, array, py::dtype::of<float>());
  const Shape got(array.shape(), array.shape() + array.ndim());
  if (got != shape) check(false, op, ": ", argument, ": expected shape ", to_text(shape), ", got ", to_text(got));
  return py::array::ensure(array, py::array::c_style);
}

py::array curve(Curve which, const py::array& x) {
  const Shape shape(x.shape(), x.shape() + x.ndim());
  const py::array dense = dense_floats("curve", "input", x, shape);
  py::array_t<float> out(shape);
  const auto* from = static_cast<const float*>(dense.data());
  float* to = out.mutable_data();
  const int64_t n = out.size();
  {
    py::gil_scoped_release unlocked;
    const DefaultFloatEnvironment environment;
    kernel_table().curve(which, from, n, to);
  }
  return out;
}

// Copies of the state's tensors [rows, hidden], as many as the cell has, to be updated in place.
std::vector<py::array_t<float>> state_of(const char* op, RecurrentCell cell, const std::vector<py::array>& state,
                                         int64_t rows, int64_t hidden) {
  const size_t wanted = cell == RecurrentCell::lstm ? 2 : 1;
  check(state.size() == wanted, op, ": state: expected ", wanted, " tensors, got ", state.size());
  std::vector<py::array_t<float>> out;
  for (const py::array& s : state) {
    const py::array dense = dense_floats(op, "state", s, {rows, hidden});
    out.emplace_back(Shape{rows, hidden});
    std::memcpy(out.back().mutable_data(), dense.data(), rows * hidden * sizeof(float));
  }
  return out;
}

py::tuple step(const std::string& name, const py::array& gi, const py::array& gh, const std::vector<py::array>& state) {
  constexpr const char* kOp = "recurrent_step";
  const RecurrentCell cell = cell_of(name);
  check(!state.empty() && state[0].ndim() == 2, kOp, ": state: expected shape [N, H]");
  const int64_t rows = state[0].shape(0), hidden = state[0].shape(1), width = ops::gates_of(cell) * hidden;
  const py::array x = dense_floats(kOp, "gi", gi, {rows, width}), y = dense_floats(kOp, "gh", gh, {rows, width});
  auto after = state_of(kOp, cell, state, rows, hidden);
  const auto *input = static_cast<const float*>(x.data()), *part = static_cast<const float*>(y.data());
  float *h = after[0].mutable_data(), *c = after.size() > 1 ? after[1].mutable_data() : nullptr;
  {
    py::gil_scoped_release unlocked;
    const DefaultFloatEnvironment environment;
    for (int64_t i = 0; i < rows; ++i)
      kernel_table().recurrent_cell(cell, input + i * width, part + i * width, hidden, h + i * hidden,
                                    c ? c + i * hidden : nullptr);
  }
  return py::tuple(py::cast(after));
}

py::tuple recurrent(const std::string& name, const py::array& input, const std::vector<int64_t>& sizes,
                    const std::vector<py::array>& state, const PackedLinear& w_ih, const PackedLinear& w_hh,
                    bool backward, bool reduce_range, const py::object& out) {
  constexpr const char* kOp = "recurrent";
  const RecurrentCell cell = cell_of(name);
  const int64_t inputs = w_ih.matrix().k, hidden = w_hh.matrix().k, width = ops::gates_of(cell) * hidden;
  check(w_ih.matrix().columns == width && w_hh.matrix().columns == width, kOp,
        ": weights: expected gates * hidden = ", width, " rows in both, got ", w_ih.matrix().columns, " and ",
        w_hh.matrix().columns);
  check(input.ndim() == 2, kOp, ": input: expected shape [rows, ", inputs, "], got ", input.ndim(), " dimensions");
  check(sizes.empty() ||
            (std::is_sorted(sizes.rbegin(), sizes.rend()) && sizes.back() >= 0 && sizes[0] <= input.shape(0)),
        kOp, ": sizes: expected the number of rows at each time, never more than the time before");
  const int64_t rows = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  const py::array x = dense_floats(kOp, "input", input, {rows, inputs});
  check(!state.empty() && state[0].ndim() == 2 && (sizes.empty() || state[0].shape(0) == sizes[0]), kOp,
        ": state: expected shape [N, H] with N rows at the first time");
  auto after = state_of(kOp, cell, state, state[0].shape(0), hidden);
  float* to = nullptr;
  int64_t stride = 0;
  if (!out.is_none()) {
    auto array = py::cast<py::array>(out);
    check_dtype(kOp, "out", array, py::dtype::of<float>());
    check(array.writeable() && array.ndim() == 2 && array.shape(0) == rows && array.shape(1) == hidden &&
              (array.size() <= rows || array.strides(1) == sizeof(float)) && array.strides(0) % sizeof(float) == 0,
          kOp, ": out: expected a writable array of shape [", rows, ", ", hidden, "] with adjacent columns");
    to = static_cast<float*>(array.mutable_data());
    stride = array.strides(0) / static_cast<int64_t>(sizeof(float));
  }
  const auto* from = static_cast<const float*>(x.data());
  float *h = after[0].mutable_data(), *c = after.size() > 1 ? after[1].mutable_data() : nullptr;
  {
    py::gil_scoped_release unlocked;
    const DefaultFloatEnvironment environment;
    ops::recurrent({.cell = cell, .input = w_ih, .hidden = w_hh, .reduce_range = reduce_range}, from, sizes, backward,
                   h, c, to, stride);
  }
  return py::tuple(py::cast(after));
}

}  // namespace

void bind_recurrent(py::module_& m) {
  m.def(
      "exp", [](const py::array& x) { return curve(Curve::exp, x); }, py::arg("input"),
      "exp of float32 numbers, the same bits on every CPU.");
  m.def(
      "sigmoid", [](const py::array& x) { return curve(Curve::sigmoid, x); }, py::arg("input"),
      "1 / (1 + exp(-x)) of float32 numbers, the same bits on every CPU.");
  m.def(
      "tanh", [](const py::array& x) { return curve(Curve::tanh, x); }, py::arg("input"),
      "tanh of float32 numbers, the same bits on every CPU.");
  m.def("recurrent_step", &step, py::arg("cell"), py::arg("gi"), py::arg("gh"), py::arg("state"),
        R"(One step of a recurrent cell: the state after it.

Parameters
----------
cell : {"lstm", "gru", "rnn_tanh", "rnn_relu"}
gi, gh : ndarray of float32, shape [N, gates * H]
    The input's and the hidden state's parts of the gates (i, f, g, o; r, z, n), before their nonlinearity.
state : tuple of ndarrays, shape [N, H]
    (h, c) for an LSTM, (h,) for the others.)");
  m.def("recurrent", &recurrent, py::arg("cell"), py::arg("input"), py::arg("sizes"), py::arg("state"), py::arg("w_ih"),
        py::arg("w_hh"), py::arg("backward") = false, py::arg("reduce_range") = false, py::arg("out") = py::none(),
        R"(A recurrent layer in one direction over whole sequences: the state of each after its last step.

The whole input is quantized with one range, the hidden state of each step with its own, as linear_dynamic does.

Parameters
----------
cell : {"lstm", "gru", "rnn_tanh", "rnn_relu"}
input : ndarray of float32, shape [rows, K]
    The rows of time 0, then those of time 1, ...
sizes : list of int
    The number of rows at each time, never more than the time before.
state : tuple of ndarrays, shape [sizes[0], H]
    (h, c) for an LSTM, (h,) for the others.
w_ih, w_hh : PackedLinear
    With gates * H rows.
backward : bool
    Whether to go from the last time to the first.
out : ndarray of float32, shape [rows, H], optional
    Receives h after each step; its rows may be apart.)");
}

}  // namespace octensor::bind
