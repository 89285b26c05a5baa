//! Descriptors that ethreads wait on: registration, readiness, and the try-park-retry protocol.
//!
//! A source is a descriptor and its [`Registration`]: one atomic word that identifies the shard and
//! the slot that holds the readiness. Only the shard's OS thread touches its slots. A shard
//! registers the source at its first wait. Most sources are used by one shard; further shards are
//! kept in a separate list.
//!
//! In a slot each direction has a flag, `ready`, and a FIFO wait queue:
//!
//! * A report sets the flag and wakes the first waiter.
//! * Meeting "would block" clears the flag; so does a short read or write, where that proves the
//!   same.
//! * An operation that leaves while the flag is set wakes the next waiter: an edge is one wake-up,
//!   and the wake-up is passed on until an operation has met "would block".

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::operation::{Left, Limit, Operation};
use super::registration::Registration;
#[cfg(feature = "http")]
use crate::runtime::base::wait::CallSite;
use crate::runtime::base::wait::{NEVER, Outcome, Token};
use crate::runtime::driver::{monotonic_now, ops};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::park::{Unwinding, Wait};
use crate::runtime::state::slots::{Direction, Slot};

/// A descriptor that ethreads can wait on: the sockets of [`net`](crate::net), the ports of
/// [`io`](crate::io). Sealed.
pub trait Source: AsFd {
    #[doc(hidden)]
    fn registration(&self) -> &Registration;
}

impl Registration {
    /// Runs `try_once` until it does not return `WouldBlock`: tries, parks, and tries again.
    ///
    /// `left` says what a success proves. It is called only for descriptors for which the driver
    /// reports hangups in time; see the contract of the driver.
    ///
    /// # Errors
    ///
    /// Any error of `try_once`, but `WouldBlock` only with [`Limit::Now`]; `TimedOut`;
    /// `NotConnected` once the source is closed; `Other` with the source `WouldPark` if the caller
    /// unwinds and would have to wait.
    ///
    /// # Panics
    ///
    /// On the scheduler's side, if it would have to wait.
    #[inline]
    pub(crate) fn perform<R>(
        &self,
        fd: BorrowedFd<'_>,
        operation: Operation,
        left: impl Fn(&R) -> Left,
        try_once: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        current::with(|scheduler| match scheduler {
            Some(scheduler) => self.perform_here(scheduler, fd, operation, left, try_once),
            None => self.perform_blocking(fd, operation, try_once),
        })
    }

    /// Runs `try_once` a single time, as [`perform`](Self::perform) does with [`Limit::Now`]: the
    /// result may be `WouldBlock`, or `Interrupted`.
    #[inline]
    #[cfg(feature = "http")]
    pub(crate) fn try_now<R>(
        &self,
        direction: Direction,
        location: CallSite,
        left: impl Fn(&R) -> Left,
        try_once: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        current::with(|scheduler| {
            let Some(scheduler) = scheduler else {
                self.check_open()?;
                return try_once();
            };
            scheduler.spend_budget(location)?;
            self.check_open()?;
            let mut visit = Visit {
                scheduler,
                direction,
                key: self.key_of(scheduler),
            };
            let result = try_once();
            match &result {
                Ok(result) if left(result) == Left::Nothing => visit.emptied(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => visit.blocked(),
                _ => {}
            }
            result
        })
    }

    /// The protocol for an OS thread without ethreads: it waits in poll(2).
    fn perform_blocking<R>(
        &self,
        fd: BorrowedFd<'_>,
        operation: Operation,
        mut try_once: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        let mut deadline = None;
        loop {
            self.check_open()?;
            match try_once() {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && operation.limit != Limit::Now => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
            let read = operation.direction == Direction::Read;
            let deadline = *deadline.get_or_insert_with(|| operation.limit.deadline(monotonic_now));
            if !ops::wait_ready(fd, read, Some(deadline).filter(|at| *at != NEVER))? {
                return Err(operation.timed_out());
            }
        }
    }
}

/// Whether descriptors can be made and used on this shard.
///
/// # Errors
///
/// `Unsupported` under a simulation driver.
pub(crate) fn check_world() -> io::Result<()> {
    current::with(|scheduler| match scheduler {
        Some(scheduler) if scheduler.is_virtual => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this shard's driver is a simulation: it has no network and no files",
        )),
        _ => Ok(()),
    })
}

impl Registration {
    /// The key of the source in this shard, if it is registered here.
    #[inline]
    pub(super) fn key_of(&self, scheduler: &Scheduler) -> Option<u64> {
        match self.first_key() {
            0 => None,
            key if scheduler.sources.borrow_mut().get(key).is_some() => Some(key),
            _ => self.key_in(&scheduler.inbox),
        }
    }

    /// Registers a source in this shard, after an operation met "would block" in `direction`.
    fn bind(
        &self,
        scheduler: &Scheduler,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<u64> {
        let mut sources = scheduler.sources.borrow_mut();
        let key = sources.insert()?;
        if let Err(error) = scheduler.driver.borrow_mut().register(fd, key) {
            sources.remove(key);
            return Err(error);
        }
        if let Some(slot) = sources.get(key) {
            slot.set_ready(direction, false);
        }
        self.add(&scheduler.inbox, key, fd);
        // Another OS thread may have closed the source since the caller checked, too early to find
        // this home and make its waiters try again.
        self.check_open()?;
        Ok(key)
    }

    #[inline]
    fn perform_here<R>(
        &self,
        scheduler: &Scheduler,
        fd: BorrowedFd<'_>,
        operation: Operation,
        left: impl Fn(&R) -> Left,
        mut try_once: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        scheduler.spend_budget(operation.location)?;
        let direction = operation.direction;
        let mut visit = Visit {
            scheduler,
            direction,
            key: self.key_of(scheduler),
        };
        let mut deadline = None;
        let (mut had_turn, mut ended) = (false, None);
        loop {
            self.check_open()?;
            // The flag may be late while the shard has not asked the driver, so only an operation
            // that can wait may trust it. An operation that had its turn was woken because of the
            // flag, so it tries.
            if had_turn || visit.may_be_ready() || operation.limit == Limit::Now {
                match try_once() {
                    Ok(result) => {
                        if left(&result) == Left::Nothing {
                            visit.emptied();
                        }
                        return Ok(result);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        visit.blocked();
                        if operation.limit == Limit::Now {
                            return Err(error);
                        }
                        match ended {
                            None => {}
                            Some(Outcome::Elapsed) => return Err(scheduler.elapsed_error()),
                            Some(_) => return Err(operation.timed_out()),
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            // Reads the clock instead of the cached time of this turn: no operation times out
            // early.
            let deadline =
                *deadline.get_or_insert_with(|| operation.limit.deadline(|| scheduler.clock()));
            ended = self.wait_ready(scheduler, fd, operation, &mut visit, deadline, had_turn)?;
            // Also after the deadline: an event that came in time may not have been reported yet.
            had_turn = true;
        }
    }

    /// Parks until the source may be ready; returns which deadline came first, if any.
    fn wait_ready(
        &self,
        scheduler: &Scheduler,
        fd: BorrowedFd<'_>,
        operation: Operation,
        visit: &mut Visit<'_>,
        deadline: u64,
        had_turn: bool,
    ) -> io::Result<Option<Outcome>> {
        let (wait, key) = self.enqueue_waiter(scheduler, fd, operation, visit.key, had_turn)?;
        visit.key = Some(key);
        let token = wait.token();
        match wait.park(deadline) {
            Outcome::Woken => Ok(None),
            outcome @ Outcome::Elapsed => {
                scheduler.remove_waiter(key, operation.direction, token);
                Ok(Some(outcome))
            }
            outcome => {
                leave_queue(scheduler, operation.direction, key, token, outcome)?;
                Ok(Some(outcome))
            }
        }
    }

    /// Begins a wait for the source, and registers the source here if needed. The caller parks.
    #[inline]
    pub(super) fn enqueue_waiter<'a>(
        &self,
        scheduler: &'a Scheduler,
        fd: BorrowedFd<'_>,
        operation: Operation,
        key: Option<u64>,
        had_turn: bool,
    ) -> io::Result<(Wait<'a>, u64)> {
        let wait = scheduler
            .begin_wait(operation.reason(fd))
            .map_err(|Unwinding| operation.would_park())?;
        let key = match key {
            Some(key) => key,
            None => self.bind(scheduler, fd, operation.direction)?,
        };
        scheduler.enqueue(fd, key, operation.direction, wait.token(), had_turn)?;
        Ok((wait, key))
    }

    /// Makes sure that the source is registered here, even before the first try.
    pub(crate) fn watch(
        &self,
        scheduler: &Scheduler,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<u64> {
        self.check_open()?;
        match self.key_of(scheduler) {
            Some(key) => Ok(key),
            // No try was made, but the registration reports what is ready already.
            None => self.bind(scheduler, fd, direction),
        }
    }

    /// Whether a source may be ready, according to poll(2): no earlier try is needed.
    ///
    /// # Errors
    ///
    /// If the source cannot be watched, or is closed.
    pub(crate) fn ask(
        &self,
        scheduler: &Scheduler,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        let key = self.watch(scheduler, fd, direction)?;
        // The flag is not enough: it is late while the shard has not asked the driver, and a caller
        // that only tries, or that checks events in order, relies on the answer.
        let ready = ops::is_ready(fd, direction == Direction::Read).unwrap_or(true);
        if let Some(slot) = scheduler.sources.borrow_mut().get(key) {
            // Every later change is reported.
            slot.set_ready(direction, ready);
        }
        Ok(ready)
    }

    /// Adds a waiter to the wait queue that other events can wake as well.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub(crate) fn enter_line(
        &self,
        scheduler: &Scheduler,
        fd: BorrowedFd<'_>,
        direction: Direction,
        token: Token,
    ) -> io::Result<u64> {
        let key = self.watch(scheduler, fd, direction)?;
        scheduler.enqueue(fd, key, direction, token, false)?;
        Ok(key)
    }
}

/// Removes a waiter whose park has ended from its wait queue; false at the deadline.
#[inline]
pub(super) fn leave_queue(
    scheduler: &Scheduler,
    direction: Direction,
    key: u64,
    token: Token,
    outcome: Outcome,
) -> io::Result<bool> {
    if outcome == Outcome::Woken {
        // The waker has already removed the waiter from the queue.
        return Ok(true);
    }
    scheduler.remove_waiter(key, direction, token);
    match outcome {
        Outcome::Cancelled => scheduler.raise_cancel(),
        Outcome::Elapsed => Err(scheduler.elapsed_error()),
        Outcome::Woken | Outcome::TimedOut => Ok(false),
    }
}

/// The time that one operation spends at a source. However the operation ends, the wake-up that it
/// may have received is passed on, unless it met "would block".
struct Visit<'a> {
    scheduler: &'a Scheduler,
    direction: Direction,
    key: Option<u64>,
}

impl Visit<'_> {
    fn with_slot<R>(&self, f: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        self.scheduler.sources.borrow_mut().get(self.key?).map(f)
    }

    fn may_be_ready(&self) -> bool {
        self.key
            .is_none_or(|key| self.scheduler.is_ready(key, self.direction))
    }

    fn blocked(&self) {
        self.with_slot(|slot| slot.set_ready(self.direction, false));
    }

    /// Treats a short result as "would block" if the driver would have reported a hangup.
    fn emptied(&mut self) {
        let emptied = self.scheduler.reports_hangup
            && self.with_slot(|slot| {
                if !slot.hangup {
                    slot.set_ready(self.direction, false);
                }
                !slot.hangup
            }) == Some(true);
        if emptied {
            // No wake-up is left to be passed on.
            self.key = None;
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.scheduler.pass_on(key, self.direction);
        }
    }
}
