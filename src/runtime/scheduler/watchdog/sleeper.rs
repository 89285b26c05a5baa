//! The protocol between the watchdog, which sleeps while all shards wait, and a shard that runs
//! again.
//!
//! ```text
//!   the watchdog, under the lock       a shard
//!   sets `asleep`                      stores that it runs
//!   fence                              fence
//!   looks at all shards                if `asleep` is set: takes the lock, unsets it, notifies
//!   all wait: sleeps until notified
//!   else: unsets `asleep`
//! ```
//! One of the two fences comes first. If it is the watchdog's, the shard finds `asleep` set. If it
//! is the shard's, the watchdog sees that this shard runs. The watchdog holds the lock from the
//! check to the sleep, so a notification in between is not lost.
#![forbid(unsafe_code)]

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::runtime::base::primitives::{AtomicBool, Condvar, Mutex, MutexGuard, const_fn, fence};

/// The state of an OS thread that sleeps until it is notified.
pub(super) struct Sleeper<S> {
    state: Mutex<S>,
    /// The OS thread sleeps, or is about to. Set under the lock.
    asleep: AtomicBool,
    notified: Condvar,
}

impl<S> Sleeper<S> {
    const_fn! {
        pub(super) fn new(state: S) -> Self {
            Self {
                state: Mutex::new(state),
                asleep: AtomicBool::new(false),
                notified: Condvar::new(),
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies the OS thread if it sleeps. The caller has already stored the change that ends the
    /// sleep.
    #[inline]
    pub(super) fn notify_if_asleep(&self) {
        // With the fence in `falls_asleep`: either `falls_asleep` sees that change, or this load
        // sees the flag.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.notify_now();
        }
    }

    #[cold]
    fn notify_now(&self) {
        self.notify(&self.lock());
    }

    /// Ends the sleep, or the pause.
    pub(super) fn notify(&self, _state: &MutexGuard<'_, S>) {
        self.asleep.store(false, Ordering::Relaxed);
        self.notified.notify_one();
    }

    /// Sets `asleep`, so that each change notifies, and then checks that there is still nothing to
    /// do. If so, the caller calls [`wait_until_notified`](Self::wait_until_notified) next, under
    /// the same lock.
    pub(super) fn falls_asleep(
        &self,
        state: &MutexGuard<'_, S>,
        is_idle: impl FnOnce(&S) -> bool,
    ) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_idle = is_idle(state);
        if !is_idle {
            self.asleep.store(false, Ordering::Relaxed);
        }
        is_idle
    }

    pub(super) fn wait_until_notified<'a>(
        &'a self,
        mut state: MutexGuard<'a, S>,
    ) -> MutexGuard<'a, S> {
        while self.asleep.load(Ordering::Relaxed) {
            let woken = self.notified.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits for this long, or until it is notified.
    pub(super) fn pause<'a>(
        &'a self,
        state: MutexGuard<'a, S>,
        time: Duration,
    ) -> MutexGuard<'a, S> {
        let waited = self.notified.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
