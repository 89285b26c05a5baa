//! Hands a value to the current waiters only.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::select::sealed::{Park, Parts};
use super::wait_queue::{Wait, WaitError, WaitQueue, Waiter};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::{WaitKind, deadline_after};
use crate::time::Instant;

/// Hands values to the waiters of the moment: to the first waiter or to all waiters. Celluloid's
/// conditions and signals.
///
/// A signal keeps nothing: a value without a waiter is not stored, which does no harm. To keep the
/// last value for later callers use [`watch`](super::watch), to keep all values a
/// [`channel`](super::channel), to keep one value for good a [`Promise`](super::Promise).
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use ethreads::{sync::Signal, thread};
///
/// ethreads::run_main(|| {
///     let temperature = Rc::new(Signal::new());
///     let readers: Vec<_> = (0..3)
///         .map(|_| {
///             let temperature = temperature.clone();
///             thread::spawn(move || temperature.wait())
///         })
///         .collect();
///     thread::yield_now();
///     assert_eq!(temperature.signal(19), Ok(())); // the first waiter
///     assert_eq!(temperature.broadcast(21), 2);
///     assert_eq!(temperature.signal(23), Err(23)); // no waiter is left
///     let seen: Vec<_> = readers.into_iter().filter_map(|reader| reader.join().ok()).collect();
///     assert_eq!(seen, [19, 21, 21]);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Signal::<u8>::new());
/// ```
pub struct Signal<T> {
    /// The waiters, each with a slot for the value.
    waiters: WaitQueue<Option<T>>,
}

impl<T> Signal<T> {
    /// Creates a signal without waiters.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            waiters: WaitQueue::new(),
        }
    }

    /// Suspends the caller until it is handed a value.
    ///
    /// While the caller unwinds, there is no value to return, and the process aborts with a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if nothing can ever signal.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed a value.
    #[track_caller]
    pub fn wait(&self) -> T {
        let wait = Wait::new(WaitKind::Signal, Location::caller());
        let value = self.waiters.wait_infallibly(wait, None, "Signal::wait");
        value.expect("a woken waiter has a value")
    }

    /// Suspends the caller until it is handed a value, for at most `timeout`. Returns `None` after
    /// that.
    ///
    /// While the caller unwinds, the call returns `None` at once.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`.
    ///
    /// # Cancellation
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<T> {
        let deadline = deadline_after(Instant::now().as_nanos(), timeout);
        let wait = Wait::new(WaitKind::Signal, Location::caller()).until(deadline);
        let waited = self.waiters.wait(wait, None);
        waited.unwrap_or_else(WaitError::into_inner)
    }

    /// Returns an operation that waits for a value, for [`select!`](crate::select).
    pub fn waiting(&self) -> Waiting<'_, T> {
        Waiting {
            signal: self,
            waiter: None,
        }
    }

    /// Hands a value to the waiter that has waited longest.
    ///
    /// # Errors
    ///
    /// The value, if there is no waiter.
    pub fn signal(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.waiters.wake_one(|slot| *slot = value.take());
        value.map_or(Ok(()), Err)
    }

    /// Hands a clone of the value to each current waiter, and returns the number of these waiters.
    pub fn broadcast(&self, value: T) -> usize
    where
        T: Clone,
    {
        let mut count = 0;
        let last = self.waiters.last();
        while self.waiters.has_up_to(last) {
            // `clone` is user code: meanwhile waiters may leave, even all of them, and new waiters
            // have higher numbers.
            let copy = value.clone();
            if !self.waiters.has_up_to(last) {
                break;
            }
            let told = self.waiters.wake_up_to(last, |slot| *slot = Some(copy));
            count += usize::from(told.is_some());
        }
        count
    }

    /// Returns the number of waiters.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }
}

impl<T> Default for Signal<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("waiters", &self.waiters())
            .finish()
    }
}

/// Waits for a [`Signal`]; see [`Signal::waiting`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Waiting<'a, T> {
    signal: &'a Signal<T>,
    waiter: Option<Waiter<'a, Option<T>>>,
}

impl<T> Parts for Waiting<'_, T> {
    type Done = T;

    fn attempt(&mut self, _: u32) -> Option<T> {
        None
    }

    fn enlist(&mut self, park: &Park<'_>, case: u32) {
        self.waiter = Some(park.enter(&self.signal.waiters, case, None));
    }

    fn commit(&mut self, _: u32) -> T {
        let waiter = self.waiter.take().expect("it was queued");
        let value = waiter.leave();
        value.expect("a woken waiter has a value")
    }

    fn withdraw(&mut self) {
        self.waiter = None;
    }
}

opaque_debug!(impl<T> for Waiting<'_, T>);
