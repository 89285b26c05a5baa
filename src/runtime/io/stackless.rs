//! Waiting without trying, with or without a stack.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use super::operation::Operation;
use super::registration::Registration;
use super::source::leave_line;
use crate::runtime::base::wait::Token;
use crate::runtime::driver::ops;
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
    pub(crate) fn wait(&self, fd: BorrowedFd<'_>, operation: Operation) -> io::Result<bool> {
        current::with(|scheduler| {
            let scheduler = scheduler.expect("only an ethread waits without trying");
            let key = self.key_of(scheduler);
            if key.is_some_and(|key| scheduler.is_ready(key, operation.direction)) {
                return Ok(true);
            }
            let deadline = operation.limit.deadline(|| scheduler.clock());
            let (wait, key) = self.line_up(scheduler, fd, operation, key, false)?;
            let token = wait.token();
            leave_line(
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
    pub(crate) fn rest(&self, fd: BorrowedFd<'_>, operation: Operation) -> io::Result<bool> {
        let call = current::Call;
        self.rest_here(current::for_call(&call)?, fd, operation)
    }

    /// See [`rest`](Self::rest).
    #[inline(always)]
    fn rest_here(
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
        let (wait, key) = self.line_up(scheduler, fd, operation, key, false)?;
        let token = wait.token();
        match wait.rest(deadline) {
            None => Ok(true),
            Some(outcome) => {
                leave_line(scheduler, operation.direction, key, token, outcome)?;
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::panic::Location;
    use std::rc::Rc;

    use super::super::operation::{Left, Limit};
    use super::*;
    use crate::runtime::base::wait::{NEVER, Outcome, WaitKind};
    use crate::runtime::task::join::JoinHandle;
    use crate::runtime::task::work::Work;
    use crate::thread;

    /// Rests until it was woken three times or its deadline has passed.
    struct Rester {
        socket: UnixStream,
        registration: Registration,
        deadline: u64,
        seen: Rc<RefCell<Vec<Outcome>>>,
        /// Shows that the work was dropped.
        _end: Rc<()>,
    }

    impl Work<usize> for Rester {
        fn go_on(&mut self, outcome: Outcome) -> Option<usize> {
            let mut seen = self.seen.borrow_mut();
            seen.push(outcome);
            let operation = Operation {
                direction: Direction::Read,
                kind: WaitKind::Read,
                limit: Limit::At(self.deadline),
                location: Location::caller(),
            };
            if seen.len() > 3 || outcome == Outcome::TimedOut {
                return Some(seen.len());
            }
            // Nothing has read yet, so the test marks the source as blocking, as after a try.
            let _ = self.registration.try_now(
                Direction::Read,
                Location::caller(),
                |()| Left::Unknown,
                || Err(io::ErrorKind::WouldBlock.into()),
            );
            let rests = self.registration.rest(self.socket.as_fd(), operation);
            assert!(rests.expect("it can be watched"));
            None
        }
    }

    type Seen = Rc<RefCell<Vec<Outcome>>>;

    fn rester(deadline: u64) -> (UnixStream, JoinHandle<usize>, Seen, Rc<()>) {
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        let (seen, end) = (Seen::default(), Rc::new(()));
        let work = Rester {
            socket: theirs,
            registration: Registration::default(),
            deadline,
            seen: seen.clone(),
            _end: end.clone(),
        };
        let handle = thread::Builder::new().spawn_work(work).expect("a stack");
        thread::yield_now();
        assert_eq!(*seen.borrow(), [Outcome::Woken]);
        (ours, handle, seen, end)
    }

    fn live_stacks() -> usize {
        let scheduler = current::get().expect("spawning has made it");
        scheduler.stats().stacks.live
    }

    #[test]
    fn whoever_rests_holds_no_stack_and_is_the_same_ethread() {
        let (mut peer, handle, seen, end) = rester(NEVER);
        let id = handle.thread().id();
        for round in 1..=3 {
            assert_eq!(live_stacks(), 0);
            assert!(!handle.is_finished());
            peer.write_all(b"x").expect("there is room");
            while seen.borrow().len() == round {
                thread::yield_now();
            }
            assert_eq!(handle.thread().id(), id);
        }
        assert_eq!(handle.join().ok(), Some(4));
        assert_eq!(Rc::strong_count(&end), 1);
    }

    #[test]
    fn a_deadline_ends_a_rest() {
        let (_peer, handle, seen, end) = rester(1);
        assert_eq!(handle.join().ok(), Some(2));
        assert_eq!(*seen.borrow(), [Outcome::Woken, Outcome::TimedOut]);
        assert_eq!(Rc::strong_count(&end), 1);
    }

    #[test]
    fn a_cancel_ends_a_rest_and_drops_the_work() {
        let (_peer, handle, seen, end) = rester(NEVER);
        handle.cancel();
        let payload = handle.join().expect_err("it was cancelled");
        assert!(payload.is::<crate::thread::Cancelled>());
        assert_eq!(*seen.borrow(), [Outcome::Woken]);
        assert_eq!(Rc::strong_count(&end), 1);
        assert_eq!(live_stacks(), 0);
    }

    #[test]
    fn a_cancel_after_the_wake_up_is_not_lost() {
        let (mut peer, handle, seen, end) = rester(NEVER);
        peer.write_all(b"x").expect("there is room");
        let scheduler = current::get().expect("spawning has made it");
        while scheduler.core.borrow().ready.is_empty() {
            scheduler.drive_once().expect("it waits for input");
            assert_eq!(seen.borrow().len(), 1, "it has not run yet");
        }
        handle.cancel();
        assert!(handle.join().is_err());
        assert_eq!(seen.borrow().len(), 1);
        assert_eq!(Rc::strong_count(&end), 1);
    }

    #[test]
    fn a_hangup_wakes_whoever_rests() {
        let (ours, handle, seen, _end) = rester(NEVER);
        drop(ours);
        while seen.borrow().len() == 1 {
            thread::yield_now();
        }
        handle.cancel();
        assert!(handle.join().is_err());
    }
}
