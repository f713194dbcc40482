// Planning goes over the steps three times: once for shapes, which makes a buffer for each output that is not a view;
// once for lifetimes; and once, in the order of time, to let outputs take the memory of inputs that die and parts of a
// join be made where they are joined. What remains gets its place in the arena.
#include "program/plan.h"

#include <algorithm>
#include <climits>

#include "core/check.h"

namespace octensor::program {
namespace {

constexpr int kForever = INT_MAX / 2;

class Planner {
 public:
  Planner(const Graph& graph, const std::vector<View>& inputs) : graph_(graph), place_of_(graph.values, -1) {
    plan_->inputs = inputs;
  }

  std::unique_ptr<Plan> run() {
    shapes();
    outputs();
    lifetimes();
    share();
    arena();
    return std::move(plan_);
  }

 private:
  int new_buffer(Buffer::Kind kind, int index, int64_t bytes) {
    plan_->buffers.push_back({.kind = kind, .index = index, .bytes = bytes});
    return static_cast<int>(plan_->buffers.size()) - 1;
  }
  int new_place(View view, int buffer, int64_t offset = 0) {
    plan_->places.push_back({std::move(view), buffer, offset});
    return static_cast<int>(plan_->places.size()) - 1;
  }
  Buffer& buffer_of(int place) { return plan_->buffers[plan_->places[place].buffer]; }

  // Adds a step's outputs; the step itself where it has work to do.
  std::vector<int> emit(int step, const std::vector<int>& in, Planned planned) {
    std::vector<int> out;
    for (Output& o : planned.outputs) {
      if (o.alias >= 0) {
        const Place& from = plan_->places[in[o.alias]];
        out.push_back(new_place(o.view, from.buffer, from.offset + o.offset * o.view.itemsize()));
      } else {
        out.push_back(new_place(o.view, new_buffer(Buffer::arena, -1, o.view.bytes())));
      }
    }
    if (planned.run) {
      const int workspace = planned.workspace ? new_place(dense_view(Element::boolean, {}, {planned.workspace}),
                                                          new_buffer(Buffer::arena, -1, planned.workspace))
                                              : -1;
      plan_->steps.push_back({step, in, out, workspace, std::move(planned)});
    }
    return out;
  }

  int copied(int place, const Shape& shape, Layout layout) {
    return emit(-1, {place}, plan_copy(plan_->places[place].view, shape, layout))[0];
  }

  void shapes() {
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      const View& view = plan_->inputs[i];
      place_of_[graph_.inputs[i]] = new_place(view, new_buffer(Buffer::input, static_cast<int>(i), view.bytes()));
    }
    for (size_t i = 0; i < graph_.constants.size(); ++i) {
      const View& view = graph_.constants[i].second.view;
      place_of_[graph_.constants[i].first] =
          new_place(view, new_buffer(Buffer::constant, static_cast<int>(i), view.bytes()));
    }
    const Shape none;
    const Shape& first = plan_->inputs.empty() ? none : plan_->inputs[0].shape;
    const auto axis = static_cast<size_t>(graph_.batch_axis);
    const int64_t batch = axis < first.size() ? first[axis] : 1;
    for (size_t s = 0; s < graph_.steps.size(); ++s) {
      const Step& step = graph_.steps[s];
      std::vector<int> in;
      std::vector<View> views;
      for (int value : step.inputs) {
        in.push_back(place_of_[value]);
        views.push_back(plan_->places[in.back()].view);
      }
      Inputs asked(std::move(views), batch);
      Planned planned;
      try {
        planned = step.plan(asked);
      } catch (const TypeError& e) {
        throw TypeError(located(step, e.what()));
      } catch (const ValueError& e) {
        throw ValueError(located(step, e.what()));
      }
      for (size_t i = 0; i < in.size(); ++i)
        if (asked.wanted(i)) in[i] = copied(in[i], asked.wanted(i)->shape, asked.wanted(i)->layout);
      const std::vector<int> out = emit(static_cast<int>(s), in, std::move(planned));
      for (size_t i = 0; i < out.size(); ++i) place_of_[step.outputs[i]] = out[i];
    }
  }

  // An output that is all of a buffer of its own is made in the caller's memory; others are copied there at the end.
  void outputs() {
    std::vector<bool> taken(plan_->buffers.size(), false);
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      int place = place_of_[graph_.outputs[i]];
      const int buffer = plan_->places[place].buffer;
      const View& view = plan_->places[place].view;
      const bool whole = plan_->buffers[buffer].kind == Buffer::arena && !taken[buffer] &&
                         plan_->places[place].offset == 0 && view.bytes() == plan_->buffers[buffer].bytes &&
                         (view.is_dense(Layout::contiguous) || view.is_dense(Layout::channels_last));
      if (whole)
        taken[buffer] = true;
      else
        place = copied(place, Shape(view.shape), view.layout());
      plan_->outputs.push_back(place);
    }
    for (size_t i = 0; i < plan_->outputs.size(); ++i) {
      Buffer& b = buffer_of(plan_->outputs[i]);
      b.kind = Buffer::output;
      b.index = static_cast<int>(i);
    }
  }

  void lifetimes() {
    for (Buffer& b : plan_->buffers) {
      b.first = b.kind == Buffer::arena || b.kind == Buffer::output ? kForever : -1;
      b.last = b.kind == Buffer::arena ? -1 : kForever;
    }
    for (int s = 0; s < static_cast<int>(plan_->steps.size()); ++s) {
      const PlannedStep& step = plan_->steps[s];
      std::vector<int> touched = step.in;
      touched.insert(touched.end(), step.out.begin(), step.out.end());
      if (step.workspace >= 0) touched.push_back(step.workspace);
      for (int place : touched) {
        Buffer& b = buffer_of(place);
        b.first = std::min(b.first, s);
        b.last = std::max(b.last, s);
      }
    }
  }

  // All of buffer `from` becomes a part of buffer `into`.
  void merge(int from, int into, int64_t offset) {
    Buffer &a = plan_->buffers[from], &b = plan_->buffers[into];
    b.first = std::min(a.first, b.first);
    b.last = std::max(a.last, b.last);
    if (a.kind == Buffer::output) b.kind = a.kind, b.index = a.index;
    a = {.kind = Buffer::arena};
    for (Place& p : plan_->places)
      if (p.buffer == from) p.buffer = into, p.offset += offset;
  }

  bool is_whole(const Place& place) const {
    const Buffer& b = plan_->buffers[place.buffer];
    return place.offset == 0 && place.view.bytes() == b.bytes;
  }

  // Whether an output may take the memory of input j: nobody reads that later, and the step itself only through j.
  bool can_replace(int s, const PlannedStep& step, size_t j, int out) const {
    const Place &from = plan_->places[step.in[j]], &to = plan_->places[out];
    const Buffer &b = plan_->buffers[from.buffer], &made = plan_->buffers[to.buffer];
    if (from.buffer == to.buffer || b.kind != Buffer::arena || b.last != s || b.bytes != made.bytes) return false;
    for (int other : step.in) {
      const Place& p = plan_->places[other];
      if (p.buffer == from.buffer && (p.offset != from.offset || !(p.view == from.view))) return false;
    }
    return is_whole(from) && is_whole(to);
  }

  void share() {
    for (int s = 0; s < static_cast<int>(plan_->steps.size()); ++s) {
      PlannedStep& step = plan_->steps[s];
      for (size_t i = 0; i < step.what.outputs.size(); ++i)
        for (size_t j = 0; j < step.in.size(); ++j)
          if (step.what.outputs[i].replaces >> j & 1 && can_replace(s, step, j, step.out[i])) {
            merge(plan_->places[step.out[i]].buffer, plan_->places[step.in[j]].buffer, 0);
            break;
          }
      for (size_t i = 0; i < step.what.places.size(); ++i) {
        if (step.what.places[i] < 0) continue;
        const Place &part = plan_->places[step.in[i]], &to = plan_->places[step.out[0]];
        const Buffer& b = plan_->buffers[part.buffer];
        // A buffer that its own step does not write whole (an input's, another join's) cannot move.
        if (part.buffer == to.buffer || b.kind != Buffer::arena || !is_whole(part)) continue;
        merge(part.buffer, to.buffer, to.offset + step.what.places[i] * part.view.itemsize());
      }
    }
  }

  void arena() {
    std::vector<int> mine;
    std::vector<Lifetime> lifetimes;
    for (size_t i = 0; i < plan_->buffers.size(); ++i) {
      const Buffer& b = plan_->buffers[i];
      if (b.kind != Buffer::arena || b.last < b.first) continue;
      mine.push_back(static_cast<int>(i));
      lifetimes.push_back({b.bytes, b.first, b.last});
    }
    const Arena arena = plan_arena(std::move(lifetimes));
    for (size_t i = 0; i < mine.size(); ++i) plan_->buffers[mine[i]].offset = arena.offsets[i];
    plan_->arena_bytes = arena.peak;
    plan_->live_bytes = arena.live;
  }

  const Graph& graph_;
  std::vector<int> place_of_;  // values
  std::unique_ptr<Plan> plan_ = std::make_unique<Plan>();
};

}  // namespace

std::string located(const Step& step, const char* what) {
  return step.path.empty() ? what : text(step.path, " (", step.op, "): ", what);
}

std::unique_ptr<Plan> make_plan(const Graph& graph, const std::vector<View>& inputs) {
  return Planner(graph, inputs).run();
}

}  // namespace octensor::program
