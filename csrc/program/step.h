// A step of a program: what it makes of the views of its inputs, and how it runs on their memory.
//
// A step is planned once per set of input shapes. It says which outputs it makes: new memory, or a part of an input's
// (a view, for which nothing runs), or new memory that may be an input's own when nobody needs that any more. And it
// gives a function that does the work on given memory. That function runs on many threads at once: it keeps nothing.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "ops/ops.h"
#include "program/view.h"

namespace octensor::program {

// A value in the memory of one running context.
class Slot {
 public:
  explicit Slot(const View& view);
  void place(uint8_t* data);
  uint8_t* bytes() const { return data_; }
  const View& view() const { return *view_; }
  QTensor& codes() const { return *codes_; }
  const ops::FloatView& floats() const { return floats_; }
  template <class T>
  T* data() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  const View* view_;
  uint8_t* data_ = nullptr;
  mutable std::optional<QTensor> codes_;  // of codes
  ops::FloatView floats_{};               // of floats
};

struct Operands {
  const Slot* const* in;
  const Slot* const* out;
  uint8_t* workspace;
};

struct Output {
  View view;
  int alias = -1;         // the input of whose memory this is a view ...
  int64_t offset = 0;     // ... its first element there
  unsigned replaces = 0;  // the inputs of which this may take the memory, a bit each
};

using Run = std::function<void(const Operands&)>;

struct Planned {
  std::vector<Output> outputs;
  Run run = {};           // empty where all outputs are views
  int64_t workspace = 0;  // bytes that the step needs while it runs
  int64_t multiply_adds = 0;
  int64_t constant_bytes = 0;  // read besides the inputs: weights
  // A join: where input i lies in the output, if it may be made there in the first place (elements; -1: no).
  std::vector<int64_t> places = {};
};

// What a step asks of its inputs while it is planned.
class Inputs {
 public:
  Inputs(std::vector<View> views, int64_t batch) : views_(std::move(views)), wanted_(views_.size()), batch_(batch) {}
  size_t size() const { return views_.size(); }
  const View& operator[](size_t i) const { return views_[i]; }
  int64_t batch() const { return batch_; }  // a size of the program's first input
  // The step reads input i dense in this layout, broadcast to this shape; where it lies otherwise, a copy is put before
  // the step.
  const View& dense(size_t i, Layout layout = Layout::contiguous) { return expanded(i, views_[i].shape, layout); }
  const View& expanded(size_t i, const Shape& shape, Layout layout);

  struct Wanted {
    Shape shape;
    Layout layout;
  };
  const std::optional<Wanted>& wanted(size_t i) const { return wanted_[i]; }

 private:
  std::vector<View> views_;
  std::vector<std::optional<Wanted>> wanted_;
  int64_t batch_;
};

using PlanStep = std::function<Planned(Inputs&)>;

// A size that may depend on the batch.
struct Size {
  int64_t fixed, per_batch;
  int64_t at(int64_t batch) const { return fixed + per_batch * batch; }
};
Shape sizes_at(const std::vector<Size>& sizes, int64_t batch);

// The copy of a view to a dense one, broadcast to a shape.
Planned plan_copy(const View& from, const Shape& shape, Layout layout);

}  // namespace octensor::program
