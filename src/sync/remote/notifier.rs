//! Notifications for waiters on any OS thread.

use std::panic::Location;
use std::time::Duration;

use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::CallSite;
use crate::runtime::task::monitor::{Monitor, MonitorState, Wait, WaitQueue, Waited, WakeList};
use crate::sync::wait_queue::cannot_wait;

/// Wakes ethreads of any shard, and OS threads, that wait for a notification. tokio's `Notify`.
///
/// A notification without a waiter is kept for the next waiter. At most one notification is kept,
/// however many there are.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
/// use ethreads::sync::remote::Notifier;
///
/// let shared = Arc::new((AtomicU32::new(0), Notifier::new()));
/// let theirs = shared.clone();
/// std::thread::spawn(move || {
///     theirs.0.store(42, Ordering::Release);
///     theirs.1.notify_one();
/// });
/// let answer = ethreads::run_main(move || {
///     shared.1.wait();
///     shared.0.load(Ordering::Acquire)
/// })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub struct Notifier {
    monitor: Monitor<NotifierState>,
}

#[derive(Default)]
struct NotifierState {
    /// Whether there was a notification without a waiter.
    is_kept: bool,
    waiters: WaitQueue<()>,
}

impl MonitorState for NotifierState {}

impl Notifier {
    /// Creates a notifier that keeps no notification.
    #[must_use]
    pub fn new() -> Self {
        Self {
            monitor: Monitor::new(NotifierState::default()),
        }
    }

    /// Suspends the ethread, or blocks the OS thread, until it is notified.
    ///
    /// While an ethread unwinds, the call returns if a notification is kept; otherwise the process
    /// aborts with a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, if the call has to wait.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been notified.
    #[track_caller]
    pub fn wait(&self) {
        let location = Location::caller();
        if !self.wait_for(None, location) {
            cannot_wait("remote::Notifier::wait", location);
        }
    }

    /// Suspends the ethread, or blocks the OS thread, until it is notified, for at most `timeout`.
    /// Returns false if it was not notified.
    ///
    /// While an ethread unwinds, the call does not wait.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Cancellation
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    #[must_use = "it may not have been notified"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_for(Some(timeout), Location::caller())
    }

    fn wait_for(&self, timeout: Option<Duration>, location: CallSite) -> bool {
        let wait = Wait { timeout, location };
        let take = |state: &mut NotifierState, _: &mut WakeList, ()| {
            if std::mem::take(&mut state.is_kept) {
                Ok(())
            } else {
                Err(())
            }
        };
        let waited = self
            .monitor
            .wait(wait, |state| &mut state.waiters, (), take);
        !matches!(waited, Waited::Failed(()))
    }

    /// Wakes the waiter that has waited longest; if there is no waiter, keeps the notification for
    /// the next waiter.
    pub fn notify_one(&self) {
        self.monitor.with(|state, wakes| {
            if state.waiters.wake_one(wakes, |()| ()).is_none() {
                state.is_kept = true;
            }
        });
    }

    /// Wakes all current waiters. Nothing is kept.
    pub fn notify_all(&self) {
        self.monitor
            .with(|state, wakes| state.waiters.wake_all(wakes));
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

opaque_debug!(impl for Notifier);
