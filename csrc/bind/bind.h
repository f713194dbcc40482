// What the binding files share: conversions between Python's and our types, and the call guard.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "core/float_environment.h"
#include "core/qtensor.h"
#include "ops/ops.h"

namespace octensor::bind {

namespace py = pybind11;

void bind_dtype(py::module_& m);
void bind_qtensor(py::module_& m);
void bind_ops(py::module_& m);
void bind_recurrent(py::module_& m);
void bind_int4(py::module_& m);
void bind_float(py::module_& m);
void bind_float_functions(py::module_& m);
void bind_runtime(py::module_& m);
void bind_program(py::module_& m);

// Every op runs like this: other Python threads may go on, and the caller's rounding mode is not ours.
using Unlocked = py::call_guard<py::gil_scoped_release, DefaultFloatEnvironment>;

using QParamsArg = const std::shared_ptr<QParams>&;

py::object to_python(DType t);  // the singleton of that name
py::dtype numpy_dtype(DType t);
py::tuple to_tuple(const Shape& shape);

// Whether the array's elements are of that dtype, one of NumPy's own; far cheaper than comparing as Python does.
inline bool has_dtype(const py::array& array, const py::dtype& t) {
  const py::dtype own = array.dtype();
  return own.is(t) || (own.num() == t.num() && own.byteorder() == t.byteorder());
}
// Throws unless has_dtype. The text of a dtype is made only where it is needed: it costs more than a small op.
void check_dtype(const char* op, const char* argument, const py::array& array, const py::dtype& t);

// A float32 array for a result, uninitialised; strides in elements. Large ones live in Storage, whose blocks are
// reused.
py::array float_result(const Shape& shape, const Shape& strides);

// The tensor's integers as an ndarray that shares its memory, read-only unless asked otherwise.
py::array as_array(const QTensor& q, bool writable = false);
// A tensor over the array's memory, which it keeps alive. TypeError unless the array has the dtype's
// storage type.
QTensor from_array(const char* op, const py::array& array, QParamsPtr qparams);
// A float32 array as a view. `keep` receives an aligned copy where the array cannot be read as it is.
ops::FloatView float_view(const char* op, const char* argument, const py::array& array, py::array& keep);
// A tuple or list of integers; `where` starts error messages.
std::vector<int64_t> integers(const std::string& where, const py::object& values);
// Zero points from an integer (one), or from a list, tuple or 1-D array of integers; `where` starts error messages.
std::vector<int32_t> zero_points(const std::string& where, const py::object& values);
// Keeps a Python object alive from C++ that may let go of it without the interpreter lock.
std::shared_ptr<void> keep_alive(py::object object);
// A recurrent cell by name: "lstm", "gru", "rnn_tanh", "rnn_relu".
RecurrentCell cell_of(const std::string& name);
// A 1-D float32 vector, or an empty one for None.
std::vector<float> float_vector(const char* op, const char* argument, const py::object& object);

}  // namespace octensor::bind
