//! The wait queue of a primitive that is shared between OS threads.
//!
//! As in a shard's own wait queues, a waiter carries data, and the serving side hands over by
//! changing that data. The lock of the primitive decides which waiters have been served: a waiter
//! that leaves, for whatever reason, checks this first, and owns what it was handed. So nothing is
//! lost between a release on one OS thread and a cancel or a timeout on another one.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::PoisonError;
use std::time::Duration;

use crate::runtime::base::primitives::{Mutex, MutexGuard, Thread, thread};
use crate::runtime::base::wait::{NEVER, Outcome, Reason, WaitKind, deadline_after};
use crate::runtime::driver::monotonic_now;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::{RemoteWaker, Scheduler};

/// Waiters in order of arrival, with their data.
#[derive(Debug)]
pub(super) struct Line<D> {
    /// In the order of their numbers.
    waiters: VecDeque<Waiter<D>>,
    /// The number of waiters, counted from the front, that are served and have not left yet.
    /// Waiters that an ended shard has left behind count as served too, and stay in the queue:
    /// their data belongs to user code.
    served: usize,
    /// The number of the waiter that arrived last.
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

    /// Whether the waiter will never take what is handed over.
    fn is_gone(&self) -> bool {
        match self {
            Self::Ethread(waker) => waker.is_gone(),
            Self::Thread(_) => false,
        }
    }
}

/// Waiters that were served under a lock, and are woken after it.
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

    /// The data of the first waiter that is not served.
    pub(super) fn first(&mut self) -> Option<&D> {
        self.next().map(|waiter| &waiter.data)
    }

    /// The first waiter that is not served. Passes over waiters that will never run again.
    fn next(&mut self) -> Option<&mut Waiter<D>> {
        let is_gone = |waiter: &Waiter<D>| waiter.waker.as_ref().is_some_and(Waker::is_gone);
        while self.waiters.get(self.served).is_some_and(is_gone) {
            self.served += 1;
        }
        self.waiters.get_mut(self.served)
    }

    /// Serves the first waiter: calls `f` on its data. The waiter is woken when the lock is
    /// released.
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

    /// Serves all waiters.
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

    /// Takes a waiter out of the queue; returns whether it was served.
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

/// A state that is waited for, with its wait queues.
pub(super) trait Waited {
    /// Called when a waiter has left a queue without having been served: the waiters behind it may
    /// be served now.
    fn left(&mut self, _served: &mut Served) {}
}

/// State that OS threads share.
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

/// The result of a wait.
#[derive(Debug)]
pub(super) enum Turn<R, D> {
    /// No wait was needed.
    Free(R),
    /// The waiter was served; contains its data as the serving side has left it.
    Served(D),
    /// The waiter was not served; contains its data.
    Missed(D, Missed),
}

/// Why a wait has ended without a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    TimedOut,
    /// The wait has not begun: the caller unwinds, and so cannot wait.
    Unwinding,
}

impl<S: Waited> Shared<S> {
    pub(super) fn new(state: S) -> Self {
        Self {
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        // No user code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the state, and wakes the waiters that `f` has served.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut S, &mut Served) -> R) -> R {
        let mut served = Served::default();
        let result = f(&mut self.lock(), &mut served);
        served.0.into_iter().for_each(Waker::wake);
        result
    }

    /// Calls `attempt`. If that gives `data` back, waits in `line` with it for a turn.
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
        // The state may have changed since the lock was released.
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
            // Whatever else has happened, the waiter owns what it was handed.
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

/// Under loom, which has no time, this parks without a timeout.
fn park_timeout(timeout: Duration) {
    #[cfg(not(ethreads_loom))]
    thread::park_timeout(timeout);
    #[cfg(ethreads_loom)]
    let _: (Duration, ()) = (timeout, thread::park());
}

/// A place in a wait queue. Dropping it leaves the queue.
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

    /// Leaves the queue; returns the waiter's data, and whether the waiter was served.
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
