//! Descriptors that ethreads wait on: registration, readiness, and the try-park-retry protocol.
//!
//! A source is a descriptor and its [`Registration`]: one atomic word that says in which slot of
//! which shard the readiness is kept. Slots are touched by their shard's OS thread only. A shard
//! registers at its first wait; most sources meet one shard in their life, others are listed
//! aside.
//!
//! In a slot each direction has a flag, `ready`, and a FIFO of waiters:
//!
//! * A report sets the flag and wakes the first waiter.
//! * Meeting "would block" clears it; so does a short read or write, where that proves the same.
//! * Whoever leaves while the flag is set wakes the next waiter: an edge is one wake-up, and it is
//!   passed on until somebody has met "would block".

mod error;
mod registration;
mod rest;
mod slots;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::Location;
use std::time::Duration;

use super::current;
use super::driver::{Readiness, Report, ops};
use super::park::{Unwinding, Wait, deadline_after};
use super::scheduler::Scheduler;
use super::wait::{NEVER, Outcome, Reason, Target, Token, WaitKind, WaitList};
pub use error::WouldPark;
use error::{closed, timed_out, would_park};
pub(crate) use registration::Registration;
use slots::Slot;
pub(super) use slots::Sources;

/// A direction of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What a success says about the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing.
    Unknown,
    /// It would block: a stream gave or took less than it was asked for.
    Nothing,
}

/// How long an operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// As long as it takes.
    Never,
    /// So long, counted from when it has to wait: an operation that need not, reads no clock.
    After(Duration),
    /// Until this time on the driver's clock; `u64::MAX` never comes.
    At(u64),
    /// Not at all: it fails with `WouldBlock`.
    Now,
}

impl Limit {
    pub(crate) fn deadline(self, now: impl FnOnce() -> u64) -> u64 {
        match self {
            Self::Never => NEVER,
            Self::After(timeout) => deadline_after(now(), timeout),
            Self::At(deadline) => deadline,
            Self::Now => 0,
        }
    }
}

/// One operation as the protocol sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) direction: Direction,
    pub(crate) kind: WaitKind,
    pub(crate) limit: Limit,
    pub(crate) location: &'static Location<'static>,
}

impl Reason {
    fn of(fd: BorrowedFd<'_>, operation: Operation) -> Self {
        Self {
            kind: operation.kind,
            detail: fd.as_raw_fd() as u64,
            location: operation.location,
        }
    }
}

/// A descriptor that ethreads can wait on: the sockets of [`net`](crate::net), the ports of
/// [`io`](crate::io). Sealed.
pub trait Source: AsFd {
    #[doc(hidden)]
    fn registration(&self) -> &Registration;
}

impl Registration {
    /// Runs `try_once` until it does not say `WouldBlock`: tries, parks, and tries again.
    ///
    /// `left` says what a success proves. It is asked only about descriptors for which the driver
    /// reports hangups in time; see the contract of the driver.
    ///
    /// # Errors
    ///
    /// Whatever `try_once` returns, `WouldBlock` only with [`Limit::Now`]; `TimedOut`;
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
            Some(scheduler) => scheduler.perform(self, fd, operation, left, try_once),
            None => self.perform_blocking(fd, operation, try_once),
        })
    }

    /// Runs `try_once` a single time, as [`perform`](Self::perform) does with [`Limit::Now`]: it
    /// may say `WouldBlock`, or `Interrupted`.
    #[inline]
    pub(crate) fn try_now<R>(
        &self,
        direction: Direction,
        location: &'static Location<'static>,
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
                key: scheduler.key_of(self),
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
            if self.is_closed() {
                return Err(closed());
            }
            match try_once() {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && operation.limit != Limit::Now => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
            let read = operation.direction == Direction::Read;
            let deadline = *deadline
                .get_or_insert_with(|| operation.limit.deadline(super::driver::monotonic_now));
            if !ops::wait_ready(fd, read, Some(deadline).filter(|at| *at != NEVER))? {
                return Err(timed_out(operation));
            }
        }
    }
}

/// Whether descriptors can be made and used here.
///
/// # Errors
///
/// `Unsupported` under a driver without a world outside.
pub(crate) fn check_world() -> io::Result<()> {
    current::with(|scheduler| match scheduler {
        Some(scheduler) if scheduler.is_virtual => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this shard's driver is a simulation: it has no network and no files",
        )),
        _ => Ok(()),
    })
}

impl Scheduler {
    /// The key of a source in this shard, if it is registered here.
    #[inline]
    fn key_of(&self, registration: &Registration) -> Option<u64> {
        match registration.first_key() {
            0 => None,
            key if self.sources.borrow_mut().get(key).is_some() => Some(key),
            _ => registration.key_in(&self.inbox),
        }
    }

    /// Registers a source in this shard, after an operation met "would block" in `direction`.
    fn bind(
        &self,
        registration: &Registration,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<u64> {
        let mut sources = self.sources.borrow_mut();
        let key = sources.insert()?;
        if let Err(error) = self.driver.borrow_mut().register(fd, key) {
            sources.remove(key);
            return Err(error);
        }
        if let Some(slot) = sources.get(key) {
            slot.set_ready(direction, false);
        }
        registration.add(&self.inbox, key, fd);
        // Another OS thread may have closed it since the caller looked, too early to find this
        // home and let its waiters look again.
        if registration.is_closed() {
            return Err(closed());
        }
        Ok(key)
    }

    #[inline]
    fn perform<R>(
        &self,
        registration: &Registration,
        fd: BorrowedFd<'_>,
        operation: Operation,
        left: impl Fn(&R) -> Left,
        mut try_once: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        self.spend_budget(operation.location)?;
        let direction = operation.direction;
        let mut visit = Visit {
            scheduler: self,
            direction,
            key: self.key_of(registration),
        };
        let mut deadline = None;
        let (mut had_turn, mut ended) = (false, None);
        loop {
            if registration.is_closed() {
                return Err(closed());
            }
            // The flag may be late while the shard has not asked the driver, and only those who can
            // wait for it may trust it. Whoever had its turn was woken because of the flag.
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
                            Some(Outcome::Elapsed) => return Err(self.elapsed_error()),
                            Some(_) => return Err(timed_out(operation)),
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            // The clock, not the cached time of this turn: no operation times out early.
            let deadline =
                *deadline.get_or_insert_with(|| operation.limit.deadline(|| self.clock()));
            ended = self.wait_ready(registration, fd, operation, &mut visit, deadline, had_turn)?;
            // Even if it is late: what has come in time may not have been reported yet.
            had_turn = true;
        }
    }

    /// Parks until the source may be ready; says which deadline came first.
    fn wait_ready(
        &self,
        registration: &Registration,
        fd: BorrowedFd<'_>,
        operation: Operation,
        visit: &mut Visit<'_>,
        deadline: u64,
        had_turn: bool,
    ) -> io::Result<Option<Outcome>> {
        let (wait, key) = self.line_up(registration, fd, operation, visit.key, had_turn)?;
        visit.key = Some(key);
        let token = wait.token();
        match wait.park(deadline) {
            Outcome::Woken => Ok(None),
            outcome @ Outcome::Elapsed => {
                if let Some(slot) = self.sources.borrow_mut().get(key) {
                    slot.waiters(operation.direction).remove(token);
                }
                Ok(Some(outcome))
            }
            outcome => {
                self.leave_line(operation.direction, key, token, outcome)?;
                Ok(Some(outcome))
            }
        }
    }

    /// Begins a wait for the source, which is registered here if it was not. The caller parks.
    #[inline]
    fn line_up(
        &self,
        registration: &Registration,
        fd: BorrowedFd<'_>,
        operation: Operation,
        key: Option<u64>,
        had_turn: bool,
    ) -> io::Result<(Wait<'_>, u64)> {
        let wait = self
            .begin_wait(Reason::of(fd, operation))
            .map_err(|Unwinding| would_park(operation))?;
        let key = match key {
            Some(key) => key,
            None => self.bind(registration, fd, operation.direction)?,
        };
        self.enqueue(fd, key, operation.direction, wait.token(), had_turn)?;
        Ok((wait, key))
    }

    /// Takes a waiter whose park has ended out of its line; false at the deadline.
    #[inline]
    fn leave_line(
        &self,
        direction: Direction,
        key: u64,
        token: Token,
        outcome: Outcome,
    ) -> io::Result<bool> {
        if outcome == Outcome::Woken {
            // Whoever woke it has taken it out of the line.
            return Ok(true);
        }
        if let Some(slot) = self.sources.borrow_mut().get(key) {
            slot.waiters(direction).remove(token);
        }
        match outcome {
            Outcome::Cancelled => self.raise_cancel(),
            Outcome::Elapsed => Err(self.elapsed_error()),
            Outcome::Woken | Outcome::TimedOut => Ok(false),
        }
    }

    /// Whether a try may succeed.
    #[inline]
    fn is_ready(&self, key: u64, direction: Direction) -> bool {
        let mut sources = self.sources.borrow_mut();
        // The source is gone otherwise, and so is everything to wait for.
        sources.get(key).is_none_or(|slot| slot.is_ready(direction))
    }

    fn enqueue(
        &self,
        fd: BorrowedFd<'_>,
        key: u64,
        direction: Direction,
        token: Token,
        had_turn: bool,
    ) -> io::Result<()> {
        let mut sources = self.sources.borrow_mut();
        let Some(slot) = sources.get(key) else {
            return Err(closed());
        };
        let waiters = slot.waiters(direction);
        // Starters that timed out or were cancelled do not take their tokens out.
        waiters.prune(|target| match target {
            Target::Park(token) => self.is_parked(*token),
            Target::Remote(_) => true,
        });
        if had_turn {
            waiters.push_front(token);
        } else {
            waiters.push_back(Target::Park(token));
        }
        if !self.rearms {
            return Ok(());
        }
        let (read, write) = (
            !slot.waiters(Direction::Read).is_empty(),
            !slot.waiters(Direction::Write).is_empty(),
        );
        self.driver.borrow_mut().rearm(fd, key, read, write)
    }

    /// Makes sure that a source is registered here, for a starter: see `bridge::on_ready`.
    pub(crate) fn watch_without_stack(
        &self,
        registration: &Registration,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<u64> {
        if registration.is_closed() {
            return Err(closed());
        }
        match self.key_of(registration) {
            Some(key) => Ok(key),
            // Nobody has tried, but what is there already is reported by the registration.
            None => self.bind(registration, fd, direction),
        }
    }

    /// Puts a starter in line.
    pub(crate) fn wait_without_stack(
        &self,
        fd: BorrowedFd<'_>,
        key: u64,
        direction: Direction,
        token: Token,
    ) -> io::Result<()> {
        self.enqueue(fd, key, direction, token, false)?;
        if let Some(slot) = self.sources.borrow_mut().get(key) {
            // Perhaps just nobody has met "would block" yet. poll(2) knows, and what changes after
            // it is reported.
            let ready = slot.is_ready(direction)
                && ops::is_ready(fd, direction == Direction::Read).unwrap_or(true);
            slot.set_ready(direction, ready);
        }
        // If it is ready already, nobody else would wake it.
        self.pass_on(key, direction);
        Ok(())
    }

    /// Hands one of the driver's reports to the waiters.
    pub(super) fn ready(&self, report: Report) {
        let readiness = report.readiness;
        let mut sources = self.sources.borrow_mut();
        let Some(slot) = sources.get(report.key) else {
            return;
        };
        slot.hangup |= readiness.contains(Readiness::HANGUP);
        let mut first = |reported: Readiness, direction| {
            if !readiness.contains(reported) {
                return None;
            }
            slot.set_ready(direction, true);
            slot.waiters(direction).pop_front()
        };
        let reader = first(Readiness::READ, Direction::Read);
        let writer = first(Readiness::WRITE, Direction::Write);
        drop(sources);
        if let Some(target) = reader
            && !self.wake_target(&target)
        {
            self.hand_out(report.key, Direction::Read);
        }
        if let Some(target) = writer
            && !self.wake_target(&target)
        {
            self.hand_out(report.key, Direction::Write);
        }
    }

    /// Wakes the first waiter of a direction, if that may be ready.
    #[inline]
    pub(crate) fn pass_on(&self, key: u64, direction: Direction) {
        let somebody_may =
            self.sources.borrow_mut().get(key).is_some_and(|slot| {
                slot.is_ready(direction) && !slot.waiters(direction).is_empty()
            });
        if somebody_may {
            self.hand_out(key, direction);
        }
    }

    /// Wakes the first waiter of a direction that still waits.
    fn hand_out(&self, key: u64, direction: Direction) {
        loop {
            let target = match self.sources.borrow_mut().get(key) {
                Some(slot) => slot.waiters(direction).pop_front(),
                None => return,
            };
            match target {
                Some(target) if !self.wake_target(&target) => {}
                _ => return,
            }
        }
    }

    /// Lets all waiters of a source look again.
    pub(super) fn source_nudged(&self, key: u64) {
        let waiters = {
            let mut sources = self.sources.borrow_mut();
            let Some(slot) = sources.get(key) else { return };
            // Nothing is known to block any more: everybody tries.
            slot.set_ready(Direction::Read, true);
            slot.set_ready(Direction::Write, true);
            slot.take_waiters()
        };
        self.wake_all(waiters);
    }

    /// Frees the slot of a source that was dropped.
    pub(super) fn source_released(&self, key: u64) {
        let slot = self.sources.borrow_mut().remove(key);
        if let Some(mut slot) = slot {
            self.wake_all(slot.take_waiters());
        }
    }

    fn wake_all(&self, lists: [WaitList; 2]) {
        for mut waiters in lists {
            while let Some(target) = waiters.pop_front() {
                self.wake_target(&target);
            }
        }
    }
}

/// One operation's stay at a source. However it ends, the wake-up that it may have had is passed
/// on, unless it met "would block".
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

    /// Counts a short result as "would block" if the driver would have told of a hangup.
    fn emptied(&mut self) {
        let emptied = self.scheduler.reports_hangup
            && self.with_slot(|slot| {
                if !slot.hangup {
                    slot.set_ready(self.direction, false);
                }
                !slot.hangup
            }) == Some(true);
        if emptied {
            // Nothing is left to be passed on.
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
