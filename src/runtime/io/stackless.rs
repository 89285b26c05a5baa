//! Waiting without trying, with or without a stack.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

#[cfg(feature = "http")]
use super::operation::Operation;
use super::registration::Registration;
#[cfg(feature = "http")]
use super::source::leave_queue;
use crate::runtime::base::wait::Token;
use crate::runtime::driver::ops;
#[cfg(feature = "http")]
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::state::slots::Direction;

impl Registration {
    /// Waits until the source may be ready, without trying; false at the deadline. The caller tries
    /// afterwards.
    ///
    /// # Errors
    ///
    /// As [`perform`](Self::perform).
    #[cfg(feature = "http")]
    pub(crate) fn wait(&self, fd: BorrowedFd<'_>, operation: Operation) -> io::Result<bool> {
        current::with(|scheduler| {
            let scheduler = scheduler.expect("only an ethread waits without trying");
            let key = self.key_of(scheduler);
            if key.is_some_and(|key| scheduler.is_ready(key, operation.direction)) {
                return Ok(true);
            }
            let deadline = operation.limit.deadline(|| scheduler.clock());
            let (wait, key) = self.enqueue_waiter(scheduler, fd, operation, key, false)?;
            let token = wait.token();
            leave_queue(
                scheduler,
                operation.direction,
                key,
                token,
                wait.park(deadline),
            )
        })
    }

    /// Parks the running ethread until the source may be ready, as its last act before its root
    /// returns `Ending::Resting`; false if the source may be ready already.
    ///
    /// If the deadline or a cancel ends the wait, the token stays in the wait queue, like a
    /// starter's, until the source is dropped or later waiters have come.
    ///
    /// # Errors
    ///
    /// As [`perform`](Self::perform).
    #[inline(always)]
    #[cfg(feature = "http")]
    pub(crate) fn park_stackless(
        &self,
        fd: BorrowedFd<'_>,
        operation: Operation,
    ) -> io::Result<bool> {
        let call = current::Call;
        self.park_stackless_here(current::for_call(&call)?, fd, operation)
    }

    /// See [`park_stackless`](Self::park_stackless).
    #[inline(always)]
    #[cfg(feature = "http")]
    fn park_stackless_here(
        &self,
        scheduler: &Scheduler,
        fd: BorrowedFd<'_>,
        operation: Operation,
    ) -> io::Result<bool> {
        let deadline = operation.limit.deadline(|| scheduler.clock());
        let reason = operation.reason(fd);
        let mut sources = scheduler.sources.borrow_mut();
        if let Some(slot) = sources.get(self.first_key()) {
            if slot.is_ready(operation.direction) {
                return Ok(false);
            }
            let waiters = slot.waiters(operation.direction);
            if waiters.is_empty() && !scheduler.rearms {
                // The usual case: nothing in between could fail or wake the ethread.
                return match scheduler.park_now(reason, deadline) {
                    Some(token) => {
                        waiters.push_front(token);
                        Ok(true)
                    }
                    None => {
                        drop(sources);
                        scheduler.raise_cancel()
                    }
                };
            }
        }
        drop(sources);
        let key = self.key_of(scheduler);
        if key.is_some_and(|key| scheduler.is_ready(key, operation.direction)) {
            return Ok(false);
        }
        let (wait, key) = self.enqueue_waiter(scheduler, fd, operation, key, false)?;
        let token = wait.token();
        match wait.park_stackless(deadline) {
            None => Ok(true),
            Some(outcome) => {
                leave_queue(scheduler, operation.direction, key, token, outcome)?;
                Ok(false)
            }
        }
    }
}

/// A wait for several events, of which a source is one.
impl Registration {
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

#[cfg(all(test, feature = "http"))]
mod tests;
