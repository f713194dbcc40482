// Float functions that are no arithmetic, as the eager ops call them: programs' steps do the same work.
#include <array>

#include "bind/bind.h"
#include "core/check.h"
#include "core/copy.h"
#include "ops/elements.h"
#include "ops/extremes.h"
#include "ops/float_power.h"
#include "ops/resample.h"

namespace octensor::bind {
namespace {

using Array = py::array;

// A float32 array, dense in C order: a copy where it is not already so.
struct Dense {
  py::array keep;
  StoragePtr copy;
  Shape shape;
  const float* values;

  Dense(const char* op, const Array& array) {
    const ops::FloatView view = float_view(op, "input", array, keep);
    shape = view.shape;
    values = view.data;
    const Shape dense = dense_strides(shape, Layout::contiguous);
    bool is_dense = true;
    for (size_t i = 0; i < dense.size(); ++i) is_dense &= shape[i] == 1 || view.strides[i] == dense[i];
    if (is_dense || count(shape) == 0) return;
    copy = allocate(count(shape) * sizeof(float));
    copy_strided(reinterpret_cast<const uint8_t*>(values), view.strides, copy.get(), dense, shape, sizeof(float));
    values = reinterpret_cast<const float*>(copy.get());
  }
  const uint8_t* bytes() const { return reinterpret_cast<const uint8_t*>(values); }
};

template <class Run>
Array result(const Shape& shape, const Run& run) {
  Array out = float_result(shape, dense_strides(shape, Layout::contiguous));
  auto* const to = static_cast<float*>(out.mutable_data());
  py::gil_scoped_release released;
  const DefaultFloatEnvironment environment;
  run(to);
  return out;
}

Array float_pair(const std::string& name, const Array& a, const Array& b) {
  const Dense x(name.c_str(), a), y(name.c_str(), b);
  const auto function = ops::pair_named(name, ops::Kind::float32);
  check(function.result == ops::Kind::float32, "float_pair: name: expected a function with float results, got '", name,
        "'");
  const Shape shape = broadcast(name.c_str(), x.shape, y.shape);
  const auto strides = [&](const Shape& own) {
    const Shape dense = dense_strides(own, Layout::contiguous);
    Shape wide(shape.size(), 0);
    const size_t extra = shape.size() - own.size();
    for (size_t i = 0; i < own.size(); ++i) wide[i + extra] = own[i] == 1 ? 0 : dense[i];
    return wide;
  };
  return result(shape, [&](float* to) {
    const ops::Broadcast how(shape, {strides(x.shape), strides(y.shape)});
    how.run(function.row, {x.bytes(), 4}, {y.bytes(), 4}, reinterpret_cast<uint8_t*>(to), 4);
  });
}

Array float_power(const Array& array, float exponent) {
  const Dense x("pow", array);
  return result(x.shape, [&](float* to) { ops::float_power_into(x.values, count(x.shape), exponent, to); });
}

Array float_response_norm(const Array& array, int64_t size, double alpha, float beta, float bias) {
  const Dense x("local_response_norm", array);
  const ops::ResponseNorm norm{size, alpha, beta, bias};
  ops::check_response_norm(x.shape, norm);
  return result(x.shape, [&](float* to) {
    ops::float_response_norm_into(x.values, x.shape[0], x.shape[1], count({x.shape.begin() + 2, x.shape.end()}), norm,
                                  to);
  });
}

Array float_extreme(const Array& array, bool largest) {
  const Dense x("amax", array);
  check(!x.shape.empty() && x.shape.back() > 0, "amax: input: expected at least one value, got ", to_text(x.shape));
  const int64_t n = x.shape.back();
  return result({x.shape.begin(), x.shape.end() - 1}, [&](float* to) {
    ops::extremes_into(ops::Ordered::float32, largest, x.bytes(), count(x.shape) / n, n,
                       reinterpret_cast<uint8_t*>(to));
  });
}

Array float_resample(const Array& array, const std::vector<std::pair<int64_t, double>>& axes, bool align_corners) {
  const Dense x("interpolate", array);
  std::vector<ops::ResampleAxis> how;
  for (auto [size, ratio] : axes) how.push_back({size, ratio});
  const ops::LinearResample resample(x.shape, Layout::contiguous, how, align_corners);
  return result(resample.shape(), [&](float* to) {
    const StoragePtr workspace = allocate(std::max<int64_t>(1, resample.workspace(false)));
    resample.floats(x.values, workspace.get(), to);
  });
}

}  // namespace

void bind_float_functions(py::module_& m) {
  m.def("float_pair", &float_pair, py::arg("name"), py::arg("a"), py::arg("b"),
        "A function of two broadcast arrays: maximum, minimum or prelu.");
  m.def("float_power", &float_power, py::arg("input"), py::arg("exponent"), "Each value to the power of a number.");
  m.def("float_response_norm", &float_response_norm, py::arg("input"), py::arg("size"), py::arg("alpha"),
        py::arg("beta"), py::arg("bias"), "Local response normalisation of ``[N, C, ...]``.");
  m.def("float_extreme", &float_extreme, py::arg("input"), py::arg("largest"),
        "The largest or smallest values along the last axis.");
  m.def("float_resample", &float_resample, py::arg("input"), py::arg("axes"), py::arg("align_corners"),
        "Linear interpolation of the spatial axes, each given as (size, ratio).");
}

}  // namespace octensor::bind
