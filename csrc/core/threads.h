// The thread pool: one per process, made on first use and made anew in a forked child.
//
// parallel_for splits [0, n) into `n` independent indices and runs them on up to num_threads()
// threads, the caller among them. Which thread runs which index is not defined, so an index must
// write only what is its own: results never depend on the thread count. (Where there are as many indices as threads,
// each thread begins with the same one every time: what it read last time may still be in its cache.) Workers compute
// in the default floating-point environment; the caller sees to its own (core/float_environment.h). A call made while
// the pool is busy, or from inside it, runs on the calling thread alone.
#pragma once
#include <cstdint>

namespace octensor {

// The work of one index: a callable that the caller keeps alive, neither copied nor allocated for.
class IndexBody {
 public:
  template <class F>
  IndexBody(const F& f)  // NOLINT: callers write lambdas
      : object_(&f), call_([](const void* object, int64_t i) { (*static_cast<const F*>(object))(i); }) {}
  void operator()(int64_t i) const { call_(object_, i); }

 private:
  const void* object_;
  void (*call_)(const void*, int64_t);
};

int num_threads();
void set_num_threads(int n);  // ValueError unless 1 <= n <= 1024

void parallel_for(int64_t n, const IndexBody& body);

}  // namespace octensor
