// Checks that several ops share.
#pragma once
#include "core/check.h"
#include "core/qtensor.h"

namespace octensor::ops {

inline void check_activation(const char* op, const char* argument, const QTensor& x) {
  check<TypeError>(is_8bit(x.dtype()), op, ": ", argument, ": expected qint8 or quint8, got ", info(x.dtype()).name);
  check(!x.qparams().per_channel(), op, ": ", argument,
        ": expected per-tensor parameters, got per-channel ones along axis ", x.qparams().axis());
}

inline void check_output(const char* op, const QParams& q) {
  check<TypeError>(is_8bit(q.dtype()), op, ": qparams: expected qint8 or quint8, got ", info(q.dtype()).name);
  check(!q.per_channel(), op, ": qparams: expected per-tensor parameters, got per-channel ones along axis ", q.axis());
}

inline void check_image(const char* op, const QTensor& x) {
  check(x.ndim() == 4, op, ": input: expected shape [N, C, H, W], got ", x.shape_text());
}

// The layout a result takes over from its operand.
inline Layout layout_of(const QTensor& x) {
  return !x.is_dense(Layout::contiguous) && x.is_dense(Layout::channels_last) ? Layout::channels_last
                                                                              : Layout::contiguous;
}

}  // namespace octensor::ops
