//! What the driver reports of sources, and who is woken by it.
//!
//! In a slot each direction has a flag, `ready`, and a FIFO of waiters. A report sets the flag and
//! wakes the first waiter. A waiter that leaves while the flag is set wakes the next one: an edge
//! is one wake-up, and it is passed on until some try has met "would block".
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use super::event_loop::Scheduler;
use crate::runtime::base::error::closed;
use crate::runtime::base::wait::{Token, WaitList};
use crate::runtime::driver::{Readiness, Report, ops};
use crate::runtime::state::slots::Direction;

impl Scheduler {
    /// Whether a try may succeed.
    #[inline]
    pub(in crate::runtime) fn is_ready(&self, key: u64, direction: Direction) -> bool {
        let mut sources = self.sources.borrow_mut();
        // The source is gone otherwise, and so is everything to wait for.
        sources.get(key).is_none_or(|slot| slot.is_ready(direction))
    }

    /// Puts a waiter in the queue of a direction: at its end, or at its front if it had its turn.
    pub(in crate::runtime) fn enqueue(
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
        waiters.prune(|token| self.is_parked(token));
        if had_turn {
            waiters.push_front(token);
        } else {
            waiters.push_back(token);
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
    pub(in crate::runtime) fn ready(&self, report: Report) {
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
        if let Some(token) = reader
            && !self.wake(token)
        {
            self.hand_out(report.key, Direction::Read);
        }
        if let Some(token) = writer
            && !self.wake(token)
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
            let token = match self.sources.borrow_mut().get(key) {
                Some(slot) => slot.waiters(direction).pop_front(),
                None => return,
            };
            match token {
                Some(token) if !self.wake(token) => {}
                _ => return,
            }
        }
    }

    /// Lets all waiters of a source look again.
    pub(in crate::runtime) fn source_nudged(&self, key: u64) {
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
    pub(in crate::runtime) fn source_released(&self, key: u64) {
        let slot = self.sources.borrow_mut().remove(key);
        if let Some(mut slot) = slot {
            self.wake_all(slot.take_waiters());
        }
    }

    fn wake_all(&self, lists: [WaitList; 2]) {
        for mut waiters in lists {
            while let Some(token) = waiters.pop_front() {
                self.wake(token);
            }
        }
    }

    /// Takes such a waiter out of the line, and passes on the wake-up that it may have had: it did
    /// not try.
    pub(crate) fn quit_line(&self, key: u64, direction: Direction, token: Token) {
        if let Some(slot) = self.sources.borrow_mut().get(key) {
            slot.waiters(direction).remove(token);
        }
        self.pass_on(key, direction);
    }
}
