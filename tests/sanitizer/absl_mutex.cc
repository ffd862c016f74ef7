// absl::Mutex, CondVar and Notification on pthreads, for ThreadSanitizer. Debian's Abseil is not
// instrumented, so the real ones order nothing that ThreadSanitizer sees, and every field under a lock would
// be reported. A program's own definition of these functions goes before the shared library's. Slow (each
// release wakes every waiter), readers exclude each other.
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/base/config.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace {

// Behind the one word of a Mutex or a CondVar, from its first use on.
struct LockState {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t released = PTHREAD_COND_INITIALIZER;
};

template <typename Behind, typename Object>
std::atomic<Behind*>& Word(const Object* object) {
  static_assert(sizeof(Object) == sizeof(std::atomic<Behind*>), "another Abseil");
  return *reinterpret_cast<std::atomic<Behind*>*>(const_cast<Object*>(object));
}

template <typename Behind, typename Object>
Behind& Of(const Object* object) {
  std::atomic<Behind*>& word = Word<Behind>(object);
  Behind* behind = word.load(std::memory_order_acquire);
  if (behind == nullptr) {
    auto* fresh = new Behind();
    if (word.compare_exchange_strong(behind, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;
  }
  return *behind;
}

timespec Deadline(Time deadline) {
  // Beyond 2100 the sum overflows in some kernels.
  return ToTimespec(std::min(deadline, FromUnixSeconds(4102444800)));
}

// Waits, holding the lock, until the condition holds or the deadline is over; whether it holds.
bool WaitFor(LockState& lock, const Condition& condition, Time deadline) {
  const timespec until = Deadline(deadline);
  // Waiting releases the lock, so what its holder changed may be what others wait for.
  pthread_cond_broadcast(&lock.released);
  while (!condition.Eval()) {
    if (deadline == InfiniteFuture()) {
      pthread_cond_wait(&lock.released, &lock.mutex);
    } else if (pthread_cond_timedwait(&lock.released, &lock.mutex, &until) != 0) {
      return condition.Eval();
    }
  }
  return true;
}

}  // namespace

Mutex::~Mutex() {
  delete Word<LockState>(this).exchange(nullptr);
}
void Mutex::Lock() {
  pthread_mutex_lock(&Of<LockState>(this).mutex);
}
void Mutex::Unlock() {
  LockState& lock = Of<LockState>(this);
  pthread_cond_broadcast(&lock.released);
  pthread_mutex_unlock(&lock.mutex);
}
bool Mutex::TryLock() {
  return pthread_mutex_trylock(&Of<LockState>(this).mutex) == 0;
}
void Mutex::AssertHeld() const {}
void Mutex::ReaderLock() {
  Lock();
}
void Mutex::ReaderUnlock() {
  Unlock();
}
bool Mutex::ReaderTryLock() {
  return TryLock();
}
void Mutex::AssertReaderHeld() const {}
void Mutex::AssertNotHeld() const {}
void Mutex::ForgetDeadlockInfo() {}

void Mutex::Await(const Condition& condition) {
  AwaitWithDeadline(condition, InfiniteFuture());
}
bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return AwaitWithDeadline(condition, Now() + timeout);
}
bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  return WaitFor(Of<LockState>(this), condition, deadline);
}
void Mutex::LockWhen(const Condition& condition) {
  LockWhenWithDeadline(condition, InfiniteFuture());
}
bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithDeadline(condition, Now() + timeout);
}
bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  Lock();
  return AwaitWithDeadline(condition, deadline);
}
void Mutex::ReaderLockWhen(const Condition& condition) {
  LockWhen(condition);
}
bool Mutex::ReaderLockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithTimeout(condition, timeout);
}
bool Mutex::ReaderLockWhenWithDeadline(const Condition& condition, Time deadline) {
  return LockWhenWithDeadline(condition, deadline);
}

CondVar::~CondVar() {
  delete Word<pthread_cond_t>(this).exchange(nullptr);
}
void CondVar::Wait(Mutex* mutex) {
  pthread_cond_wait(&Of<pthread_cond_t>(this), &Of<LockState>(mutex).mutex);
}
bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  return WaitWithDeadline(mutex, Now() + timeout);
}
bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  if (deadline == InfiniteFuture()) {
    Wait(mutex);
    return false;
  }
  const timespec until = Deadline(deadline);
  return pthread_cond_timedwait(&Of<pthread_cond_t>(this), &Of<LockState>(mutex).mutex, &until) != 0;
}
void CondVar::Signal() {
  pthread_cond_signal(&Of<pthread_cond_t>(this));
}
void CondVar::SignalAll() {
  pthread_cond_broadcast(&Of<pthread_cond_t>(this));
}

Notification::~Notification() {
  MutexLock lock(&mutex_);
}
void Notification::Notify() {
  MutexLock lock(&mutex_);
  notified_yet_.store(true, std::memory_order_release);
}
void Notification::WaitForNotification() const {
  WaitForNotificationWithDeadline(InfiniteFuture());
}
bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  return WaitForNotificationWithDeadline(Now() + timeout);
}
bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  const bool notified =
      mutex_.LockWhenWithDeadline(Condition(&HasBeenNotifiedInternal, &notified_yet_), deadline);
  mutex_.Unlock();
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
