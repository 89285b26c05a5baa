//! The line in front of something that is taken: the one way in which this module waits.
//!
//! Whoever gives something up hands it to the first in line, and wakes it: what was handed over is
//! that waiter's from then on, whatever else happens, since a wait that was woken is not cancelled
//! any more. So nobody is overtaken, and nothing is lost between a release and a cancel. Whoever
//! leaves the line in another way, by a cancel, a deadline or a panic, takes itself out of it.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;

use crate::runtime::current;
use crate::runtime::park::Unwinding;
use crate::runtime::wait::{NEVER, Outcome, Reason, Target, Token, WaitKind, WaitList};

/// Waiters in order of arrival. Of one shard: it is not `Send`.
#[derive(Default)]
pub(super) struct Queue {
    waiters: RefCell<WaitList>,
    /// The number of the scheduler that they are of. One that has ended may have left waiters
    /// behind, who never run again and mean nothing to the next one on this OS thread.
    home: Cell<u64>,
}

/// What the wait is for, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) kind: WaitKind,
    pub(super) detail: u64,
    /// In nanoseconds on the shard's clock; [`NEVER`] for as long as it takes.
    pub(super) deadline: u64,
    pub(super) location: &'static Location<'static>,
}

impl Wait {
    pub(super) fn new(kind: WaitKind, location: &'static Location<'static>) -> Self {
        Self {
            kind,
            detail: 0,
            deadline: NEVER,
            location,
        }
    }
}

/// Takes a waiter out of the line that has left it otherwise than by being handed something.
struct Leave<'a> {
    queue: &'a Queue,
    token: Token,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.queue.waiters.borrow_mut().remove(self.token);
    }
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            waiters: RefCell::new(WaitList::new()),
            home: Cell::new(0),
        }
    }

    /// Waits until somebody hands over; false at the deadline. Unwinds if it is cancelled, or at
    /// the deadline of a scope.
    ///
    /// # Errors
    ///
    /// If the caller unwinds, and so cannot wait.
    ///
    /// # Panics
    ///
    /// On the scheduler's side; on the OS thread's own side if nobody can ever hand over.
    pub(super) fn wait(&self, wait: Wait) -> Result<bool, Unwinding> {
        let scheduler = match current::get_or_install() {
            Ok(scheduler) => scheduler,
            Err(error) => panic!("there is no ethread to wait, and no scheduler: {error}"),
        };
        let reason = Reason {
            kind: wait.kind,
            detail: wait.detail,
            location: wait.location,
        };
        let parking = scheduler.begin_wait(reason)?;
        let token = parking.token();
        if self.home.replace(scheduler.id()) != scheduler.id() {
            self.waiters.take();
        }
        self.waiters.borrow_mut().push_back(Target::Park(token));
        let leave = Leave { queue: self, token };
        match parking.park(wait.deadline) {
            Outcome::Woken => {
                // Whoever woke it has taken it out.
                std::mem::forget(leave);
                Ok(true)
            }
            Outcome::TimedOut => Ok(false),
            Outcome::Elapsed => scheduler.raise_elapsed(),
            Outcome::Cancelled => scheduler.raise_cancel(),
        }
    }

    /// Hands over to the first in line; false if nobody waits.
    pub(super) fn hand_over(&self) -> bool {
        loop {
            match self.wake_first() {
                Some(false) => {}
                woken => return woken.is_some(),
            }
        }
    }

    /// Wakes the first in line, and takes it out; false if its wait was over already, as it has met
    /// a deadline or a cancel and did not run since. `None` if nobody is in line.
    pub(super) fn wake_first(&self) -> Option<bool> {
        current::with(|scheduler| {
            let scheduler = scheduler.filter(|s| s.id() == self.home.get())?;
            let first = self.waiters.borrow_mut().pop_front()?;
            Some(scheduler.wake_target(&first))
        })
    }

    /// Hands over to all who are in line now; how many that were.
    pub(super) fn hand_over_to_all(&self) -> usize {
        // Those who come back at once are behind them.
        let mut waiters = self.waiters.take();
        let home = self.home.get();
        current::with(|scheduler| {
            let Some(scheduler) = scheduler.filter(|s| s.id() == home) else {
                return 0;
            };
            let woken = std::iter::from_fn(|| waiters.pop_front());
            woken.filter(|target| scheduler.wake_target(target)).count()
        })
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}
