// A program's plan for inputs of given shapes: every step with its work, every value with its place.
#pragma once
#include <memory>
#include <string>

#include "program/arena.h"
#include "program/step.h"

namespace octensor::program {

struct Step {
  std::string op, path;              // what it does, and the module of the model that asked for it
  std::vector<int> inputs, outputs;  // values
  PlanStep plan;
};

struct Constant {
  View view;
  StoragePtr storage;
  uint8_t* data;
};

// What is to be planned. Values are numbered: inputs, constants and outputs of steps, in the order they were made.
struct Graph {
  int values = 0;
  std::vector<int> inputs, outputs;
  std::vector<std::pair<int, Constant>> constants;
  std::vector<Step> steps;
  int batch_axis = 0;  // of the first input
};

struct Buffer {
  enum Kind : uint8_t { arena, input, constant, output } kind;
  int index = -1;  // which input, constant or output
  int64_t bytes = 0;
  int first = 0, last = -1;  // steps of the plan
  int64_t offset = 0;        // in the arena
};

// A view of a buffer.
struct Place {
  View view;
  int buffer;
  int64_t offset;  // bytes
};

struct PlannedStep {
  int step;                  // of the graph; -1: a copy that the plan put in
  std::vector<int> in, out;  // places
  int workspace = -1;        // a place
  Planned what;
};

struct Plan {
  std::vector<View> inputs;
  std::vector<int> outputs;  // places
  std::vector<Place> places;
  std::vector<Buffer> buffers;
  std::vector<PlannedStep> steps;  // those that run
  int64_t arena_bytes = 0, live_bytes = 0;
};

// Throws what a step throws, its path in front.
std::unique_ptr<Plan> make_plan(const Graph& graph, const std::vector<View>& inputs);

// "step `path` (op): what"
std::string located(const Step& step, const char* what);

}  // namespace octensor::program
