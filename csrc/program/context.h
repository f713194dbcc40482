// What one running call needs besides the plan: an arena, and every value's view of it, made once.
#pragma once
#include "program/plan.h"

namespace octensor::program {

class Context {
 public:
  Context(const Graph& graph, std::shared_ptr<const Plan> plan);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  const std::shared_ptr<const Plan>& plan() const { return plan_; }

  // Runs all steps, allocating nothing; `seconds`, where given, gets a time per step.
  void run(const Graph& graph, uint8_t* const* inputs, uint8_t* const* outputs, double* seconds = nullptr);

 private:
  std::shared_ptr<const Plan> plan_;
  StoragePtr arena_;
  std::vector<Slot> slots_;
  std::vector<const Slot*> operands_;  // of all steps
  std::vector<Operands> calls_;        // one per step
  std::vector<int> inputs_, outputs_;  // slots in the caller's memory
};

}  // namespace octensor::program
