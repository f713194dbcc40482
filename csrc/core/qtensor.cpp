#include "core/qtensor.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace octensor {
namespace {

std::vector<int> channels_last_order(int ndim) {
  std::vector<int> order(ndim);
  for (int i = 0; i < ndim; ++i) order[i] = i;
  std::rotate(order.begin() + 1, order.begin() + 2, order.end());  // N C H W -> N H W C
  return order;
}

}  // namespace

std::string to_text(const Shape& shape) {
  std::string s = "(";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (shape.size() == 1 ? ",)" : ")");
}

int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape)
    if (d < 0 || __builtin_mul_overflow(n, d, &n) || n >= (int64_t{1} << 62))
      check(false, "shape: expected sizes of at least 0 whose product stays below 2**62, got ", to_text(shape));
  return n;
}

Shape dense_strides(const Shape& shape, Layout layout) {
  const int ndim = static_cast<int>(shape.size());
  Shape strides(ndim);
  int64_t step = 1;
  auto assign = [&](int axis) {
    strides[axis] = step;
    step *= std::max<int64_t>(shape[axis], 1);
  };
  if (layout == Layout::channels_last && ndim >= 3) {
    auto order = channels_last_order(ndim);
    for (int i = ndim - 1; i >= 0; --i) assign(order[i]);
  } else {
    for (int i = ndim - 1; i >= 0; --i) assign(i);
  }
  return strides;
}

int normalize_axis(const char* op, const char* argument, int64_t axis, int ndim) {
  check(axis >= -ndim && axis < ndim, op, ": ", argument, ": expected an axis in [", -ndim, ", ", ndim - 1,
        "] for a tensor of ", ndim, " dimensions, got ", axis);
  return static_cast<int>(axis < 0 ? axis + ndim : axis);
}

Shape broadcast(const char* op, const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    check(x == y || x == 1 || y == 1, op, ": operands: expected shapes that broadcast, got ", to_text(a), " and ",
          to_text(b));
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  return out;
}

QTensor QTensor::empty(Shape shape, QParamsPtr qparams, Layout layout) {
  const int64_t n = count(shape);
  StoragePtr storage = allocate(n * info(qparams->dtype()).itemsize);
  Shape strides = dense_strides(shape, layout);
  uint8_t* data = storage.get();
  return QTensor(std::move(storage), data, std::move(shape), std::move(strides), std::move(qparams));
}

QTensor::QTensor(StoragePtr storage, uint8_t* data, Shape shape, Shape strides, QParamsPtr qparams)
    : storage_(std::move(storage)),
      data_(data),
      shape_(std::move(shape)),
      strides_(std::move(strides)),
      qparams_(std::move(qparams)) {
  if (qparams_->per_channel()) {
    const int axis = qparams_->axis();
    check(axis < ndim(), "QTensor: axis: expected an axis of the shape ", shape_text(), ", got ", axis);
    check(static_cast<int64_t>(qparams_->scales().size()) == shape_[axis], "QTensor: scale: expected ", shape_[axis],
          " values for axis ", axis, " of the shape ", shape_text(), ", got ", qparams_->scales().size());
  }
}

int64_t QTensor::numel() const { return count(shape_); }
std::string QTensor::shape_text() const { return to_text(shape_); }

bool QTensor::is_dense(Layout layout) const {
  if (numel() == 0) return true;
  const Shape want = dense_strides(shape_, layout);
  for (int i = 0; i < ndim(); ++i)
    if (shape_[i] != 1 && strides_[i] != want[i]) return false;
  return true;
}

QTensor QTensor::permute(const std::vector<int>& axes) const {
  check(static_cast<int>(axes.size()) == ndim(), "permute: dims: expected ", ndim(), " axes, got ", axes.size());
  Shape shape, strides;
  std::vector<bool> seen(ndim());
  int axis = -1;
  for (int a : axes) {
    a = normalize_axis("permute", "dims", a, ndim());
    check(!seen[a], "permute: dims: expected every axis once, got axis ", a, " twice");
    seen[a] = true;
    if (qparams_->axis() == a) axis = static_cast<int>(shape.size());
    shape.push_back(shape_[a]);
    strides.push_back(strides_[a]);
  }
  QParamsPtr q = axis == qparams_->axis() ? qparams_ : std::make_shared<QParams>(qparams_->with_axis(axis));
  return QTensor(storage_, data_, std::move(shape), std::move(strides), std::move(q));
}

QTensor QTensor::transpose(int a, int b) const {
  a = normalize_axis("transpose", "dim0", a, ndim());
  b = normalize_axis("transpose", "dim1", b, ndim());
  std::vector<int> axes(ndim());
  for (int i = 0; i < ndim(); ++i) axes[i] = i == a ? b : i == b ? a : i;
  return permute(axes);
}

QTensor QTensor::slice(int axis, int64_t start, int64_t length, int64_t step) const {
  Shape shape = shape_, strides = strides_;
  shape[axis] = length;
  strides[axis] *= step;
  QParamsPtr q = qparams_;
  if (q->axis() == axis) q = std::make_shared<QParams>(q->sliced(start, length, step));
  uint8_t* data = length ? data_ + start * strides_[axis] * static_cast<int64_t>(itemsize()) : data_;
  return QTensor(storage_, data, std::move(shape), std::move(strides), std::move(q));
}

QTensor QTensor::select(int axis, int64_t index) const {
  QParamsPtr q = qparams_;
  if (q->axis() == axis)  // one channel of a per-channel tensor is a per-tensor one
    q = std::make_shared<QParams>(q->channel(index));
  else if (q->axis() > axis)
    q = std::make_shared<QParams>(q->with_axis(q->axis() - 1));
  Shape shape = shape_, strides = strides_;
  shape.erase(shape.begin() + axis);
  strides.erase(strides.begin() + axis);
  return QTensor(storage_, data_ + index * strides_[axis] * static_cast<int64_t>(itemsize()), std::move(shape),
                 std::move(strides), std::move(q));
}

QTensor QTensor::expand(const Shape& shape) const {
  const int extra = static_cast<int>(shape.size()) - ndim();
  check(extra >= 0, "expand: shape: expected at least ", ndim(), " sizes, got ", to_text(shape));
  Shape strides(shape.size(), 0);
  for (int i = 0; i < ndim(); ++i) {
    check(shape_[i] == shape[i + extra] || shape_[i] == 1, "expand: shape: expected sizes that ", shape_text(),
          " broadcasts to, got ", to_text(shape));
    strides[i + extra] = shape_[i] == shape[i + extra] ? strides_[i] : 0;
  }
  QParamsPtr q = qparams_->per_channel() && extra
                     ? std::make_shared<QParams>(qparams_->with_axis(qparams_->axis() + extra))
                     : qparams_;
  return QTensor(storage_, data_, shape, std::move(strides), std::move(q));
}

Shape QTensor::resolve(Shape shape, const char* op) const {
  int64_t known = 1, unknown = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    check(shape[i] >= 0 || (shape[i] == -1 && unknown < 0), op,
          ": shape: expected sizes of at least 0 and at most one "
          "-1, got ",
          to_text(shape));
    if (shape[i] == -1)
      unknown = static_cast<int64_t>(i);
    else
      check(!__builtin_mul_overflow(known, shape[i], &known), op, ": shape: expected ", numel(), " elements, got ",
            to_text(shape));
  }
  if (unknown >= 0) {
    check(known > 0 && numel() % known == 0, op, ": shape: expected a shape of ", numel(), " elements, got ",
          to_text(shape));
    shape[unknown] = numel() / known;
    known *= shape[unknown];
  }
  check(known == numel(), op, ": shape: expected a shape of ", numel(), " elements (tensor of shape ", shape_text(),
        "), got ", to_text(shape));
  return shape;
}

std::optional<QTensor> QTensor::try_view(Shape shape) const {
  QParamsPtr q = qparams_;
  if (q->per_channel()) {
    // The channel axis must survive: the same size with the same number of elements before it.
    int64_t before = 1, now = 1;
    for (int i = 0; i < q->axis(); ++i) before *= shape_[i];
    int axis = -1;
    for (size_t i = 0; i < shape.size() && axis < 0; ++i) {
      if (now == before && shape[i] == shape_[q->axis()]) axis = static_cast<int>(i);
      now *= shape[i];
    }
    check(axis >= 0, "reshape: shape: expected a shape that keeps the channel axis (", q->axis(), " of ", shape_text(),
          ") of a per-channel tensor, got ", to_text(shape));
    q = std::make_shared<QParams>(q->with_axis(axis));
  }
  Shape strides(shape.size());
  if (numel() == 0) {
    strides = dense_strides(shape, Layout::contiguous);
    return QTensor(storage_, data_, std::move(shape), std::move(strides), std::move(q));
  }
  // Old axes fall into runs that are contiguous among themselves; each run must split into whole new axes.
  int next = static_cast<int>(shape.size()) - 1;
  for (int i = ndim() - 1; i >= 0;) {
    int64_t run = shape_[i], base = strides_[i];
    int j = i - 1;
    while (j >= 0 && (shape_[j] == 1 || run == 1 || strides_[j] == base * run)) {
      if (run == 1) base = strides_[j];
      run *= shape_[j--];
    }
    int64_t filled = 1;
    while (next >= 0 && (filled < run || shape[next] == 1)) {
      strides[next] = base * filled;
      filled *= shape[next--];
    }
    if (filled != run) return std::nullopt;
    i = j;
  }
  return QTensor(storage_, data_, std::move(shape), std::move(strides), std::move(q));
}

QTensor QTensor::reshape(Shape shape) const {
  shape = resolve(std::move(shape), "reshape");
  if (auto v = try_view(shape)) return *v;
  return *to(Layout::contiguous).try_view(std::move(shape));
}

QTensor QTensor::view(Shape shape) const {
  shape = resolve(std::move(shape), "view");
  auto v = try_view(shape);
  check(v.has_value(), "view: shape: expected a shape that the strides ", to_text(strides_), " of ", shape_text(),
        " allow without a copy, got ", to_text(shape), "; use reshape");
  return *v;
}

QTensor QTensor::to(Layout layout) const {
  if (is_dense(layout)) return *this;
  QTensor out = empty(shape_, qparams_, layout);
  copy_strided(data_, strides_, out.data_, out.strides_, shape_, itemsize());
  return out;
}

QTensor QTensor::clone() const {
  QTensor out = empty(shape_, qparams_,
                      is_dense(Layout::contiguous)      ? Layout::contiguous
                      : is_dense(Layout::channels_last) ? Layout::channels_last
                                                        : Layout::contiguous);
  copy_strided(data_, strides_, out.data_, out.strides_, shape_, itemsize());
  return out;
}

QTensor QTensor::with_qparams(QParamsPtr qparams) const {
  check(qparams->dtype() == dtype(), "QTensor: dtype: expected ", info(dtype()).name, ", got ",
        info(qparams->dtype()).name);
  return QTensor(storage_, data_, shape_, strides_, std::move(qparams));
}

bool QTensor::equal(const QTensor& other) const {
  if (!(qparams() == other.qparams()) || shape_ != other.shape_) return false;
  const QTensor a = to(Layout::contiguous), b = other.to(Layout::contiguous);
  return std::memcmp(a.data_, b.data_, numel() * itemsize()) == 0;
}

}  // namespace octensor
