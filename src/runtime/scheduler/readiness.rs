//! What the driver reports about sources, and which waiters that wakes.
//!
//! In a slot each direction has a flag, `ready`, and a FIFO wait queue. A report sets the flag and
//! wakes the first waiter. A waiter that leaves while the flag is set wakes the next waiter: an
//! edge is one wake-up, and the wake-up is passed on until a try has met "would block".
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use super::event_loop::Scheduler;
use crate::runtime::base::error::closed;
use crate::runtime::base::wait::{Token, WaitList};
use crate::runtime::driver::{Report, ops};
#[cfg(feature = "http")]
use crate::runtime::state::scopes::ScopePlace;
use crate::runtime::state::slots::Direction;

impl Scheduler {
    /// Whether a try may succeed.
    #[inline]
    pub(in crate::runtime) fn is_ready(&self, key: u64, direction: Direction) -> bool {
        let mut sources = self.sources.borrow_mut();
        // If the source is gone, there is nothing to wait for: a try fails at once.
        sources.get(key).is_none_or(|slot| slot.is_ready(direction))
    }

    /// Adds a waiter to the wait queue of a direction: at its end, or at its front if it had its
    /// turn.
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
        // Starters that timed out or were cancelled do not remove their tokens.
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

    /// Adds a starter to the wait queue.
    pub(crate) fn wait_without_stack(
        &self,
        fd: BorrowedFd<'_>,
        key: u64,
        direction: Direction,
        token: Token,
    ) -> io::Result<()> {
        self.enqueue(fd, key, direction, token, false)?;
        if let Some(slot) = self.sources.borrow_mut().get(key) {
            // The flag may be set only because no try has met "would block" yet. poll(2) knows, and
            // every later change is reported.
            let ready = slot.is_ready(direction)
                && ops::is_ready(fd, direction == Direction::Read).unwrap_or(true);
            slot.set_ready(direction, ready);
        }
        // If the source is ready already, nothing else would wake the starter.
        self.pass_on(key, direction);
        Ok(())
    }

    /// Hands a report of the driver to the waiters.
    pub(in crate::runtime) fn ready(&self, report: Report) {
        let mut sources = self.sources.borrow_mut();
        let Some(slot) = sources.get(report.key) else {
            return;
        };
        slot.hangup |= report.hangup;
        let mut first = |is_reported: bool, direction| {
            if !is_reported {
                return None;
            }
            slot.set_ready(direction, true);
            slot.waiters(direction).pop_front()
        };
        let reader = first(report.read, Direction::Read);
        let writer = first(report.write, Direction::Write);
        let has_left = report.gone && slot.is_watched();
        drop(sources);
        if has_left {
            self.peer_left(report.key);
        }
        for (token, direction) in [(reader, Direction::Read), (writer, Direction::Write)] {
            if let Some(token) = token
                && !self.wake(token)
            {
                self.hand_out(report.key, direction);
            }
        }
    }

    /// Notes that a scope ends with the peer of a source. As long as it does, the driver is asked,
    /// and the ethread has something to wait for. Returns whether a hangup was reported before.
    #[cfg(feature = "http")]
    pub(in crate::runtime) fn watch_peer(&self, key: u64, scope: ScopePlace) -> bool {
        self.core.borrow_mut().io_waits += 1;
        let mut sources = self.sources.borrow_mut();
        sources.watch(key, scope);
        sources.get(key).is_some_and(|slot| slot.hangup)
    }

    /// Forgets a scope that has ended.
    #[cfg(feature = "http")]
    pub(in crate::runtime) fn unwatch_peer(&self, key: u64, scope: ScopePlace) {
        self.core.borrow_mut().io_waits -= 1;
        self.sources.borrow_mut().unwatch(key, scope);
    }

    /// Cancels the scopes that end with the peer of a source.
    #[cold]
    fn peer_left(&self, key: u64) {
        let scopes = self.sources.borrow().watches(key);
        for scope in scopes {
            self.cancel_scope_at(scope);
        }
    }

    /// Wakes the first waiter of a direction, if the direction may be ready.
    #[inline]
    pub(crate) fn pass_on(&self, key: u64, direction: Direction) {
        let mut sources = self.sources.borrow_mut();
        let may_wake = sources
            .get(key)
            .is_some_and(|slot| slot.is_ready(direction) && !slot.waiters(direction).is_empty());
        drop(sources);
        if may_wake {
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

    /// Makes all waiters of a source try again.
    pub(in crate::runtime) fn source_nudged(&self, key: u64) {
        let waiters = {
            let mut sources = self.sources.borrow_mut();
            let Some(slot) = sources.get(key) else { return };
            // Nothing is known to block any more: all waiters try.
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

    /// Removes a starter from the wait queue, and passes on the wake-up that it may have received:
    /// it did not try.
    pub(crate) fn quit_line(&self, key: u64, direction: Direction, token: Token) {
        self.remove_waiter(key, direction, token);
        self.pass_on(key, direction);
    }

    /// Removes a waiter from the wait queue.
    pub(in crate::runtime) fn remove_waiter(&self, key: u64, direction: Direction, token: Token) {
        if let Some(slot) = self.sources.borrow_mut().get(key) {
            slot.waiters(direction).remove(token);
        }
    }
}
