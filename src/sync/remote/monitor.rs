//! State that OS threads share, under a lock, with wait queues of ethreads and OS threads.
//!
//! As in a shard's own wait queues, a waiter carries data, and the waking side hands over by
//! changing that data. The lock decides which waiters are woken: a waiter that leaves, for whatever
//! reason, checks this first, and owns what it was handed. So nothing is lost between a release on
//! one OS thread and a cancel or a timeout on another one. The wake-ups follow after the lock.

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
pub(super) struct WaitQueue<D> {
    /// In the order of their numbers.
    waiters: VecDeque<Entry<D>>,
    /// The number of waiters, counted from the front, that are woken and have not left yet.
    /// Waiters that an ended shard has left behind count as woken too, and stay in the queue:
    /// their data belongs to user code.
    woken: usize,
    /// The number of the waiter that arrived last.
    last: u64,
}

#[derive(Debug)]
struct Entry<D> {
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

/// The wake-ups that are decided under a lock, and follow after it.
#[derive(Debug, Default)]
pub(super) struct WakeList(Vec<Waker>);

impl<D> Default for WaitQueue<D> {
    fn default() -> Self {
        Self {
            waiters: VecDeque::new(),
            woken: 0,
            last: 0,
        }
    }
}

impl<D> WaitQueue<D> {
    fn enter(&mut self, waker: Waker, data: D) -> u64 {
        self.last += 1;
        self.waiters.push_back(Entry {
            number: self.last,
            waker: Some(waker),
            data,
        });
        self.last
    }

    /// The data of the first waiter that is not woken.
    pub(super) fn first(&mut self) -> Option<&D> {
        self.next().map(|waiter| &waiter.data)
    }

    /// The first waiter that is not woken. Passes over waiters that will never run again.
    fn next(&mut self) -> Option<&mut Entry<D>> {
        let is_gone = |waiter: &Entry<D>| waiter.waker.as_ref().is_some_and(Waker::is_gone);
        while self.waiters.get(self.woken).is_some_and(is_gone) {
            self.woken += 1;
        }
        self.waiters.get_mut(self.woken)
    }

    /// Wakes the first waiter when the lock is released, and calls `f` on its data now.
    pub(super) fn wake_one<R>(
        &mut self,
        wakes: &mut WakeList,
        f: impl FnOnce(&mut D) -> R,
    ) -> Option<R> {
        let waiter = self.next()?;
        wakes.0.extend(waiter.waker.take());
        let result = f(&mut waiter.data);
        self.woken += 1;
        Some(result)
    }

    /// Wakes all waiters.
    pub(super) fn wake_all(&mut self, wakes: &mut WakeList, mut f: impl FnMut(&mut D)) {
        while self.wake_one(wakes, &mut f).is_some() {}
    }

    fn index_of(&self, number: u64) -> usize {
        let index = self.waiters.partition_point(|w| w.number < number);
        debug_assert!(self.waiters.get(index).is_some_and(|w| w.number == number));
        index
    }

    fn is_woken(&self, number: u64) -> bool {
        self.index_of(number) < self.woken
    }

    /// Takes a waiter out of the queue; returns whether it was woken.
    fn leave(&mut self, number: u64) -> (Entry<D>, bool) {
        let index = self.index_of(number);
        let was_woken = index < self.woken;
        if was_woken {
            self.woken -= 1;
        }
        let waiter = self.waiters.remove(index);
        (
            waiter.expect("a waiter is taken out by itself only"),
            was_woken,
        )
    }
}

/// A state that is waited for, with its wait queues.
pub(super) trait MonitorState {
    /// Called when a waiter has left a queue without having been woken: the waiters behind it may
    /// be woken now.
    fn waiter_left(&mut self, _wakes: &mut WakeList) {}
}

/// State under a lock, which its waiters share.
#[derive(Debug)]
pub(super) struct Monitor<S> {
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
pub(super) enum Waited<R, D> {
    /// No wait was needed.
    Ready(R),
    /// The waiter was woken; contains its data as the waking side has left it.
    Woken(D),
    /// The waiter was not woken; contains its data.
    Failed(D, WaitError),
}

/// Why a wait has ended without a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitError {
    TimedOut,
    /// The wait has not begun: the caller unwinds, and so cannot wait.
    Unwinding,
}

impl<S: MonitorState> Monitor<S> {
    pub(super) fn new(state: S) -> Self {
        Self {
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        // No user code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the state, and follows with the wake-ups that `f` has decided.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut S, &mut WakeList) -> R) -> R {
        let mut wakes = WakeList::default();
        let result = f(&mut self.lock(), &mut wakes);
        wakes.0.into_iter().for_each(Waker::wake);
        result
    }

    /// Calls `attempt`. If that gives `data` back, waits in `queue` with it.
    ///
    /// Unwinds if the ethread is cancelled, or at the deadline of a scope.
    pub(super) fn wait<D, R>(
        &self,
        wait: Wait,
        queue: fn(&mut S) -> &mut WaitQueue<D>,
        data: D,
        mut attempt: impl FnMut(&mut S, &mut WakeList, D) -> Result<R, D>,
    ) -> Waited<R, D> {
        current::with(|scheduler| {
            if let Some(scheduler) = scheduler {
                scheduler.spend_or_unwind(wait.location);
            }
        });
        let data = match self.with(|state, wakes| attempt(state, wakes, data)) {
            Ok(result) => return Waited::Ready(result),
            Err(data) => data,
        };
        // The state may have changed since the lock was released.
        let enter = |waker, data| {
            self.with(|state, wakes| match attempt(state, wakes, data) {
                Ok(result) => Ok(result),
                Err(data) => Err(queue(state).enter(waker, data)),
            })
        };
        current::with(|scheduler| match scheduler {
            Some(scheduler) => self.suspend(scheduler, wait, queue, data, enter),
            None => self.block(wait, queue, data, enter),
        })
    }

    /// Waits as an ethread, or as a shard's own OS thread.
    fn suspend<D, R>(
        &self,
        scheduler: &Scheduler,
        wait: Wait,
        queue: fn(&mut S) -> &mut WaitQueue<D>,
        data: D,
        enter: impl FnOnce(Waker, D) -> Result<R, u64>,
    ) -> Waited<R, D> {
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
            return Waited::Failed(data, WaitError::Unwinding);
        };
        let waker = scheduler.remote_waker(parking.token());
        let waiter = match enter(Waker::Ethread(waker), data) {
            Ok(result) => return Waited::Ready(result),
            Err(number) => Waiter::new(self, queue, number),
        };
        let outcome = parking.park(deadline);
        match waiter.leave() {
            // Whatever else has happened, the waiter owns what it was handed.
            (data, true) => Waited::Woken(data),
            (data, false) => match outcome {
                Outcome::Cancelled => scheduler.raise_cancel(),
                Outcome::Elapsed => scheduler.raise_elapsed(),
                Outcome::TimedOut | Outcome::Woken => Waited::Failed(data, WaitError::TimedOut),
            },
        }
    }

    /// Waits as an OS thread without ethreads.
    fn block<D, R>(
        &self,
        wait: Wait,
        queue: fn(&mut S) -> &mut WaitQueue<D>,
        data: D,
        enter: impl FnOnce(Waker, D) -> Result<R, u64>,
    ) -> Waited<R, D> {
        let deadline = wait
            .timeout
            .map(|timeout| deadline_after(monotonic_now(), timeout));
        let waiter = match enter(Waker::Thread(thread::current()), data) {
            Ok(result) => return Waited::Ready(result),
            Err(number) => Waiter::new(self, queue, number),
        };
        while !waiter.is_woken() {
            match deadline.map(|deadline| deadline.saturating_sub(monotonic_now())) {
                None => thread::park(),
                Some(0) => break,
                Some(left) => park_timeout(Duration::from_nanos(left)),
            }
        }
        match waiter.leave() {
            (data, true) => Waited::Woken(data),
            (data, false) => Waited::Failed(data, WaitError::TimedOut),
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

/// A waiter in a wait queue. Dropping it leaves the queue.
struct Waiter<'a, S: MonitorState, D> {
    monitor: &'a Monitor<S>,
    queue: fn(&mut S) -> &mut WaitQueue<D>,
    number: u64,
}

impl<'a, S: MonitorState, D> Waiter<'a, S, D> {
    fn new(monitor: &'a Monitor<S>, queue: fn(&mut S) -> &mut WaitQueue<D>, number: u64) -> Self {
        Self {
            monitor,
            queue,
            number,
        }
    }

    fn is_woken(&self) -> bool {
        (self.queue)(&mut self.monitor.lock()).is_woken(self.number)
    }

    /// Leaves the queue; returns the waiter's data, and whether the waiter was woken.
    fn leave(self) -> (D, bool) {
        let left = self.take_out();
        std::mem::forget(self);
        left
    }

    fn take_out(&self) -> (D, bool) {
        let (entry, was_woken) = self.monitor.with(|state, wakes| {
            let left = (self.queue)(state).leave(self.number);
            if !left.1 {
                state.waiter_left(wakes);
            }
            left
        });
        (entry.data, was_woken)
    }
}

impl<S: MonitorState, D> Drop for Waiter<'_, S, D> {
    fn drop(&mut self) {
        self.take_out();
    }
}
