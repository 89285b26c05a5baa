//! A limited number of permits.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::wait_queue::{Wait, WaitQueue};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::base::wait::WaitKind;

/// Gives out permits, of which there is a limited number.
///
/// Permits are guards: dropping them gives them back, on every path. The semaphore is fair: later
/// callers do not overtake a waiter for many permits, even if they ask for few; they wait behind
/// it.
///
/// # Examples
///
/// At most two at a time:
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use ethreads::{sync::Semaphore, thread};
///
/// ethreads::run_main(|| {
///     let (slots, busy) = (Rc::new(Semaphore::new(2)), Rc::new(Cell::new(0)));
///     let workers: Vec<_> = (0..5)
///         .map(|_| {
///             let (slots, busy) = (slots.clone(), busy.clone());
///             thread::spawn(move || {
///                 let _permit = slots.acquire();
///                 busy.set(busy.get() + 1);
///                 assert!(busy.get() <= 2);
///                 thread::yield_now();
///                 busy.set(busy.get() - 1);
///             })
///         })
///         .collect();
///     for worker in workers {
///         worker.join().expect("it does not panic");
///     }
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Semaphore::new(1));
/// ```
pub struct Semaphore {
    permits: Cell<usize>,
    /// The waiters, each with the number of permits that it asks for.
    waiters: WaitQueue<usize>,
}

/// Permits of a [`Semaphore`]. Dropping this gives them back.
#[must_use = "the permits are given back at once"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

/// There were not enough permits, or other waiters were ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TryAcquireError;

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no permit is free")
    }
}

impl Error for TryAcquireError {}

/// Gives a semaphore and its permits the methods that do not depend on how it counts.
macro_rules! permits {
    ($Semaphore:ident, $Permit:ident) => {
        impl $Semaphore {
            /// Takes a permit if one is free and there is no waiter; does not wait.
            ///
            /// # Errors
            ///
            /// If no permit is free, or there is a waiter.
            pub fn try_acquire(&self) -> Result<$Permit<'_>, TryAcquireError> {
                self.try_acquire_many(1)
            }

            fn permit(&self, count: usize) -> $Permit<'_> {
                $Permit {
                    semaphore: self,
                    count,
                }
            }
        }

        impl $Permit<'_> {
            /// Returns the number of permits in this guard.
            #[must_use]
            pub fn count(&self) -> usize {
                self.count
            }

            /// Keeps the permits from the semaphore for good.
            pub fn forget(mut self) {
                self.count = 0;
            }
        }

        impl Drop for $Permit<'_> {
            fn drop(&mut self) {
                if self.count > 0 {
                    self.semaphore.add_permits(self.count);
                }
            }
        }
    };
}

pub(super) use permits;

impl Semaphore {
    /// Creates a semaphore with this number of permits.
    #[must_use]
    pub const fn new(permits: usize) -> Self {
        Self {
            permits: Cell::new(permits),
            waiters: WaitQueue::new(),
        }
    }

    /// Takes a permit; suspends the caller until its turn comes.
    ///
    /// While the caller unwinds, it gets a permit if one is free; otherwise the process aborts with
    /// a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if no permit can ever be free.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed the permit.
    #[track_caller]
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_many(1)
    }

    /// Takes `count` permits at once; suspends the caller until so many are free and its turn
    /// comes. As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancellation
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_many(&self, count: usize) -> Permit<'_> {
        if let Ok(permit) = self.try_acquire_many(count) {
            return permit;
        }
        // The waiters behind a waiter that leaves may ask for fewer permits.
        let _left = OnDrop(|| self.grant());
        let wait = Wait::new(WaitKind::Permits, Location::caller()).for_many(count as u64);
        self.waiters
            .wait_infallibly(wait, count, "Semaphore::acquire");
        self.permit(count)
    }

    /// Takes `count` permits if so many are free and there is no waiter; does not wait.
    ///
    /// # Errors
    ///
    /// If fewer permits are free, or there is a waiter.
    pub fn try_acquire_many(&self, count: usize) -> Result<Permit<'_>, TryAcquireError> {
        let left = self.permits.get().checked_sub(count);
        match left.filter(|_| self.waiters.is_empty()) {
            Some(left) => {
                self.permits.set(left);
                Ok(self.permit(count))
            }
            None => Err(TryAcquireError),
        }
    }

    /// Adds permits.
    ///
    /// # Panics
    ///
    /// If there would be more than `usize::MAX`.
    pub fn add_permits(&self, count: usize) {
        let permits = self.permits.get().checked_add(count);
        self.permits
            .set(permits.expect("a semaphore counts to usize::MAX"));
        self.grant();
    }

    /// Returns how many permits are free.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.permits.get()
    }

    /// Grants what can be granted, in queue order.
    fn grant(&self) {
        let left = |count| self.permits.get().checked_sub(count);
        self.waiters.grant(left, |left| self.permits.set(left));
    }
}

permits!(Semaphore, Permit);

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.permits.get())
            .field("waiting", &self.waiters.len())
            .finish()
    }
}

opaque_debug!(impl for Permit<'_>, count);
