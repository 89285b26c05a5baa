//! The protocol between the watchdog, which sleeps while all shards rest, and a shard that goes on.
//!
//! ```text
//!   the watchdog, under the lock       a shard
//!   sets `asleep`                      stores that it runs
//!   fence                              fence
//!   looks at all shards                if `asleep` is set: takes the lock, unsets it, rings
//!   all rest: waits for the bell
//!   else: unsets `asleep`
//! ```
//! One of the two fences comes first. If it is the watchdog's, the shard finds `asleep` set. If it
//! is the shard's, the watchdog sees that this shard runs. The watchdog holds the lock from the
//! check to the wait, so a ring in between is not lost.
#![forbid(unsafe_code)]

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::runtime::base::primitives::{AtomicBool, Condvar, Mutex, MutexGuard, const_fn, fence};

/// The state of an OS thread that sleeps until the bell rings.
pub(super) struct Sleeper<S> {
    state: Mutex<S>,
    /// The OS thread waits for the bell, or is about to. Set under the lock.
    asleep: AtomicBool,
    bell: Condvar,
}

impl<S> Sleeper<S> {
    const_fn! {
        pub(super) fn new(state: S) -> Self {
            Self {
                state: Mutex::new(state),
                asleep: AtomicBool::new(false),
                bell: Condvar::new(),
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings if the OS thread sleeps. The caller has already stored the change that ends the sleep.
    #[inline]
    pub(super) fn ring_if_asleep(&self) {
        // With the fence in `falls_asleep`: either `falls_asleep` sees that change, or this load
        // sees the flag.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.ring_now();
        }
    }

    #[cold]
    fn ring_now(&self) {
        self.ring(&self.lock());
    }

    /// Ends the sleep, or the pause.
    pub(super) fn ring(&self, _state: &MutexGuard<'_, S>) {
        self.asleep.store(false, Ordering::Relaxed);
        self.bell.notify_one();
    }

    /// Sets `asleep`, so that each change rings, and then checks that there is still nothing to do.
    /// If so, the caller calls [`wait_for_ring`](Self::wait_for_ring) next, under the same lock.
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

    pub(super) fn wait_for_ring<'a>(&'a self, mut state: MutexGuard<'a, S>) -> MutexGuard<'a, S> {
        while self.asleep.load(Ordering::Relaxed) {
            let woken = self.bell.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits for this long, or until the bell rings.
    pub(super) fn pause<'a>(
        &'a self,
        state: MutexGuard<'a, S>,
        time: Duration,
    ) -> MutexGuard<'a, S> {
        let waited = self.bell.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
