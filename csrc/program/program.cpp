#include "program/program.h"

#include <pthread.h>

#include <algorithm>

#include "core/check.h"
#include "core/float_environment.h"

namespace octensor::program {
namespace {

// Guards the plans of all programs, for moments: one mutex, so that a child of fork() finds it free.
std::mutex& plans_mutex() {
  static std::mutex* const mutex = [] {
    static auto* made = new std::mutex;
    pthread_atfork([] { made->lock(); }, [] { made->unlock(); }, [] { made->unlock(); });
    return made;
  }();
  return *mutex;
}

}  // namespace

int Program::add_input(InputSpec spec) {
  specs_.push_back(std::move(spec));
  graph_.inputs.push_back(graph_.values);
  return graph_.values++;
}

void Program::check_input(size_t i, const View& got) const {
  const View& want = specs_[i].view;
  bool fits = got.shape.size() == want.shape.size();
  for (size_t a = 0; fits && a < want.shape.size(); ++a)
    fits = want.shape[a] == -1 ? got.shape[a] >= 0 : got.shape[a] == want.shape[a];
  const bool same = got.element == want.element;
  if (fits && same && (got.element != Element::codes || *got.qparams == *want.qparams)) return;
  const std::string where = text("program: input '", specs_[i].name, "': expected ");
  std::string sizes = "(";
  for (size_t a = 0; a < want.shape.size(); ++a)
    sizes += (a ? ", " : "") + (want.shape[a] == -1 ? std::string("N") : std::to_string(want.shape[a]));
  sizes += want.shape.size() == 1 ? ",)" : ")";
  check<TypeError>(same, where, want.name(), " ", sizes, ", got ", got.text());
  check(fits, where, want.name(), " ", sizes, ", got ", got.text());
  check(false, where, want.qparams->repr(), ", got ", got.qparams->repr());
}

int Program::add_constant(Constant constant) {
  graph_.constants.emplace_back(graph_.values, std::move(constant));
  return graph_.values++;
}

std::vector<int> Program::add_step(std::string op, std::string path, std::vector<int> inputs, int outputs,
                                   PlanStep plan) {
  for (int value : inputs)
    check(value >= 0 && value < graph_.values, "Program: inputs: expected values made before, got ", value);
  std::vector<int> made;
  for (int i = 0; i < outputs; ++i) made.push_back(graph_.values++);
  graph_.steps.push_back({std::move(op), std::move(path), std::move(inputs), made, std::move(plan)});
  return made;
}

void Program::set_outputs(std::vector<int> values) {
  for (int value : values)
    check(value >= 0 && value < graph_.values, "Program: outputs: expected values made before, got ", value);
  graph_.outputs = std::move(values);
}

std::shared_ptr<const Plan> Program::known_plan(const std::vector<View>& inputs) {
  const std::lock_guard lock(plans_mutex());
  for (auto e = plans_.begin(); e != plans_.end(); ++e)
    if (e->plan->inputs == inputs) {
      if (e != plans_.begin()) std::rotate(plans_.begin(), e, e + 1);
      return plans_.front().plan;
    }
  return nullptr;
}

std::shared_ptr<const Plan> Program::plan(const std::vector<View>& inputs) {
  if (auto known = known_plan(inputs)) return known;
  std::shared_ptr<const Plan> made = make_plan(graph_, inputs);
  std::vector<Entry> dropped;  // destroyed after the lock
  const std::lock_guard lock(plans_mutex());
  for (const Entry& e : plans_)
    if (e.plan->inputs == inputs) return e.plan;  // somebody was faster
  if (plans_.size() == kMostPlans) {
    dropped.push_back(std::move(plans_.back()));
    plans_.pop_back();
  }
  plans_.insert(plans_.begin(), Entry{made, {}});
  return made;
}

void Program::run(const std::shared_ptr<const Plan>& plan, uint8_t* const* inputs, uint8_t* const* outputs,
                  double* seconds) {
  const DefaultFloatEnvironment environment;
  const auto entry = [&] {
    return std::find_if(plans_.begin(), plans_.end(), [&](const Entry& e) { return e.plan == plan; });
  };
  std::unique_ptr<Context> context;
  {
    const std::lock_guard lock(plans_mutex());
    if (const auto e = entry(); e != plans_.end() && !e->idle.empty()) {
      context = std::move(e->idle.back());
      e->idle.pop_back();
    }
  }
  if (!context) context = std::make_unique<Context>(graph_, plan);
  const auto give_back = [&] {
    const std::lock_guard lock(plans_mutex());
    if (const auto e = entry(); e != plans_.end()) e->idle.push_back(std::move(context));
  };
  try {
    context->run(graph_, inputs, outputs, seconds);
  } catch (...) {
    give_back();
    throw;
  }
  give_back();
}

}  // namespace octensor::program
