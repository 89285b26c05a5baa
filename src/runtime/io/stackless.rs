//! Waiting without trying, with or without a stack.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use super::operation::Operation;
use super::registration::Registration;
use super::source::leave_queue;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;

impl Registration {
    /// Waits until the source may be ready, without trying; false at the deadline. The caller tries
    /// afterwards.
    ///
    /// # Errors
    ///
    /// As [`perform`](Self::perform).
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

#[cfg(test)]
mod tests;
