//! The wait queue of a primitive. All waits of `sync` within a shard go through it.
//!
//! A release hands the lock, permit or value to the first waiter, and wakes it. From then on the
//! waiter owns it, since a wait that was woken can no longer be cancelled. So no waiter is
//! overtaken, and nothing is lost between a release and a cancel. A waiter whose wait ends by a
//! cancel, a deadline or a panic takes itself out of the queue.
//!
//! Each waiter carries data that the waking side can read, take or replace: the number of permits
//! that it requests, the value that it sends, or the slot for the value that it receives. The
//! waiter gets the data back when it leaves the queue, woken or not.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::runtime::base::entries::{Entries, Entry, WaiterState};
use crate::runtime::base::owner::{Owner, Peer, WaitsOn};
use crate::runtime::base::wait::{CallSite, NEVER, Outcome, Reason, Token, WaitKind};
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::{current, park};

/// Entries in order of arrival. Belongs to one shard: it is not `Send`.
pub(crate) struct WaitQueue<D = ()> {
    entries: RefCell<Entries<Token, D>>,
    /// The number of waiters that are queued for a wake-up. They are the last entries. The waiters
    /// in front of them were woken, or were found to be gone, and take themselves out as soon as
    /// they run.
    waiting: Cell<usize>,
    /// The id of the scheduler that the waiters belong to. A scheduler that has ended may have left
    /// waiters behind. They never run again, and the next scheduler on this OS thread must ignore
    /// them.
    home: Cell<u64>,
    /// The number of the waiter that arrived last.
    last: Cell<u64>,
    not_send: PhantomData<*mut ()>,
}

/// The reason, the deadline and the line of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait<'a> {
    kind: WaitKind,
    detail: u64,
    /// The ethread that the wait depends on, if it depends on an ethread.
    waits_on: Option<WaitsOn<'a>>,
    /// In nanoseconds on the shard's clock; [`NEVER`] for a wait without a limit.
    deadline: u64,
    location: CallSite,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(kind: WaitKind, location: CallSite) -> Self {
        Self {
            kind,
            detail: 0,
            waits_on: None,
            deadline: NEVER,
            location,
        }
    }

    /// Adds the requested amount, such as the number of permits.
    pub(super) fn for_many(self, detail: u64) -> Self {
        Self { detail, ..self }
    }

    /// Adds the owner that the wait depends on.
    pub(super) fn on(self, owner: &'a Owner) -> Self {
        Self {
            detail: owner.get().id(),
            waits_on: Some(WaitsOn::Owner(owner)),
            ..self
        }
    }

    pub(crate) fn until(self, deadline: u64) -> Self {
        Self { deadline, ..self }
    }

    fn reason(&self) -> Reason {
        Reason {
            kind: self.kind,
            detail: self.detail,
            location: self.location,
        }
    }
}

/// A wait that ended without a wake-up, with the waiter's data.
#[derive(Debug)]
pub(crate) enum WaitError<D> {
    TimedOut(D),
    /// The wait has not begun: the caller unwinds, and so cannot wait.
    Unwinding(D),
}

impl<D> WaitError<D> {
    pub(super) fn into_inner(self) -> D {
        match self {
            Self::TimedOut(data) | Self::Unwinding(data) => data,
        }
    }
}

/// A waiter in a wait queue. Dropping it leaves the queue.
pub(super) struct Waiter<'a, D> {
    queue: &'a WaitQueue<D>,
    number: u64,
}

impl<D> Waiter<'_, D> {
    /// As [`end`](Self::end), but not inlined: for a wait whose stack was left.
    #[inline(never)]
    fn end_apart(self) -> Result<D, WaitError<D>> {
        self.end()
    }

    /// The second half of [`WaitQueue::wait`].
    #[inline(always)]
    pub(super) fn end(self) -> Result<D, WaitError<D>> {
        let (was_woken, data) = self.take_out();
        if was_woken {
            Ok(data)
        } else {
            fail(None, data)
        }
    }

    /// Leaves the queue; returns the waiter's data as the waking side has left it.
    pub(super) fn leave(self) -> D {
        self.take_out().1
    }

    #[inline(always)]
    fn take_out(self) -> (bool, D) {
        let taken = self.queue.take_out(self.number);
        std::mem::forget(self);
        taken.expect("only the waiter removes its entry")
    }
}

/// Ends a wait without a wake-up, by `outcome`. `None` stands for the outcome that the scheduler
/// has recorded for an ethread that has left its stack.
// `data` may belong to user code. The unwinding, if there is one, drops it.
#[cold]
fn fail<D>(outcome: Option<Outcome>, data: D) -> Result<D, WaitError<D>> {
    current::with(|scheduler| {
        let scheduler = scheduler.expect("the scheduler that parked the waiter");
        match outcome.unwrap_or_else(|| scheduler.outcome()) {
            // To continue would be to claim a lock that another ethread may hold.
            Outcome::Woken => unreachable!("only the queue wakes its waiters"),
            Outcome::TimedOut => Err(WaitError::TimedOut(data)),
            Outcome::Elapsed => scheduler.raise_elapsed(),
            Outcome::Cancelled => scheduler.raise_cancel(),
        }
    })
}

impl<D> Drop for Waiter<'_, D> {
    fn drop(&mut self) {
        drop(self.queue.take_out(self.number));
    }
}

impl<D> WaitQueue<D> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: RefCell::new(Entries::new()),
            waiting: Cell::new(0),
            home: Cell::new(0),
            last: Cell::new(0),
            not_send: PhantomData,
        }
    }

    /// Waits to be woken, and returns `data` as the waking side has left it. Unwinds if the ethread
    /// is cancelled, or at the deadline of a scope.
    ///
    /// Inlined, so that the stack is left in the caller's frame: a processor predicts the target of
    /// a `ret` from the `call`s that it has seen, so after a switch the prediction is wrong for
    /// each frame that returns.
    ///
    /// # Panics
    ///
    /// On the scheduler's side. On the OS thread's own side, if nothing can ever wake the waiter.
    #[inline(always)]
    pub(crate) fn wait(&self, wait: Wait<'_>, data: D) -> Result<D, WaitError<D>> {
        let waiter = match self.begin_apart(&wait, data) {
            Ok(waiter) => waiter,
            Err(over) => return over,
        };
        park::leave();
        waiter.end_apart()
    }

    /// As [`wait`](Self::wait), without a limit, for the infallible `call`. Aborts the process if
    /// the caller unwinds.
    #[inline(always)]
    pub(super) fn wait_infallibly(&self, wait: Wait<'_>, data: D, call: &str) -> D {
        match self.wait(wait, data) {
            Ok(data) => data,
            Err(WaitError::Unwinding(_)) => cannot_wait(call, wait.location),
            Err(WaitError::TimedOut(_)) => unreachable!("a wait without a limit does not time out"),
        }
    }

    #[inline(never)]
    fn begin_apart(
        &self,
        wait: &Wait<'_>,
        data: D,
    ) -> Result<Waiter<'_, D>, Result<D, WaitError<D>>> {
        self.begin(*wait, data)
    }

    /// The first half of [`wait`](Self::wait), up to the switch. Returns `Err` with the result if
    /// the wait is over without a switch: the OS thread's own code waits inside this call.
    ///
    /// Inlined, so that the caller makes one call before the switch.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        wait: Wait<'_>,
        data: D,
    ) -> Result<Waiter<'_, D>, Result<D, WaitError<D>>> {
        let reason = wait.reason();
        let call = current::Call;
        let scheduler = match current::for_call(&call) {
            Ok(scheduler) => scheduler,
            Err(error) => no_scheduler(&error),
        };
        if let Some(waits_on) = wait.waits_on {
            scheduler.depend_on(waits_on, &reason, wait.deadline);
        }
        if scheduler.can_leave() {
            self.adopt(scheduler);
            return match scheduler.park_now(reason, wait.deadline) {
                Some(token) => Ok(self.push(token, data)),
                None => scheduler.raise_cancel(),
            };
        }
        Err(self.wait_elsewhere(scheduler, reason, wait.deadline, data))
    }

    /// As [`wait`](Self::wait), for a caller that cannot leave its stack.
    #[cold]
    fn wait_elsewhere(
        &self,
        scheduler: &Scheduler,
        reason: Reason,
        deadline: u64,
        data: D,
    ) -> Result<D, WaitError<D>> {
        let Ok(parking) = scheduler.begin_wait(reason) else {
            return Err(WaitError::Unwinding(data));
        };
        let waiter = self.enter(scheduler, parking.token(), data);
        // The scheduler is not asked for the outcome afterwards: it does not know the outcome of a
        // wait that was over before it parked.
        let outcome = parking.park(deadline);
        let (was_woken, data) = waiter.take_out();
        if was_woken {
            Ok(data)
        } else {
            fail(Some(outcome), data)
        }
    }

    /// Adds a waiter at the end, for a wait that has begun.
    pub(super) fn enter(&self, scheduler: &Scheduler, token: Token, data: D) -> Waiter<'_, D> {
        self.adopt(scheduler);
        self.push(token, data)
    }

    /// Forgets the waiters of another scheduler.
    #[inline]
    fn adopt(&self, scheduler: &Scheduler) {
        if self.home.get() != scheduler.id() {
            self.abandon(scheduler.id());
        }
    }

    #[cold]
    fn abandon(&self, home: u64) {
        self.home.set(home);
        self.waiting.set(0);
        // The waiters' data is leaked with them. Dropping it would run user code, which may wait,
        // and the caller's wait may have begun.
        std::mem::forget(self.entries.replace(Entries::new()));
    }

    #[inline]
    fn push(&self, token: Token, data: D) -> Waiter<'_, D> {
        let number = self.last.get() + 1;
        self.last.set(number);
        self.waiting.set(self.waiting.get() + 1);
        self.entries.borrow_mut().push(Entry {
            number,
            waker: token,
            state: WaiterState::Queued,
            data,
        });
        Waiter {
            queue: self,
            number,
        }
    }

    /// Takes out the waiter; returns whether it was woken, and its data.
    #[inline(always)]
    fn take_out(&self, number: u64) -> Option<(bool, D)> {
        let mut entries = self.entries.borrow_mut();
        let (state, data) = entries.take(number)?;
        if state == WaiterState::Queued {
            self.waiting.set(self.waiting.get() - 1);
        }
        Some((state == WaiterState::Woken, data))
    }

    /// Whether no waiter is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of queued waiters, including those whose wait was ended by a deadline or a cancel
    /// and that have not run since.
    pub(super) fn len(&self) -> usize {
        if self.is_home() {
            self.waiting.get()
        } else {
            0
        }
    }

    fn is_home(&self) -> bool {
        let home = self.home.get();
        current::with(|scheduler| scheduler.is_some_and(|scheduler| scheduler.id() == home))
    }

    /// Wakes the first waiter that still waits, and calls `f` on its data.
    #[inline]
    pub(crate) fn wake_one<R>(&self, f: impl FnOnce(&mut D) -> R) -> Option<R> {
        if self.is_void() {
            return None;
        }
        self.wake_up_to(u64::MAX, f)
    }

    /// Whether no waiter is queued, not even one of an ended scheduler. Cheaper than
    /// [`is_empty`](Self::is_empty).
    #[inline]
    pub(super) fn is_void(&self) -> bool {
        self.waiting.get() == 0
    }

    /// As [`wake_one`](Self::wake_one), but only for waiters up to the number `last`, and only for
    /// a queue that is not [void](Self::is_void).
    pub(super) fn wake_up_to<R>(&self, last: u64, f: impl FnOnce(&mut D) -> R) -> Option<R> {
        debug_assert!(!self.is_void());
        current::with(|scheduler| {
            let scheduler = scheduler.filter(|s| s.id() == self.home.get())?;
            let mut entries = self.entries.borrow_mut();
            loop {
                let next = entries.next(self.waiting.get())?;
                if self.wake(scheduler, next, last)? {
                    return Some(f(&mut next.data));
                }
                if self.is_void() {
                    return None;
                }
            }
        })
    }

    /// The number of the waiter that arrived last.
    pub(super) fn last(&self) -> u64 {
        self.last.get()
    }

    /// Whether a waiter up to the number `last` is queued.
    pub(super) fn has_up_to(&self, last: u64) -> bool {
        let entries = self.entries.borrow();
        let first = entries.get(entries.len() - self.waiting.get());
        self.is_home() && first.is_some_and(|first| first.number <= last)
    }

    /// Wakes waiters in queue order, as long as `admit` has a result for the next one's data. Calls
    /// `hold` with that result, unless the waiter is gone: a waiter that has met a deadline, and
    /// has not run since, gets nothing.
    pub(super) fn grant<S>(&self, admit: impl Fn(D) -> Option<S>, hold: impl Fn(S))
    where
        D: Copy,
    {
        current::with(|scheduler| {
            let Some(scheduler) = scheduler.filter(|s| s.id() == self.home.get()) else {
                return;
            };
            let mut entries = self.entries.borrow_mut();
            while !self.is_void()
                && let Some(next) = entries.next(self.waiting.get())
                && let Some(granted) = admit(next.data)
            {
                if self.wake(scheduler, next, u64::MAX) == Some(true) {
                    hold(granted);
                }
            }
        });
    }

    /// Wakes all waiters.
    pub(crate) fn wake_all(&self, mut f: impl FnMut(&mut D)) {
        while self.wake_one(&mut f).is_some() {}
    }

    /// Wakes `next`; returns false if the waiter is gone. `None` if the waiter's number is above
    /// `last`.
    #[inline]
    fn wake(&self, scheduler: &Scheduler, next: &mut Entry<Token, D>, last: u64) -> Option<bool> {
        if next.number > last {
            return None;
        }
        self.waiting.set(self.waiting.get() - 1);
        let woken = scheduler.wake(next.waker);
        next.state = if woken {
            WaiterState::Woken
        } else {
            WaiterState::Gone
        };
        Some(woken)
    }
}

impl<D> Default for WaitQueue<D> {
    fn default() -> Self {
        Self::new()
    }
}

/// The scheduler that parks the caller. Installed if there is none.
pub(super) fn scheduler() -> Rc<Scheduler> {
    current::get_or_install().unwrap_or_else(|error| no_scheduler(&error))
}

#[cold]
fn no_scheduler(error: &io::Error) -> ! {
    panic!("there is no ethread to wait, and no scheduler: {error}")
}

/// The running ethread, as the peer that other ethreads will wait for.
pub(super) fn me() -> Peer {
    current::with(|scheduler| scheduler.map_or(Peer::OUTSIDE, Scheduler::me))
}

/// Aborts the process: the caller unwinds, and `call` is infallible.
#[cold]
pub(super) fn cannot_wait(call: &str, location: CallSite) -> ! {
    scheduler().abort_unwinding(call, location)
}
