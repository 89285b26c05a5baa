//! The line in front of something that is shared between OS threads.
//!
//! As in a shard's own lines, a waiter brings something along, and whoever serves it hands over by
//! changing that. Who has been served is decided under the lock of what is waited for: a waiter
//! that goes, for whatever reason, looks there first, and what it was handed is its own. So nothing
//! is lost between a release on one OS thread and a cancel or a timeout on another one.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::PoisonError;
use std::time::Duration;

use crate::runtime::base::primitives::{Mutex, MutexGuard, Thread, thread};
use crate::runtime::base::wait::{NEVER, Outcome, Reason, WaitKind, deadline_after};
use crate::runtime::driver::monotonic_now;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::{RemoteWaker, Scheduler};

/// Waiters in order of arrival, and what they have brought along.
#[derive(Debug)]
pub(super) struct Line<D> {
    /// In the order of their numbers.
    waiters: VecDeque<Waiter<D>>,
    /// How many of them, from the front, are served, and have not come for it yet. Those whom
    /// their shard has left behind have had their turn too, and stay: what they have brought along
    /// is the user's.
    served: usize,
    /// The number of the last one.
    last: u64,
}

#[derive(Debug)]
struct Waiter<D> {
    number: u64,
    waker: Option<Waker>,
    data: D,
}

#[derive(Debug)]
enum Waker {
    Ethread(RemoteWaker),
    Thread(Thread),
}

impl Waker {
    fn wake(self) {
        match self {
            Self::Ethread(waker) => waker.wake(),
            Self::Thread(thread) => thread.unpark(),
        }
    }

    /// Whether nobody comes any more for what is handed over.
    fn is_gone(&self) -> bool {
        match self {
            Self::Ethread(waker) => waker.is_gone(),
            Self::Thread(_) => false,
        }
    }
}

/// Those who were served under a lock, and are woken after it.
#[derive(Debug, Default)]
pub(super) struct Served(Vec<Waker>);

impl<D> Default for Line<D> {
    fn default() -> Self {
        Self {
            waiters: VecDeque::new(),
            served: 0,
            last: 0,
        }
    }
}

impl<D> Line<D> {
    fn enter(&mut self, waker: Waker, data: D) -> u64 {
        self.last += 1;
        self.waiters.push_back(Waiter {
            number: self.last,
            waker: Some(waker),
            data,
        });
        self.last
    }

    /// The first who is not served.
    pub(super) fn first(&mut self) -> Option<&D> {
        self.next().map(|waiter| &waiter.data)
    }

    /// The first who is not served, once those are passed over who will never come.
    fn next(&mut self) -> Option<&mut Waiter<D>> {
        let is_gone = |waiter: &Waiter<D>| waiter.waker.as_ref().is_some_and(Waker::is_gone);
        while self.waiters.get(self.served).is_some_and(is_gone) {
            self.served += 1;
        }
        self.waiters.get_mut(self.served)
    }

    /// Serves the first in line: calls `f` on what it has brought along. It is woken when the lock
    /// is released.
    pub(super) fn serve<R>(
        &mut self,
        served: &mut Served,
        f: impl FnOnce(&mut D) -> R,
    ) -> Option<R> {
        let waiter = self.next()?;
        served.0.extend(waiter.waker.take());
        let result = f(&mut waiter.data);
        self.served += 1;
        Some(result)
    }

    /// Serves all who are in line.
    pub(super) fn serve_all(&mut self, served: &mut Served, mut f: impl FnMut(&mut D)) {
        while self.serve(served, &mut f).is_some() {}
    }

    fn place_of(&self, number: u64) -> usize {
        let place = self.waiters.partition_point(|w| w.number < number);
        debug_assert!(self.waiters.get(place).is_some_and(|w| w.number == number));
        place
    }

    fn is_served(&self, number: u64) -> bool {
        self.place_of(number) < self.served
    }

    /// Takes a waiter out of the line, and tells whether it was served.
    fn leave(&mut self, number: u64) -> (Waiter<D>, bool) {
        let place = self.place_of(number);
        let was_served = place < self.served;
        if was_served {
            self.served -= 1;
        }
        let waiter = self.waiters.remove(place);
        (waiter.expect("only it takes itself out"), was_served)
    }
}

/// A state that is waited for, with the lines in front of it.
pub(super) trait Waited {
    /// Somebody has left a line without having been served: those behind may be served now.
    fn left(&mut self, _served: &mut Served) {}
}

/// What OS threads share.
#[derive(Debug)]
pub(super) struct Shared<S> {
    state: Mutex<S>,
}

/// How long to wait, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) timeout: Option<Duration>,
    pub(super) location: &'static Location<'static>,
}

/// What has come of a wait.
#[derive(Debug)]
pub(super) enum Turn<R, D> {
    /// There was no need for one.
    Free(R),
    /// It was served, and this is what has become of what it had brought along.
    Served(D),
    /// It was not.
    Missed(D, Missed),
}

/// Why a wait has ended without a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    TimedOut,
    /// It has not begun: the caller unwinds, and so cannot wait.
    Unwinding,
}

impl<S: Waited> Shared<S> {
    pub(super) fn new(state: S) -> Self {
        Self {
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        // No code of a user's runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the state, and wakes those whom it has served.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut S, &mut Served) -> R) -> R {
        let mut served = Served::default();
        let result = f(&mut self.lock(), &mut served);
        served.0.into_iter().for_each(Waker::wake);
        result
    }

    /// Calls `attempt`; as long as that gives `data` back, waits in `line` with it for a turn.
    ///
    /// Unwinds if the ethread is cancelled, or at the deadline of a scope.
    pub(super) fn wait<D, R>(
        &self,
        wait: Wait,
        line: fn(&mut S) -> &mut Line<D>,
        data: D,
        mut attempt: impl FnMut(&mut S, &mut Served, D) -> Result<R, D>,
    ) -> Turn<R, D> {
        current::with(|scheduler| {
            if let Some(scheduler) = scheduler {
                scheduler.spend_or_unwind(wait.location);
            }
        });
        let data = match self.with(|state, served| attempt(state, served, data)) {
            Ok(result) => return Turn::Free(result),
            Err(data) => data,
        };
        // It may have changed since the lock was released.
        let enter = |waker, data| {
            self.with(|state, served| match attempt(state, served, data) {
                Ok(result) => Ok(result),
                Err(data) => Err(line(state).enter(waker, data)),
            })
        };
        current::with(|scheduler| match scheduler {
            Some(scheduler) => self.suspend(scheduler, wait, line, data, enter),
            None => self.block(wait, line, data, enter),
        })
    }

    /// Waits as an ethread, or as a shard's own OS thread.
    fn suspend<D, R>(
        &self,
        scheduler: &Scheduler,
        wait: Wait,
        line: fn(&mut S) -> &mut Line<D>,
        data: D,
        enter: impl FnOnce(Waker, D) -> Result<R, u64>,
    ) -> Turn<R, D> {
        let deadline = match wait.timeout {
            Some(timeout) => deadline_after(scheduler.clock(), timeout),
            None => NEVER,
        };
        let reason = Reason {
            kind: WaitKind::Remote,
            detail: 0,
            location: wait.location,
        };
        let Ok(parking) = scheduler.begin_wait(reason) else {
            return Turn::Missed(data, Missed::Unwinding);
        };
        let waker = scheduler.remote_waker(parking.token());
        let place = match enter(Waker::Ethread(waker), data) {
            Ok(result) => return Turn::Free(result),
            Err(number) => Place::new(self, line, number),
        };
        let outcome = parking.park(deadline);
        match place.leave() {
            // Whatever else has happened: it is its own.
            (data, true) => Turn::Served(data),
            (data, false) => match outcome {
                Outcome::Cancelled => scheduler.raise_cancel(),
                Outcome::Elapsed => scheduler.raise_elapsed(),
                Outcome::TimedOut | Outcome::Woken => Turn::Missed(data, Missed::TimedOut),
            },
        }
    }

    /// Waits as an OS thread without ethreads.
    fn block<D, R>(
        &self,
        wait: Wait,
        line: fn(&mut S) -> &mut Line<D>,
        data: D,
        enter: impl FnOnce(Waker, D) -> Result<R, u64>,
    ) -> Turn<R, D> {
        let deadline = wait
            .timeout
            .map(|timeout| deadline_after(monotonic_now(), timeout));
        let place = match enter(Waker::Thread(thread::current()), data) {
            Ok(result) => return Turn::Free(result),
            Err(number) => Place::new(self, line, number),
        };
        while !place.is_served() {
            match deadline.map(|deadline| deadline.saturating_sub(monotonic_now())) {
                None => thread::park(),
                Some(0) => break,
                Some(left) => park_timeout(Duration::from_nanos(left)),
            }
        }
        match place.leave() {
            (data, true) => Turn::Served(data),
            (data, false) => Turn::Missed(data, Missed::TimedOut),
        }
    }
}

/// The checker knows no time.
fn park_timeout(timeout: Duration) {
    #[cfg(not(ethreads_loom))]
    thread::park_timeout(timeout);
    #[cfg(ethreads_loom)]
    let _: (Duration, ()) = (timeout, thread::park());
}

/// A place in a line. Dropping it leaves the line.
struct Place<'a, S: Waited, D> {
    shared: &'a Shared<S>,
    line: fn(&mut S) -> &mut Line<D>,
    number: u64,
}

impl<'a, S: Waited, D> Place<'a, S, D> {
    fn new(shared: &'a Shared<S>, line: fn(&mut S) -> &mut Line<D>, number: u64) -> Self {
        Self {
            shared,
            line,
            number,
        }
    }

    fn is_served(&self) -> bool {
        (self.line)(&mut self.shared.lock()).is_served(self.number)
    }

    /// Leaves the line with what was brought along, and tells whether it was served.
    fn leave(self) -> (D, bool) {
        let left = self.take_out();
        std::mem::forget(self);
        left
    }

    fn take_out(&self) -> (D, bool) {
        let (waiter, was_served) = self.shared.with(|state, served| {
            let left = (self.line)(state).leave(self.number);
            if !left.1 {
                state.left(served);
            }
            left
        });
        (waiter.data, was_served)
    }
}

impl<S: Waited, D> Drop for Place<'_, S, D> {
    fn drop(&mut self) {
        self.take_out();
    }
}
