#include "program/context.h"

#include <chrono>

#include "core/check.h"

namespace octensor::program {

Context::Context(const Graph& graph, std::shared_ptr<const Plan> plan)
    : plan_(std::move(plan)), arena_(allocate(plan_->arena_bytes)) {
  const Plan& p = *plan_;
  slots_.reserve(p.places.size());
  for (size_t i = 0; i < p.places.size(); ++i) {
    const Place& place = p.places[i];
    const Buffer& b = p.buffers[place.buffer];
    Slot& slot = slots_.emplace_back(place.view);
    if (b.kind == Buffer::arena) slot.place(arena_.get() + b.offset + place.offset);
    if (b.kind == Buffer::constant) slot.place(graph.constants[b.index].second.data + place.offset);
    if (b.kind == Buffer::input) inputs_.push_back(static_cast<int>(i));
    if (b.kind == Buffer::output) outputs_.push_back(static_cast<int>(i));
  }
  size_t count = 0;
  for (const PlannedStep& s : p.steps) count += s.in.size() + s.out.size();
  operands_.reserve(count);
  for (const PlannedStep& s : p.steps) {
    const Slot* const* in = operands_.data() + operands_.size();
    for (int place : s.in) operands_.push_back(&slots_[place]);
    const Slot* const* out = operands_.data() + operands_.size();
    for (int place : s.out) operands_.push_back(&slots_[place]);
    calls_.push_back({in, out, s.workspace < 0 ? nullptr : slots_[s.workspace].bytes()});
  }
}

void Context::run(const Graph& graph, uint8_t* const* inputs, uint8_t* const* outputs, double* seconds) {
  const Plan& p = *plan_;
  for (int i : inputs_) slots_[i].place(inputs[p.buffers[p.places[i].buffer].index] + p.places[i].offset);
  for (int i : outputs_) slots_[i].place(outputs[p.buffers[p.places[i].buffer].index] + p.places[i].offset);
  size_t at = 0;
  try {
    if (!seconds) {
      for (; at < calls_.size(); ++at) p.steps[at].what.run(calls_[at]);
      return;
    }
    using Clock = std::chrono::steady_clock;
    for (; at < calls_.size(); ++at) {
      const auto begin = Clock::now();
      p.steps[at].what.run(calls_[at]);
      seconds[at] = std::chrono::duration<double>(Clock::now() - begin).count();
    }
  } catch (const TypeError& e) {
    if (p.steps[at].step < 0) throw;
    throw TypeError(located(graph.steps[p.steps[at].step], e.what()));
  } catch (const ValueError& e) {
    if (p.steps[at].step < 0) throw;
    throw ValueError(located(graph.steps[p.steps[at].step], e.what()));
  }
}

}  // namespace octensor::program
