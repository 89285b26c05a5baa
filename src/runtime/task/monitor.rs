//! State that OS threads share, under a lock, with wait queues of ethreads and OS threads.
//!
//! As in a shard's own wait queues, a waiter carries data, and the waking side hands a value over
//! by changing that data. The waiters to wake are chosen under the lock. A waiter that leaves its
//! queue sees under the same lock whether it was chosen, and then owns the value. So no value is
//! lost between a release on one OS thread and a cancel or a timeout on another one. The wake-ups
//! are made after the lock is released.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::sync::PoisonError;
use std::task;
use std::time::Duration;

use crate::runtime::base::entries::{Entries, Entry, WaiterState};
use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::primitives::{Mutex, MutexGuard, Thread, thread};
use crate::runtime::base::wait::{CallSite, NEVER, Outcome, Reason, WaitKind, deadline_after};
use crate::runtime::driver::monotonic_now;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::inbox::RemoteWaker;
use crate::runtime::scheduler::park;

/// Waiters in order of arrival, with their data.
pub(crate) struct WaitQueue<D> {
    /// Includes waiters that an ended shard has left behind: to drop their data would run user
    /// code.
    entries: Entries<Option<Waker>, D>,
    /// The number of waiters that are queued for a wake-up. They are the last entries.
    waiting: usize,
    /// The number of the waiter that arrived last.
    last: u64,
}

pub(crate) enum Waker {
    Ethread(RemoteWaker),
    Thread(Thread),
    Task(task::Waker),
}

impl Waker {
    fn wake(self) {
        match self {
            Self::Ethread(waker) => waker.wake(),
            Self::Thread(thread) => thread.unpark(),
            // The waker is user code; the caller must not unwind.
            Self::Task(waker) => without_unwinding(|| waker.wake()),
        }
    }

    /// Whether the waiter never runs again, as its shard has ended.
    fn is_gone(&self) -> bool {
        match self {
            Self::Ethread(waker) => waker.is_gone(),
            Self::Thread(_) | Self::Task(_) => false,
        }
    }
}

/// Waiters that are chosen under a lock, and woken after its release. A single waiter, the usual
/// case, needs no allocation.
#[derive(Default)]
pub(crate) struct WakeList {
    first: Option<Waker>,
    rest: Vec<Waker>,
}

impl WakeList {
    fn push(&mut self, waker: Waker) {
        match self.first {
            None => self.first = Some(waker),
            Some(_) => self.rest.push(waker),
        }
    }

    /// Adds a task, which waits in no queue.
    pub(super) fn push_task(&mut self, waker: task::Waker) {
        self.push(Waker::Task(waker));
    }

    #[inline]
    fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
            self.rest.into_iter().for_each(Waker::wake);
        }
    }
}

impl<D> Entry<Option<Waker>, D> {
    fn wake(&mut self, wakes: &mut WakeList) {
        self.state = WaiterState::Woken;
        if let Some(waker) = self.waker.take() {
            wakes.push(waker);
        }
    }
}

impl<D> Default for WaitQueue<D> {
    fn default() -> Self {
        Self {
            entries: Entries::new(),
            waiting: 0,
            last: 0,
        }
    }
}

impl<D> WaitQueue<D> {
    fn enter(&mut self, waker: Waker, data: D) -> u64 {
        self.last += 1;
        self.waiting += 1;
        self.entries.push(Entry {
            number: self.last,
            waker: Some(waker),
            state: WaiterState::Queued,
            data,
        });
        self.last
    }

    /// The data of the first waiter that is not woken.
    pub(crate) fn first(&mut self) -> Option<&D> {
        self.next().map(|entry| &entry.data)
    }

    /// The first waiter that is not woken. Passes over waiters that will never run again.
    fn next(&mut self) -> Option<&mut Entry<Option<Waker>, D>> {
        while self.waiting > 0 {
            let next = self.entries.next(self.waiting)?;
            if !next.waker.as_ref().is_some_and(Waker::is_gone) {
                return self.entries.next(self.waiting);
            }
            next.state = WaiterState::Gone;
            self.waiting -= 1;
        }
        None
    }

    /// Wakes the first waiter when the lock is released, and calls `f` on its data now.
    pub(crate) fn wake_one<R>(
        &mut self,
        wakes: &mut WakeList,
        f: impl FnOnce(&mut D) -> R,
    ) -> Option<R> {
        let next = self.next()?;
        next.wake(wakes);
        let result = f(&mut next.data);
        self.waiting -= 1;
        Some(result)
    }

    /// Wakes all waiters when the lock is released, and leaves their data unchanged.
    pub(crate) fn wake_all(&mut self, wakes: &mut WakeList) {
        while self.waiting > 0
            && let Some(next) = self.entries.next(self.waiting)
        {
            next.wake(wakes);
            self.waiting -= 1;
        }
    }

    /// Takes a waiter out of the queue; returns its data, and whether it was woken.
    fn leave(&mut self, number: u64) -> (D, bool) {
        // Drops the waker under the lock. That runs no user code: a task waits in no queue, and the
        // scheduler of a waiter that leaves is alive, so this is not its last handle.
        let taken = self.entries.take(number);
        let (state, data) = taken.expect("only the waiter removes its entry");
        if state == WaiterState::Queued {
            self.waiting -= 1;
        }
        (data, state == WaiterState::Woken)
    }
}

/// The state in a monitor, with its wait queues.
pub(crate) trait MonitorState {
    /// Called when a waiter has left a queue without having been woken: the waiters behind it may
    /// be woken now.
    fn waiter_left(&mut self, _wakes: &mut WakeList) {}
}

/// State under a lock, for which ethreads and OS threads can wait.
pub(crate) struct Monitor<S> {
    state: Mutex<S>,
}

/// The timeout of a wait, and the line of the caller.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) timeout: Option<Duration>,
    pub(crate) location: CallSite,
}

/// The result of a wait.
pub(crate) enum Waited<R, D> {
    /// No wait was needed.
    Ready(R),
    /// The waiter was woken; contains its data as the waking side has left it.
    Woken(D),
    /// The timeout has passed, or the caller unwinds, and so could not wait; contains the data.
    Failed(D),
}

impl<S: MonitorState> Monitor<S> {
    pub(crate) fn new(state: S) -> Self {
        Self {
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        // No user code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` under the lock, and then wakes the waiters that `f` has put into the list.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut S, &mut WakeList) -> R) -> R {
        let mut wakes = WakeList::default();
        let result = f(&mut self.lock(), &mut wakes);
        wakes.wake();
        result
    }

    /// Calls `attempt`. If `attempt` returns `data`, waits in `queue` with it.
    ///
    /// Unwinds if the ethread is cancelled, or at the deadline of a scope.
    pub(crate) fn wait<D, R>(
        &self,
        wait: Wait,
        queue: fn(&mut S) -> &mut WaitQueue<D>,
        data: D,
        mut attempt: impl FnMut(&mut S, &mut WakeList, D) -> Result<R, D>,
    ) -> Waited<R, D> {
        current::with(|scheduler| scheduler.map(|s| s.spend_or_unwind(wait.location)));
        let data = match self.with(|state, wakes| attempt(state, wakes, data)) {
            Ok(result) => return Waited::Ready(result),
            Err(data) => data,
        };
        current::with(|scheduler| match scheduler {
            Some(scheduler) => self.suspend(scheduler, wait, queue, data, attempt),
            None => self.block(wait, queue, data, attempt),
        })
    }

    /// Calls `attempt` again, as the state may have changed since the lock was released. If
    /// `attempt` returns `data`, adds a waiter at the end of `queue`.
    fn enter<D, R>(
        &self,
        waker: Waker,
        queue: fn(&mut S) -> &mut WaitQueue<D>,
        data: D,
        attempt: impl FnOnce(&mut S, &mut WakeList, D) -> Result<R, D>,
    ) -> Result<R, Waiter<'_, S, D>> {
        self.with(|state, wakes| {
            attempt(state, wakes, data).map_err(|data| Waiter {
                monitor: self,
                queue,
                number: queue(state).enter(waker, data),
            })
        })
    }

    /// Adds a waiter at the end of `queue`, for the wait `parking`, which has begun.
    pub(super) fn enter_parking<D>(
        &self,
        scheduler: &Scheduler,
        parking: &park::Wait<'_>,
        queue: fn(&mut S) -> &mut WaitQueue<D>,
        data: D,
    ) -> Waiter<'_, S, D> {
        let waker = Waker::Ethread(scheduler.remote_waker(parking.token()));
        let attempt = |_: &mut S, _: &mut WakeList, data| Err::<Infallible, _>(data);
        let Err(waiter) = self.enter(waker, queue, data, attempt);
        waiter
    }

    /// Waits as an ethread, or as a shard's own OS thread.
    fn suspend<D, R>(
        &self,
        scheduler: &Scheduler,
        wait: Wait,
        queue: fn(&mut S) -> &mut WaitQueue<D>,
        data: D,
        attempt: impl FnOnce(&mut S, &mut WakeList, D) -> Result<R, D>,
    ) -> Waited<R, D> {
        let deadline = match wait.timeout {
            Some(timeout) => deadline_after(scheduler.clock(), timeout),
            None => NEVER,
        };
        let reason = Reason::new(WaitKind::Remote, wait.location);
        let Ok(parking) = scheduler.begin_wait(reason) else {
            return Waited::Failed(data);
        };
        let waker = Waker::Ethread(scheduler.remote_waker(parking.token()));
        let waiter = match self.enter(waker, queue, data, attempt) {
            Ok(result) => return Waited::Ready(result),
            Err(waiter) => waiter,
        };
        match waiter.park(parking, deadline) {
            Ok(data) => Waited::Woken(data),
            Err((data, Outcome::TimedOut | Outcome::Woken)) => Waited::Failed(data),
            Err((_, Outcome::Elapsed)) => scheduler.raise_elapsed(),
            Err((_, Outcome::Cancelled)) => scheduler.raise_cancel(),
        }
    }

    /// Waits as an OS thread without ethreads.
    fn block<D, R>(
        &self,
        wait: Wait,
        queue: fn(&mut S) -> &mut WaitQueue<D>,
        data: D,
        attempt: impl FnOnce(&mut S, &mut WakeList, D) -> Result<R, D>,
    ) -> Waited<R, D> {
        let deadline = wait
            .timeout
            .map(|timeout| deadline_after(monotonic_now(), timeout));
        let waker = Waker::Thread(thread::current());
        let waiter = match self.enter(waker, queue, data, attempt) {
            Ok(result) => return Waited::Ready(result),
            Err(waiter) => waiter,
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
            (data, false) => Waited::Failed(data),
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
pub(super) struct Waiter<'a, S: MonitorState, D> {
    monitor: &'a Monitor<S>,
    queue: fn(&mut S) -> &mut WaitQueue<D>,
    number: u64,
}

impl<S: MonitorState, D> Waiter<'_, S, D> {
    /// Parks until the waiter is woken, and leaves the queue.
    ///
    /// # Errors
    ///
    /// The data and the outcome of a wait that has ended without a wake-up. A waiter that was woken
    /// gets its value even if a cancel or a timeout came, too.
    pub(super) fn park(self, parking: park::Wait<'_>, deadline: u64) -> Result<D, (D, Outcome)> {
        let outcome = parking.park(deadline);
        match self.leave() {
            (data, true) => Ok(data),
            (data, false) => Err((data, outcome)),
        }
    }

    fn is_woken(&self) -> bool {
        let mut state = self.monitor.lock();
        let entry = (self.queue)(&mut state).entries.find(self.number);
        entry.is_some_and(|entry| entry.state == WaiterState::Woken)
    }

    /// Leaves the queue; returns the waiter's data, and whether the waiter was woken.
    fn leave(self) -> (D, bool) {
        let left = self.take_out();
        std::mem::forget(self);
        left
    }

    fn take_out(&self) -> (D, bool) {
        self.monitor.with(|state, wakes| {
            let left = (self.queue)(state).leave(self.number);
            if !left.1 {
                state.waiter_left(wakes);
            }
            left
        })
    }
}

impl<S: MonitorState, D> Drop for Waiter<'_, S, D> {
    fn drop(&mut self) {
        self.take_out();
    }
}
