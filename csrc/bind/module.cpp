// octensor._C: the index of what Python sees.
#include "bind/bind.h"
#include "core/check.h"

PYBIND11_MODULE(_C, m) {
  using namespace octensor;
  namespace py = pybind11;
  m.doc() = "Quantized tensors, integer operators and the instruction sets that run them.";
  py::register_local_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const TypeError& e) {
      py::set_error(PyExc_TypeError, e.what());
    } catch (const ValueError& e) {
      py::set_error(PyExc_ValueError, e.what());
    }
  });
  m.attr("__version__") = OCTENSOR_VERSION;
  bind::bind_dtype(m);
  bind::bind_qtensor(m);
  bind::bind_ops(m);
  bind::bind_recurrent(m);
  bind::bind_int4(m);
  bind::bind_float(m);
  bind::bind_float_functions(m);
  bind::bind_runtime(m);
  bind::bind_program(m);
}
