#include "core/storage.h"

#include <pthread.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>

namespace octensor {
namespace {

constexpr size_t kHugePage = size_t{2} << 20, kHugeFrom = 2 * kHugePage;

void* system_block(size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, bytes >= kHugeFrom ? kHugePage : kAlignment, bytes)) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  // A wish: one fault per 2 MiB instead of 512. The rest of the block takes no more than it is used for.
  if (bytes >= kHugeFrom) madvise(p, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return p;
}

// Blocks that nobody uses, oldest first. Every one comes from system_block and goes to std::free.
class Cache {
 public:
  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    for (size_t i = count_; i-- > 0;)
      if (blocks_[i].bytes == bytes) {  // the newest is the likeliest to be in the CPU's caches
        void* p = blocks_[i].data;
        erase(i);
        return p;
      }
    return nullptr;
  }

  void keep(void* data, size_t bytes) {
    if (bytes > kCachedBytes) return std::free(data);
    const std::lock_guard lock(mutex_);
    while (count_ == kCachedBlocks || bytes_ + bytes > kCachedBytes) {
      std::free(blocks_[0].data);
      erase(0);
    }
    blocks_[count_++] = {data, bytes};
    bytes_ += bytes;
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < count_; ++i) std::free(blocks_[i].data);
    count_ = bytes_ = 0;
  }

  std::mutex& mutex() { return mutex_; }

 private:
  struct Block {
    void* data;
    size_t bytes;
  };

  void erase(size_t i) {
    bytes_ -= blocks_[i].bytes;
    std::copy(blocks_ + i + 1, blocks_ + count_, blocks_ + i);
    --count_;
  }

  std::mutex mutex_;
  Block blocks_[kCachedBlocks];
  size_t count_ = 0, bytes_ = 0;
};

// Never destroyed: tensors may outlive every static object.
Cache& cache() {
  static Cache* const instance = [] {
    static Cache* made = new Cache;
    // A child of fork() finds the mutex free and its own copy of the blocks.
    pthread_atfork([] { made->mutex().lock(); }, [] { made->mutex().unlock(); }, [] { made->mutex().unlock(); });
    return made;
  }();
  return *instance;
}

// Sizes come in four steps per power of two, so that a block serves tensors of about its size. What rounding
// adds is not touched, so it takes addresses, not memory.
size_t rounded(size_t bytes) {
  size_t step = kAlignment;
  if (bytes >= kCachedFrom)
    while (step * 8 < bytes) step *= 2;
  return (bytes / step + (bytes % step != 0 || bytes == 0)) * step;
}

}  // namespace

void release_unused() {
  cache().clear();
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

StoragePtr allocate(size_t bytes) {
  if (bytes > size_t{1} << 62) throw std::bad_alloc();
  const size_t size = rounded(bytes);
  if (size < kCachedFrom) return {{static_cast<uint8_t*>(system_block(size)), [](uint8_t* p) { std::free(p); }}};
  void* p = cache().take(size);
  if (!p) p = system_block(size);
  return {{static_cast<uint8_t*>(p), [size](uint8_t* q) { cache().keep(q, size); }}};
}

}  // namespace octensor
