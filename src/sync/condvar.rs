//! Waiting for a condition under a lock.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::time::Duration;

use super::mutex::{Mutex, MutexGuard};
use super::wait_queue::{Wait, WaitQueue};
use super::{LockResult, PoisonError};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::{CallSite, NEVER, WaitKind, deadline_after};
use crate::thread;
use crate::time::Instant;

/// Lets ethreads wait until another ethread notifies them of a change. [`std::sync::Condvar`], for
/// the ethreads of one shard.
///
/// Waiters are woken in order of arrival, and never without a notification. So [`wait`](Self::wait)
/// is useful even without a loop, where the condition cannot change back.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use ethreads::{sync::{Condvar, Mutex}, thread};
///
/// ethreads::run_main(|| {
///     let shared = Rc::new((Mutex::new(Vec::new()), Condvar::new()));
///     let theirs = shared.clone();
///     let consumer = thread::spawn(move || {
///         let (items, changed) = &*theirs;
///         let items = items.lock().expect("no holder panics");
///         let mut items = changed.wait_while(items, |items| items.len() < 2).expect("likewise");
///         std::mem::take(&mut *items)
///     });
///     for item in ["a", "b"] {
///         thread::yield_now();
///         shared.0.lock().expect("no holder panics").push(item);
///         shared.1.notify_one();
///     }
///     assert_eq!(consumer.join().expect("it does not panic"), ["a", "b"]);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Condvar::new());
/// ```
#[derive(Default)]
pub struct Condvar {
    waiters: WaitQueue,
}

/// Whether a wait with a timeout has timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the timeout passed before there was a notification.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Creates a condition variable.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            waiters: WaitQueue::new(),
        }
    }

    /// Unlocks the mutex, suspends the caller until it is notified, and locks the mutex again.
    ///
    /// While the caller unwinds, the call returns at once, with the mutex locked as it was.
    ///
    /// # Errors
    ///
    /// If a holder of the mutex has unwound. The error contains the guard.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if nothing can ever notify the
    /// caller.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here without the lock, so the mutex is not poisoned. If the
    /// ethread had been notified already, it locks the mutex, returns, and unwinds later. The
    /// deadline of a scope has the same effects.
    #[track_caller]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let (guard, _) = self.wait_until(guard, NEVER, Location::caller());
        guard
    }

    /// Suspends the caller as [`wait`](Self::wait) does, again and again as long as `condition`
    /// holds.
    ///
    /// While the caller unwinds, the call returns at once, even if the condition holds.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Cancellation
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        let location = Location::caller();
        while condition(&mut guard) && !std::thread::panicking() {
            guard = self.wait_until(guard, NEVER, location).0?;
        }
        Ok(guard)
    }

    /// Suspends the caller as [`wait`](Self::wait) does, for at most `timeout` plus the time that
    /// locking the mutex takes after that.
    ///
    /// While the caller unwinds, the call returns at once, as if the timeout had passed.
    ///
    /// # Errors
    ///
    /// If a holder of the mutex has unwound. The error contains the guard and the result.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Cancellation
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let deadline = deadline_after(Instant::now().as_nanos(), timeout);
        let (guard, notified) = self.wait_until(guard, deadline, Location::caller());
        let result = WaitTimeoutResult(!notified);
        match guard {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(PoisonError::new((error.into_inner(), result))),
        }
    }

    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: u64,
        location: CallSite,
    ) -> (LockResult<MutexGuard<'a, T>>, bool) {
        if std::thread::panicking() {
            return (Ok(guard), false);
        }
        let mutex: &'a Mutex<T> = guard.mutex();
        drop(guard);
        let wait = Wait::new(WaitKind::Condition, location).until(deadline);
        // The caller does not unwind, as checked above.
        let notified = self.waiters.wait(wait, ()).is_ok();
        let guard = if notified {
            // If the ethread unwound now, its notification would be lost; the notification was
            // meant for an ethread that goes on.
            thread::uncancellable(|| mutex.lock_at(location))
        } else {
            mutex.lock_at(location)
        };
        (guard, notified)
    }

    /// Wakes the waiter that has waited longest, if there is a waiter.
    pub fn notify_one(&self) {
        self.waiters.wake_one(|()| ());
    }

    /// Wakes all current waiters.
    pub fn notify_all(&self) {
        self.waiters.wake_all(|()| ());
    }
}

opaque_debug!(impl for Condvar);
