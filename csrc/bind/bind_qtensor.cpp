// QTensor: views, memory shared with NumPy, pickling. Float-valued methods are attached in Python.
#include <cstring>

#include "bind/bind.h"
#include "core/check.h"

namespace octensor::bind {
namespace {

Shape byte_strides(const QTensor& q) {
  Shape s = q.strides();
  for (auto& v : s) v *= static_cast<int64_t>(q.itemsize());
  return s;
}

// f(2, 3) or f((2, 3)).
Shape shape_argument(const char* op, const py::args& args) {
  const py::object first = args.size() == 1 ? py::object(args[0]) : py::none();
  const bool packed = py::isinstance<py::tuple>(first) || py::isinstance<py::list>(first);
  return integers(text(op, ": shape"), packed ? first : py::object(args));
}

QTensor unsqueeze(const QTensor& q, int axis) {
  Shape shape = q.shape(), strides = q.strides();
  shape.insert(shape.begin() + axis, 1);
  strides.insert(strides.begin() + axis, 0);
  QParamsPtr p = q.qparams_ptr();
  if (p->axis() >= axis) p = std::make_shared<QParams>(p->with_axis(p->axis() + 1));
  return QTensor(q.storage(), const_cast<uint8_t*>(q.bytes()), std::move(shape), std::move(strides), std::move(p));
}

// q[...]: integers, slices, an ellipsis, None; always a view.
QTensor get_item(QTensor q, const py::object& key) {
  const py::tuple items = py::isinstance<py::tuple>(key) ? key.cast<py::tuple>() : py::make_tuple(key);
  int indexed = 0;
  for (auto item : items) indexed += !item.is_none() && !py::isinstance<py::ellipsis>(item);
  if (indexed > q.ndim())
    throw py::index_error(
        text("QTensor: index: expected at most ", q.ndim(), " indices for shape ", q.shape_text(), ", got ", indexed));
  int axis = 0;
  for (auto item : items) {
    if (item.is_none()) {
      q = unsqueeze(q, axis++);
    } else if (py::isinstance<py::ellipsis>(item)) {
      int after = 0;
      bool seen = false;
      for (auto other : items) {
        if (seen) after += !other.is_none();
        seen |= other.is(item) || py::isinstance<py::ellipsis>(other);
      }
      axis = q.ndim() - after;
    } else if (py::isinstance<py::slice>(item)) {
      py::ssize_t start, stop, step, length;
      if (!item.cast<py::slice>().compute(q.size(axis), &start, &stop, &step, &length)) throw py::error_already_set();
      q = q.slice(axis++, start, length, step);
    } else {
      const py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
      if (!number || PyBool_Check(item.ptr())) {
        PyErr_Clear();
        throw TypeError(text("QTensor: index: expected integers, slices, ... or None, got ",
                             std::string(py::str(py::type::of(item)))));
      }
      const int64_t size = q.size(axis);
      int64_t i = PyLong_AsLongLong(number.ptr());
      if (i == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        i = INT64_MAX;
      }
      if (i < -size || i >= size)
        throw py::index_error(text("QTensor: index: expected an index in [", -size, ", ", size - 1, "] for axis ", axis,
                                   " of ", q.shape_text(), ", got ", std::string(py::str(item))));
      q = q.select(axis, i < 0 ? i + size : i);
    }
  }
  return q;
}

Layout layout_of_format(const char* op, const py::object& format) {
  if (format.is_none()) return Layout::contiguous;
  const std::string name = py::str(format);
  if (name == "contiguous_format") return Layout::contiguous;
  check(name == "channels_last", op, ": memory_format: expected contiguous_format or channels_last, got ", name);
  return Layout::channels_last;
}

bool prefers_channels_last(const QTensor& q) {
  return !q.is_dense(Layout::contiguous) && q.is_dense(Layout::channels_last);
}

// Protocol 5 hands the integers over as one out-of-band buffer, in the order they lie in memory.
py::tuple reduce(const QTensor& q, int protocol) {
  const bool last = prefers_channels_last(q);
  const QTensor dense = q.to(last ? Layout::channels_last : Layout::contiguous);
  const QTensor flat(dense.storage(), const_cast<uint8_t*>(dense.bytes()), {dense.numel()}, {1},
                     std::make_shared<QParams>(std::vector{1.0f}, std::vector{0}, q.dtype()));
  const py::array codes = as_array(flat);
  py::object data =
      protocol >= 5 ? py::module_::import("pickle").attr("PickleBuffer")(codes) : py::object(codes.attr("tobytes")());
  return py::make_tuple(py::module_::import("octensor.qtensor").attr("_rebuild"),
                        py::make_tuple(data, to_tuple(q.shape()), last, std::make_shared<QParams>(q.qparams())));
}

QTensor rebuild(const py::object& data, Shape shape, bool channels_last, QParamsArg qparams) {
  const py::array codes = py::module_::import("numpy").attr("frombuffer")(data, numpy_dtype(qparams->dtype()));
  check(codes.size() == count(shape), "QTensor: data: expected ", count(shape), " elements for shape ", to_text(shape),
        ", got ", codes.size());
  QTensor flat =
      from_array("QTensor", codes, std::make_shared<QParams>(std::vector{1.0f}, std::vector{0}, qparams->dtype()));
  Shape strides = dense_strides(shape, channels_last ? Layout::channels_last : Layout::contiguous);
  return QTensor(flat.storage(), flat.bytes(), std::move(shape), std::move(strides), qparams);
}

}  // namespace

std::shared_ptr<void> keep_alive(py::object object) {
  return {object.release().ptr(), [](void* p) {
            if (!Py_IsInitialized()) return;
            py::gil_scoped_acquire lock;
            Py_DECREF(static_cast<PyObject*>(p));
          }};
}

std::vector<int64_t> integers(const std::string& where, const py::object& values) {
  check<TypeError>(py::isinstance<py::tuple>(values) || py::isinstance<py::list>(values), where,
                   ": expected a tuple or list of integers, got ", std::string(py::str(py::type::of(values))));
  std::vector<int64_t> out;
  for (auto item : py::iter(values)) {
    const py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
    const int64_t size = number ? PyLong_AsLongLong(number.ptr()) : 0;
    const bool is_integer = !PyErr_Occurred();
    PyErr_Clear();
    check<TypeError>(is_integer, where, ": expected integers, got ", std::string(py::str(item)));
    out.push_back(size);
  }
  return out;
}

py::tuple to_tuple(const Shape& shape) {
  py::tuple t(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) t[i] = shape[i];
  return t;
}

namespace {

py::capsule keep_storage(StoragePtr storage) {
  return {new StoragePtr(std::move(storage)), [](void* p) { delete static_cast<StoragePtr*>(p); }};
}

}  // namespace

py::array float_result(const Shape& shape, const Shape& strides) {
  Shape bytes = strides;
  for (auto& s : bytes) s *= sizeof(float);
  const size_t size = count(shape) * sizeof(float);
  if (size < kCachedFrom) return py::array_t<float>(shape, bytes);
  const StoragePtr storage = allocate(size);
  return py::array_t<float>(shape, bytes, reinterpret_cast<const float*>(storage.get()), keep_storage(storage));
}

py::array as_array(const QTensor& q, bool writable) {
  check(!writable || q.storage().writable,
        "QTensor: expected memory that may be written, got a tensor over a read-only "
        "array; clone() it first");
  py::array array(numpy_dtype(q.dtype()), q.shape(), byte_strides(q), q.bytes(), keep_storage(q.storage()));
  if (!writable) py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return array;
}

QTensor from_array(const char* op, const py::array& array, QParamsPtr qparams) {
  const py::dtype want = numpy_dtype(qparams->dtype());
  if (!has_dtype(array, want))
    throw TypeError(text(op, ": array: expected ", info(qparams->dtype()).numpy, " (the storage of ",
                         info(qparams->dtype()).name, "), got ", std::string(py::str(array.dtype()))));
  const auto item = static_cast<py::ssize_t>(info(qparams->dtype()).itemsize);
  py::array a = array;
  bool readable = reinterpret_cast<uintptr_t>(a.data()) % item == 0;
  for (py::ssize_t i = 0; i < a.ndim(); ++i) readable &= a.strides(i) % item == 0;
  if (!readable) a = py::module_::import("numpy").attr("ascontiguousarray")(a);
  Shape shape(a.shape(), a.shape() + a.ndim()), strides(a.strides(), a.strides() + a.ndim());
  for (auto& s : strides) s /= item;
  auto* data = static_cast<uint8_t*>(const_cast<void*>(a.data()));
  if (qparams->dtype() == DType::quint4x2)
    check(a.size() == 0 || a.attr("max")().cast<int>() <= 15, op, ": array: expected codes of quint4x2 in [0, 15]");
  return QTensor(borrow(data, keep_alive(a), a.writeable()), data, std::move(shape), std::move(strides),
                 std::move(qparams));
}

void bind_qtensor(py::module_& m) {
  py::class_<QTensor> q(m, "QTensor", py::buffer_protocol(), R"(Integer data with its :class:`QParams`.

A view of shared storage: a shape (logical, NCHW) and strides. Made by ``octensor.quantize_per_tensor``,
``quantize_per_channel`` or, without a copy, by :meth:`from_numpy`. The buffer protocol, DLPack and
``numpy.asarray`` give its integer codes.)");
  q.def_static(
       "from_numpy",
       [](const py::array& array, QParamsArg qparams) { return from_array("QTensor.from_numpy", array, qparams); },
       py::arg("array"), py::arg("qparams").none(false), R"(A tensor over an integer array's memory, without a copy.

Raises
------
TypeError
    Unless the array's dtype is the storage type of ``qparams.dtype``.
ValueError
    Where per-channel parameters do not fit the shape.)")
      .def_property_readonly(
          "shape", [](const QTensor& q) { return to_tuple(q.shape()); }, "Sizes, in logical order.")
      .def_property_readonly("ndim", &QTensor::ndim, "Number of axes.")
      .def_property_readonly(
          "dtype", [](const QTensor& q) { return to_python(q.dtype()); }, "Element type.")
      .def_property_readonly(
          "qparams", [](const QTensor& q) { return std::make_shared<QParams>(q.qparams()); },
          "Scale, zero point, axis.")
      .def_property_readonly(
          "is_quantized", [](const QTensor&) { return true; }, "True.")
      .def(
          "qscheme", [](const py::object& self) -> py::object { return self.attr("qparams").attr("qscheme"); },
          "per_tensor_affine or per_channel_affine.")
      .def(
          "q_scale",
          [](const QTensor& q) {
            check(!q.qparams().per_channel(),
                  "q_scale: expected a per-tensor quantized tensor, got a per-channel one; "
                  "use q_per_channel_scales");
            return q.qparams().scale();
          },
          "The scale of a per-tensor quantized tensor (a float32 value).")
      .def(
          "q_zero_point",
          [](const QTensor& q) {
            check(!q.qparams().per_channel(),
                  "q_zero_point: expected a per-tensor quantized tensor, got a per-channel "
                  "one; use q_per_channel_zero_points");
            return q.qparams().zero_point();
          },
          "The zero point of a per-tensor quantized tensor.")
      .def(
          "q_per_channel_scales",
          [](const py::object& self) -> py::object {
            check(self.cast<const QTensor&>().qparams().per_channel(),
                  "q_per_channel_scales: expected a per-channel "
                  "quantized tensor, got a per-tensor one; use q_scale");
            return self.attr("qparams").attr("scale");
          },
          "The scales of a per-channel quantized tensor, float32.")
      .def(
          "q_per_channel_zero_points",
          [](const py::object& self) -> py::object {
            check(self.cast<const QTensor&>().qparams().per_channel(),
                  "q_per_channel_zero_points: expected a "
                  "per-channel quantized tensor, got a per-tensor one; use q_zero_point");
            return self.attr("qparams").attr("zero_point");
          },
          "The zero points of a per-channel quantized tensor, int32.")
      .def(
          "q_per_channel_axis",
          [](const QTensor& q) {
            check(q.qparams().per_channel(),
                  "q_per_channel_axis: expected a per-channel quantized tensor, got a "
                  "per-tensor one");
            return q.qparams().axis();
          },
          "The channel axis of a per-channel quantized tensor.")
      .def(
          "int_repr",
          [](const QTensor& q) -> py::array {
            if (q.dtype() != DType::quint4x2) return as_array(q);
            // PyTorch's form: flat, two codes to a byte, the first in the low nibble.
            const QTensor codes = q.to(Layout::contiguous);
            py::array_t<uint8_t> packed((q.numel() + 1) / 2);
            std::fill_n(packed.mutable_data(), packed.size(), uint8_t{0});
            for (int64_t i = 0; i < q.numel(); ++i)
              packed.mutable_data()[i / 2] |= static_cast<uint8_t>(codes.bytes()[i] << (i % 2 * 4));
            return packed;
          },
          "The integer codes as a read-only array that shares this tensor's memory; for quint4x2 a flat array of two "
          "codes to a byte.")
      .def(
          "size",
          [](const QTensor& q, std::optional<int64_t> dim) -> py::object {
            if (!dim) return to_tuple(q.shape());
            return py::int_(q.size(normalize_axis("size", "dim", *dim, q.ndim())));
          },
          py::arg("dim") = py::none(), "All sizes, or the size of one axis.")
      .def(
          "stride",
          [](const QTensor& q, std::optional<int64_t> dim) -> py::object {
            if (!dim) return to_tuple(q.strides());
            return py::int_(q.stride(normalize_axis("stride", "dim", *dim, q.ndim())));
          },
          py::arg("dim") = py::none(), "All strides in elements, or that of one axis.")
      .def("dim", &QTensor::ndim, "Number of axes.")
      .def("numel", &QTensor::numel, "Number of elements.")
      .def("element_size", &QTensor::itemsize, "Bytes per element.")
      .def(
          "nbytes", [](const QTensor& q) { return q.numel() * static_cast<int64_t>(q.itemsize()); },
          "Bytes of all elements.")
      .def(
          "view", [](const QTensor& q, const py::args& shape) { return q.view(shape_argument("view", shape)); },
          "The same codes in another shape, without a copy; ValueError where strides do not allow it.")
      .def(
          "reshape",
          [](const QTensor& q, const py::args& shape) { return q.reshape(shape_argument("reshape", shape)); },
          "The same codes in another shape; a view where strides allow it.")
      .def(
          "flatten",
          [](const QTensor& q, int64_t start, int64_t end) {
            if (q.ndim() == 0) return q.reshape({1});
            const int a = normalize_axis("flatten", "start_dim", start, q.ndim());
            const int b = normalize_axis("flatten", "end_dim", end, q.ndim());
            check(a <= b, "flatten: end_dim: expected at least start_dim ", a, ", got ", b);
            Shape shape(q.shape().begin(), q.shape().begin() + a);
            int64_t n = 1;
            for (int i = a; i <= b; ++i) n *= q.size(i);
            shape.push_back(n);
            shape.insert(shape.end(), q.shape().begin() + b + 1, q.shape().end());
            return q.reshape(std::move(shape));
          },
          py::arg("start_dim") = 0, py::arg("end_dim") = -1, "Axes start_dim to end_dim as one.")
      .def(
          "permute",
          [](const QTensor& q, const py::args& dims) {
            const Shape axes = shape_argument("permute", dims);
            return q.permute({axes.begin(), axes.end()});
          },
          "The axes in another order; a view.")
      .def(
          "transpose",
          [](const QTensor& q, int64_t dim0, int64_t dim1) {
            return q.transpose(normalize_axis("transpose", "dim0", dim0, q.ndim()),
                               normalize_axis("transpose", "dim1", dim1, q.ndim()));
          },
          py::arg("dim0"), py::arg("dim1"), "Two axes exchanged; a view.")
      .def(
          "expand", [](const QTensor& q, const py::args& shape) { return q.expand(shape_argument("expand", shape)); },
          "Axes of size 1 repeated without a copy.")
      .def(
          "contiguous",
          [](const QTensor& q, const py::object& format) { return q.to(layout_of_format("contiguous", format)); },
          py::arg("memory_format") = py::none(), "This tensor if it is dense in that layout, else a dense copy.")
      .def(
          "is_contiguous",
          [](const QTensor& q, const py::object& format) {
            return q.is_dense(layout_of_format("is_contiguous", format));
          },
          py::arg("memory_format") = py::none(), "Whether the elements are dense in that layout.")
      .def("clone", &QTensor::clone, "A copy with storage of its own.")
      .def("equal", &QTensor::equal, py::arg("other"), "Whether parameters, shape and every code agree.")
      .def(
          "_writable", [](const QTensor& q) { return as_array(q, true); },
          "The codes as an array that may be written; ValueError over read-only memory.")
      .def(
          "_assign", [](QTensor& self, const QTensor& other) { self = other; }, py::arg("other"),
          "Become a view of what `other` views.")
      .def("__getitem__", &get_item, py::arg("index"))
      .def("__len__",
           [](const QTensor& q) {
             check<TypeError>(q.ndim() > 0, "len: expected a tensor with at least one axis");
             return q.size(0);
           })
      .def("__copy__", [](const QTensor& q) { return q; })
      .def(
          "__deepcopy__", [](const QTensor& q, const py::object&) { return q.clone(); }, py::arg("memo"))
      .def("__reduce_ex__", &reduce, py::arg("protocol"))
      .def("__dlpack__",
           [](const QTensor& q, const py::kwargs& options) { return as_array(q).attr("__dlpack__")(**options); })
      .def("__dlpack_device__", [](const QTensor&) { return py::make_tuple(1, 0); })
      .def_buffer([](QTensor& q) {
        const char* format = q.dtype() == DType::qint8 ? "b" : is_byte(q.dtype()) ? "B" : "i";
        return py::buffer_info(q.bytes(), static_cast<py::ssize_t>(q.itemsize()), format, q.ndim(), q.shape(),
                               byte_strides(q), true);
      });
  m.def("_rebuild_qtensor", &rebuild, py::arg("data"), py::arg("shape"), py::arg("channels_last"),
        py::arg("qparams").none(false), "Inverse of pickling.");
}

}  // namespace octensor::bind
