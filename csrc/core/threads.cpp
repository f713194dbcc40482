#include "core/threads.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/float_environment.h"

namespace octensor {
namespace {

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// About 20 microseconds of polling before a worker parks: a network's next op usually comes sooner.
constexpr int kSpins = 2000;

struct Job {
  const IndexBody* body;
  int64_t n;
  bool one_each = false;  // as many indices as threads: each begins with its own
  std::atomic<int64_t> next{0};
  std::atomic<uint64_t> taken{0};  // with one_each, a bit per index
  std::atomic<bool> failed{false};
  std::exception_ptr error;

  void work(int64_t thread) {
    for (int64_t k = 0; one_each && k < n; ++k) {  // then those of threads that are not awake yet
      const int64_t i = (thread + k) % n;
      if (!(taken.fetch_or(uint64_t{1} << i, std::memory_order_relaxed) >> i & 1)) call(i);
    }
    if (one_each) return;
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) call(i);
  }

 private:
  void call(int64_t i) {
    try {
      (*body)(i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
      next.store(n, std::memory_order_relaxed);
    }
  }
};

class Pool {
 public:
  explicit Pool(int workers) : wanted_(workers) {
    try {
      for (int i = 0; i < workers; ++i) threads_.emplace_back([this, i] { loop(i + 1); });
    } catch (const std::system_error&) {
      // No more threads to be had: work with those that started.
    }
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& t : threads_) t.join();
  }

  int wanted() const { return wanted_; }

  void run(Job& job) {
    job_ = &job;
    job.one_each = job.n == static_cast<int64_t>(threads_.size()) + 1 && job.n <= 64;
    active_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (parked_.load(std::memory_order_acquire)) wake_.notify_all();
    job.work(0);
    for (int spin = 0; active_.load(std::memory_order_acquire); ++spin)
      spin < kSpins ? relax() : std::this_thread::yield();
  }

 private:
  void loop(int64_t thread) {
    const DefaultFloatEnvironment environment;
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin) relax();
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex_);
        parked_.fetch_add(1, std::memory_order_release);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        parked_.fetch_sub(1, std::memory_order_release);
      }
      ++seen;
      if (stop_) return;
      job_->work(thread);
      active_.fetch_sub(1, std::memory_order_release);
    }
  }

  const int wanted_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> active_{0}, parked_{0};
  Job* job_ = nullptr;
  bool stop_ = false;
};

int default_threads() {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (const char* text = std::getenv("OCTENSOR_NUM_THREADS")) {
    int wanted = std::atoi(text);
    if (wanted >= 1 && wanted <= 1024) n = wanted;
  }
  return n;
}

struct State {
  std::mutex busy;  // held while a job runs, and while the pool is replaced
  Pool* pool = nullptr;
  std::atomic<int> threads{default_threads()};
};

// Replaced, never destroyed: a forked child leaks its parent's pool (its threads do not exist there,
// so joining them would hang), and at exit no destructor races with running threads.
State* state = nullptr;

State& instance() {
  static const bool once = [] {
    state = new State;
    pthread_atfork(nullptr, nullptr, [] {
      State* fresh = new State;
      fresh->threads = state->threads.load();
      state = fresh;
    });
    return true;
  }();
  (void)once;
  return *state;
}

thread_local bool inside = false;

}  // namespace

int num_threads() { return instance().threads; }

void set_num_threads(int n) {
  check(n >= 1 && n <= 1024, "set_num_threads: n: expected 1 to 1024 threads, got ", n);
  instance().threads = n;
}

void parallel_for(int64_t n, const IndexBody& body) {
  if (n <= 0) return;
  Job job{.body = &body, .n = n, .error = {}};
  State& s = instance();
  const int threads = s.threads;
  std::unique_lock lock(s.busy, std::defer_lock);
  if (n == 1 || threads == 1 || inside || !lock.try_lock()) {
    job.work(0);
  } else {
    if (!s.pool || s.pool->wanted() != threads - 1) {
      delete s.pool;
      s.pool = nullptr;
      s.pool = new Pool(threads - 1);
    }
    inside = true;
    s.pool->run(job);
    inside = false;
  }
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace octensor
