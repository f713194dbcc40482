// Program: a whole network as one list of steps over values, run without allocation on as many threads as call it.
//
// It is built once: inputs, constants and steps are added, outputs are named. After that it does not change. A call
// takes the plan for its inputs' shapes, made when they are first seen, and a context of that plan that nobody uses,
// or a new one.
#pragma once
#include <mutex>

#include "program/context.h"

namespace octensor::program {

// What a call must bring: sizes of -1 are free.
struct InputSpec {
  std::string name;
  View view;
};

class Program {
 public:
  int add_input(InputSpec spec);
  int add_constant(Constant constant);
  // Returns the outputs' values.
  std::vector<int> add_step(std::string op, std::string path, std::vector<int> inputs, int outputs, PlanStep plan);
  void set_outputs(std::vector<int> values);
  void set_batch_axis(int axis) { graph_.batch_axis = axis; }
  const Graph& graph() const { return graph_; }
  const std::vector<InputSpec>& inputs() const { return specs_; }
  // Throws unless the input fits; the first input says what the batch is.
  void check_input(size_t i, const View& view) const;

  static constexpr size_t kMostPlans = 16;
  std::shared_ptr<const Plan> plan(const std::vector<View>& inputs);
  std::shared_ptr<const Plan> known_plan(const std::vector<View>& inputs);  // null where there is none yet
  void run(const std::shared_ptr<const Plan>& plan, uint8_t* const* inputs, uint8_t* const* outputs,
           double* seconds = nullptr);

 private:
  struct Entry {
    std::shared_ptr<const Plan> plan;
    std::vector<std::unique_ptr<Context>> idle;
  };
  Graph graph_;
  std::vector<InputSpec> specs_;
  std::vector<Entry> plans_;  // the last used one first
};

}  // namespace octensor::program
