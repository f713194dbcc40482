// dtype, qscheme and QParams.
#include <pybind11/native_enum.h>

#include <array>
#include <cmath>

#include "bind/bind.h"
#include "core/check.h"

namespace octensor::bind {
namespace {

enum class QScheme {
  per_tensor_affine,
  per_channel_affine,
  per_tensor_symmetric,
  per_channel_symmetric,
  per_channel_affine_float_qparams,
};

PYBIND11_CONSTINIT py::gil_safe_call_once_and_store<std::array<py::object, 4>> dtypes;

std::vector<float> numbers_from(const char* argument, const py::object& values) {
  auto array = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(values);
  if (!array) PyErr_Clear();
  check<TypeError>(array && array.ndim() == 1, "QParams: ", argument, ": expected a 1-D array of numbers with axis=");
  std::vector<float> out;
  for (py::ssize_t i = 0; i < array.size(); ++i) out.push_back(static_cast<float>(array.data()[i]));
  return out;
}

std::vector<float> scales_from(const py::object& scale, bool per_channel) {
  std::vector<float> out;
  if (!per_channel) {
    try {
      out.push_back(static_cast<float>(scale.cast<double>()));
    } catch (const py::cast_error&) {
      throw TypeError("QParams: scale: expected a number (or, with axis=, a 1-D array), got " +
                      std::string(py::str(py::type::of(scale))));
    }
    return out;
  }
  return numbers_from("scale", scale);
}

// Whole floats are accepted (3.0, a 0-d array), fractions are not.
int32_t zero_point_from(const std::string& where, const py::handle& value) {
  const py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  double d = 0.0;
  if (number) {
    d = PyLong_AsDouble(number.ptr());
    if (PyErr_Occurred()) d = HUGE_VAL;  // an integer beyond every double
  } else {
    PyErr_Clear();
    const bool is_complex = py::module_::import("numpy").attr("iscomplexobj")(value).cast<bool>();
    if (!is_complex) d = PyFloat_AsDouble(value.ptr());
    if (is_complex || PyErr_Occurred()) {
      PyErr_Clear();
      throw TypeError(where + ": expected an integer, got " + std::string(py::str(py::type::of(value))));
    }
  }
  PyErr_Clear();
  check(d >= INT32_MIN && d <= INT32_MAX && d == std::trunc(d), where,
        ": expected an integer in the dtype's range, got ", std::string(py::str(value)));
  return static_cast<int32_t>(d);
}

std::shared_ptr<QParams> make_qparams(const py::object& scale, const py::object& zero_point, DType dtype,
                                      std::optional<int> axis, bool float_zero_point) {
  check(axis.value_or(0) >= 0, "QParams: axis: expected at least 0, got ", axis.value_or(0));
  std::vector<float> scales = scales_from(scale, axis.has_value());
  if (float_zero_point) {
    check(axis.has_value(), "QParams: axis: expected a channel axis for float zero points, got None");
    return std::make_shared<QParams>(
        QParams::with_float_zero_points(std::move(scales), numbers_from("zero_point", zero_point), dtype, *axis));
  }
  const bool several = py::isinstance<py::list>(zero_point) || py::isinstance<py::tuple>(zero_point) ||
                       (py::isinstance<py::array>(zero_point) && zero_point.cast<py::array>().ndim() > 0);
  check<TypeError>(several == axis.has_value(), "QParams: zero_point: expected ",
                   axis ? "a 1-D array with axis=" : "one integer (or, with axis=, a 1-D array)", ", got ",
                   std::string(py::str(py::type::of(zero_point))));
  return std::make_shared<QParams>(std::move(scales), zero_points("QParams: zero_point", zero_point), dtype,
                                   axis.value_or(-1));
}

template <class T>
py::object value_or_array(const QParams& q, const std::vector<T>& values) {
  if (!q.per_channel()) return py::cast(values[0]);
  py::array_t<T> array(values.size(), values.data());
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

}  // namespace

std::vector<int32_t> zero_points(const std::string& where, const py::object& values) {
  const bool listed = py::isinstance<py::list>(values) || py::isinstance<py::tuple>(values);
  const bool array = py::isinstance<py::array>(values) && values.cast<py::array>().ndim() == 1;
  if (!listed && !array) return {zero_point_from(where, values)};
  std::vector<int32_t> zeros;
  for (auto z : py::iter(values)) zeros.push_back(zero_point_from(where, z));
  return zeros;
}

py::object to_python(DType t) { return dtypes.get_stored()[static_cast<size_t>(t)]; }
py::dtype numpy_dtype(DType t) {
  return is_signed8(t) ? py::dtype::of<int8_t>() : is_byte(t) ? py::dtype::of<uint8_t>() : py::dtype::of<int32_t>();
}

void bind_dtype(py::module_& m) {
  auto dtype =
      py::class_<DType>(m, "dtype", "An element type of quantized tensors: qint8, quint8, qint32 or quint4x2.");
  dtype
      .def_property_readonly(
          "name", [](DType t) { return info(t).name; }, "'qint8', 'quint8', 'qint32' or 'quint4x2'.")
      .def_property_readonly(
          "qmin", [](DType t) { return info(t).qmin; }, "Smallest code.")
      .def_property_readonly(
          "qmax", [](DType t) { return info(t).qmax; }, "Largest code.")
      .def_property_readonly(
          "itemsize", [](DType t) { return info(t).itemsize; }, "Bytes per element.")
      .def_property_readonly(
          "numpy", [](DType t) { return numpy_dtype(t); }, "NumPy's dtype of the codes.")
      .def("__repr__", [](DType t) { return std::string("octensor.") + info(t).name; })
      .def("__hash__", [](DType t) { return static_cast<int>(t) + 1; })
      .def("__eq__", [](DType a, const py::object& b) { return py::isinstance<DType>(b) && b.cast<DType>() == a; })
      .def("__reduce__", [](DType t) { return info(t).name; });
  auto& stored = dtypes
                     .call_once_and_store_result([] {
                       return std::array{py::cast(DType::qint8), py::cast(DType::quint8), py::cast(DType::qint32),
                                         py::cast(DType::quint4x2)};
                     })
                     .get_stored();
  for (DType t : {DType::qint8, DType::quint8, DType::qint32, DType::quint4x2})
    m.attr(info(t).name) = stored[static_cast<size_t>(t)];

  py::native_enum<QScheme>(m, "qscheme", "enum.Enum", "How parameters are shared and chosen.")
      .value("per_tensor_affine", QScheme::per_tensor_affine)
      .value("per_channel_affine", QScheme::per_channel_affine)
      .value("per_tensor_symmetric", QScheme::per_tensor_symmetric)
      .value("per_channel_symmetric", QScheme::per_channel_symmetric)
      .value("per_channel_affine_float_qparams", QScheme::per_channel_affine_float_qparams)
      .finalize();

  py::class_<QParams, std::shared_ptr<QParams>>(m, "QParams", R"(What the integers of a quantized tensor mean.

``real = (q - zero_point) * scale``, per tensor or per index along `axis`. Immutable.

Parameters
----------
scale : float or array of float
    Finite, positive, normal as float32; kept as float32. With `axis`, one per channel.
zero_point : int or array of int
    Inside the range of `dtype`. With `axis`, one per channel.
dtype : dtype
    ``qint8``, ``quint8``, ``qint32`` or ``quint4x2``.
axis : int, optional
    The channel axis; None means per tensor.
float_zero_point : bool
    Per-channel zero points are float32 numbers, as embedding weights have them.

Raises
------
ValueError, TypeError
    Where one of these rules is broken.)")
      .def(py::init(&make_qparams), py::arg("scale"), py::arg("zero_point"), py::arg("dtype"),
           py::arg("axis") = py::none(), py::arg("float_zero_point") = false)
      .def_property_readonly(
          "scale", [](const QParams& q) { return value_or_array(q, q.scales()); }, "float, or a float32 array.")
      .def_property_readonly(
          "zero_point",
          [](const QParams& q) {
            return q.has_float_zero_points() ? value_or_array(q, q.float_zero_points())
                                             : value_or_array(q, q.zero_points());
          },
          "int, an int32 array, or a float32 array.")
      .def_property_readonly("has_float_zero_point", &QParams::has_float_zero_points,
                             "Whether zero points are float32 numbers (embedding weights).")
      .def_property_readonly(
          "dtype", [](const QParams& q) { return to_python(q.dtype()); }, "The element type.")
      .def_property_readonly(
          "axis", [](const QParams& q) { return q.per_channel() ? py::object(py::int_(q.axis())) : py::none(); },
          "The channel axis, or None.")
      .def_property_readonly("is_per_channel", &QParams::per_channel, "Whether there is one pair per channel.")
      .def_property_readonly(
          "qscheme",
          [](const QParams& q) {
            return !q.per_channel()            ? QScheme::per_tensor_affine
                   : q.has_float_zero_points() ? QScheme::per_channel_affine_float_qparams
                                               : QScheme::per_channel_affine;
          },
          "per_tensor_affine or per_channel_affine.")
      .def("__eq__", [](const QParams& a,
                        const py::object& b) { return py::isinstance<QParams>(b) && a == b.cast<const QParams&>(); })
      .def("__hash__",
           [](const QParams& q) {
             const bool any = !q.scales().empty();  // a view can hold no channel at all
             return py::hash(py::make_tuple(static_cast<int>(q.dtype()), q.axis(), q.scales().size(),
                                            any ? q.scale() : 0.0f, any ? q.zero_point() : 0));
           })
      .def("__repr__", &QParams::repr)
      .def("__reduce__", [](const py::object& self) -> py::tuple {
        return py::make_tuple(py::type::of(self),
                              py::make_tuple(self.attr("scale"), self.attr("zero_point"), self.attr("dtype"),
                                             self.attr("axis"), self.attr("has_float_zero_point")));
      });
}

}  // namespace octensor::bind
