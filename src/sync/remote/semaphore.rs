//! Permits for ethreads of any shard and for OS threads.

use std::panic::Location;
use std::time::Duration;

use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::CallSite;
use crate::runtime::task::monitor::{Monitor, MonitorState, Wait, WaitQueue, Waited, WakeList};
use crate::sync::TryAcquireError;
use crate::sync::semaphore::permits;
use crate::sync::wait_queue::cannot_wait;

/// Gives out permits, of which there is a limited number, to ethreads of any shard and to OS
/// threads. As [`sync::Semaphore`](crate::sync::Semaphore), it is fair.
///
/// # Examples
///
/// Two at a time, wherever they are:
///
/// ```
/// use ethreads::sync::remote::Semaphore;
///
/// static SLOTS: std::sync::LazyLock<Semaphore> = std::sync::LazyLock::new(|| Semaphore::new(2));
///
/// let workers = (0..4).map(|_| {
///     std::thread::spawn(|| {
///         ethreads::run_main(|| {
///             let _permit = SLOTS.acquire();
///             ethreads::thread::yield_now(); // at work
///         })
///     })
/// });
/// for worker in workers.collect::<Vec<_>>() {
///     worker.join().expect("no panic")?;
/// }
/// assert_eq!(SLOTS.available_permits(), 2);
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub struct Semaphore {
    monitor: Monitor<Permits>,
}

/// Permits of a [`Semaphore`]. Dropping this gives them back.
#[must_use = "the permits are given back at once"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

struct Permits {
    free: usize,
    /// The waiters, each with the number of permits that it asks for.
    waiters: WaitQueue<usize>,
}

impl Permits {
    fn take(&mut self, count: usize) -> Result<(), usize> {
        match self.free.checked_sub(count) {
            Some(left) if self.waiters.first().is_none() => {
                self.free = left;
                Ok(())
            }
            _ => Err(count),
        }
    }

    /// Grants what can be granted, in queue order.
    fn grant(&mut self, wakes: &mut WakeList) {
        while let Some(&count) = self.waiters.first()
            && let Some(left) = self.free.checked_sub(count)
        {
            self.free = left;
            self.waiters.wake_one(wakes, |_| ());
        }
    }
}

impl MonitorState for Permits {
    fn waiter_left(&mut self, wakes: &mut WakeList) {
        self.grant(wakes);
    }
}

impl Semaphore {
    /// Creates a semaphore with this number of permits.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self {
            monitor: Monitor::new(Permits {
                free: permits,
                waiters: WaitQueue::default(),
            }),
        }
    }

    /// Takes a permit; suspends the ethread, or blocks the OS thread, until its turn comes.
    ///
    /// While an ethread unwinds, it gets a permit if one is free; otherwise the process aborts with
    /// a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, if the call has to wait.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed the permit.
    #[track_caller]
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_many(1)
    }

    /// Takes `count` permits at once; suspends the ethread, or blocks the OS thread, until its turn
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
        let location = Location::caller();
        self.wait(count, None, location)
            .unwrap_or_else(|| cannot_wait("remote::Semaphore::acquire", location))
    }

    /// Takes a permit; suspends the ethread, or blocks the OS thread, until its turn comes, for at
    /// most `timeout`. Otherwise as [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// If there was no permit in time, or an ethread that unwinds would have to wait.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancellation
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, TryAcquireError> {
        let permit = self.wait(1, Some(timeout), Location::caller());
        permit.ok_or(TryAcquireError)
    }

    fn wait(
        &self,
        count: usize,
        timeout: Option<Duration>,
        location: CallSite,
    ) -> Option<Permit<'_>> {
        let wait = Wait { timeout, location };
        let take = |permits: &mut Permits, _: &mut WakeList, count| permits.take(count);
        match self
            .monitor
            .wait(wait, |permits| &mut permits.waiters, count, take)
        {
            Waited::Ready(()) | Waited::Woken(_) => Some(self.permit(count)),
            Waited::Failed(_) => None,
        }
    }

    /// As [`acquire`](Self::acquire), for a fallible call at `location`; `None` if the call would
    /// have to wait while its ethread unwinds.
    pub(crate) fn acquire_at(&self, location: CallSite) -> Option<Permit<'_>> {
        self.wait(1, None, location)
    }

    /// Takes `count` permits if so many are free and there is no waiter; does not wait.
    ///
    /// # Errors
    ///
    /// If fewer permits are free, or there is a waiter.
    pub fn try_acquire_many(&self, count: usize) -> Result<Permit<'_>, TryAcquireError> {
        let taken = self.monitor.with(|permits, _| permits.take(count));
        taken
            .map(|()| self.permit(count))
            .map_err(|_| TryAcquireError)
    }

    /// Adds permits.
    ///
    /// # Panics
    ///
    /// If there would be more than `usize::MAX`.
    pub fn add_permits(&self, count: usize) {
        let added = self.monitor.with(|permits, wakes| {
            let free = permits.free.checked_add(count)?;
            permits.free = free;
            permits.grant(wakes);
            Some(())
        });
        added.expect("a semaphore counts to usize::MAX");
    }

    /// Returns how many permits are free at this moment.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.monitor.with(|permits, _| permits.free)
    }
}

permits!(Semaphore, Permit);

opaque_debug!(impl for Semaphore; permits = available_permits);
opaque_debug!(impl for Permit<'_>, count);
