//! Permits, so many at a time.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::line::{self, Line, Wait};
use crate::runtime::base::wait::WaitKind;

/// Gives out permits, of which there are so many.
///
/// Permits are guards, and given back when they are dropped, on every path. It is fair: whoever
/// asks for many is not overtaken by those who ask for few, who wait behind it.
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
    /// Those who wait, with the number of permits that they ask for.
    line: Line<usize>,
}

/// Permits of a [`Semaphore`], which has them back when this is dropped.
#[must_use = "the permits are given back at once"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

/// There were not enough permits, or others were waiting for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TryAcquireError;

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no permit is free")
    }
}

impl Error for TryAcquireError {}

/// Serves those behind a waiter that has left, who may ask for less.
struct Left<'a>(&'a Semaphore);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.serve();
    }
}

impl Semaphore {
    /// Creates a semaphore with so many permits.
    #[must_use]
    pub const fn new(permits: usize) -> Self {
        Self {
            permits: Cell::new(permits),
            line: Line::new(),
        }
    }

    /// Takes a permit; suspends the caller until it is its turn.
    ///
    /// While the caller unwinds, one is taken if it is free; else the process is aborted with a
    /// report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, and on the OS thread's own side if none can ever be free.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed the permit.
    #[track_caller]
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_at(1, Location::caller())
    }

    /// Takes `count` permits at once; suspends the caller until there are so many and it is its
    /// turn. As [`acquire`](Self::acquire).
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
        self.acquire_at(count, Location::caller())
    }

    fn acquire_at(&self, count: usize, location: &'static Location<'static>) -> Permit<'_> {
        if let Ok(permit) = self.try_acquire_many(count) {
            return permit;
        }
        let _left = Left(self);
        let wait = Wait::new(WaitKind::Permits, location).for_many(count as u64);
        line::unlimited(self.line.wait(wait, count), "Semaphore::acquire", location);
        Permit {
            semaphore: self,
            count,
        }
    }

    /// Takes a permit if one is free and nobody waits; does not wait itself.
    ///
    /// # Errors
    ///
    /// If none is.
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes `count` permits if so many are free and nobody waits; does not wait
    /// itself.
    ///
    /// # Errors
    ///
    /// If they are not.
    pub fn try_acquire_many(&self, count: usize) -> Result<Permit<'_>, TryAcquireError> {
        let left = self.permits.get().checked_sub(count);
        match left.filter(|_| self.line.is_empty()) {
            Some(left) => {
                self.permits.set(left);
                Ok(Permit {
                    semaphore: self,
                    count,
                })
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
        self.serve();
    }

    /// Returns how many permits are free.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.permits.get()
    }

    /// Grants what can be granted, in the order of the line.
    fn serve(&self) {
        while let Some(count) = self.line.first()
            && let Some(left) = self.permits.get().checked_sub(count)
        {
            // One who has met a deadline, and not run since, gets nothing.
            if self.line.serve_next() == Some(true) {
                self.permits.set(left);
            }
        }
    }
}

impl Permit<'_> {
    /// Returns how many permits it is.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Keeps the permits from the semaphore for good.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.count);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.permits.get())
            .field("waiting", &self.line.len())
            .finish()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
