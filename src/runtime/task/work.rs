//! What an ethread runs, and the result that it leaves for a join.

// A task is constructed in its final place: to move it there would store it twice at each spawn.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;

use log::Level;

use super::thread::Thread;
use crate::runtime::base::error::{Cancelled, Elapsed, WouldPark};
use crate::runtime::base::owner::WaitsOn;
use crate::runtime::base::panic::{message, without_unwinding};
use crate::runtime::base::wait::{CallSite, NEVER, NO_TOKEN, Outcome, Reason, Token, WaitKind};
use crate::runtime::scheduler::park::Unwinding;
use crate::runtime::scheduler::unwind::{AtRoot, at_root};
use crate::runtime::scheduler::{current, locals};
use crate::runtime::stack::coroutine;
use crate::runtime::stack::coroutine::{Ending, Run};

/// The work of an ethread: a closure that runs once, or turns with rests between them.
pub(crate) trait Work<T> {
    /// Runs until the work is done, or until it rests (`Registration::park_stackless`), which
    /// returns `None`.
    /// `outcome` is how the last rest ended. It is never `Cancelled`: a cancel drops the work.
    fn go_on(&mut self, outcome: Outcome) -> Option<T>;

    /// Turns a panic in [`go_on`](Self::go_on) into the result; not called for the unwinding of a
    /// cancel.
    fn panicked(&mut self, payload: Box<dyn Any + Send>) -> thread::Result<T> {
        Err(payload)
    }
}

/// The work of a closure.
pub(crate) struct Once<F>(Option<F>);

impl<F> Once<F> {
    pub(crate) fn new(f: F) -> Self {
        Self(Some(f))
    }
}

impl<F: FnOnce(Outcome) -> T, T> Work<T> for Once<F> {
    #[inline]
    fn go_on(&mut self, outcome: Outcome) -> Option<T> {
        let f = self.0.take().expect("a closure does not rest");
        Some(f(outcome))
    }
}

/// The work, the place for its result and the state of a join handle, in one allocation.
pub(crate) struct Task<S: ?Sized, T> {
    packet: Packet<T>,
    /// Last, so that a join handle can be independent of its type.
    slot: S,
}

/// Holds the work of a task; `None` once it has ended.
type Slot<W> = Cell<Option<W>>;

/// A task as a join handle sees it.
pub(crate) type Joinable<'a, T> = Task<dyn AnySlot + 'a, T>;

/// A [`Slot`] of any type.
pub(crate) trait AnySlot {}

impl<W> AnySlot for Slot<W> {}

/// The result of an ethread, between its end and the join.
pub(crate) struct Packet<T> {
    owner: TaskOwner,
    result: Cell<Option<thread::Result<T>>>,
    /// The park of the ethread that joins; [`NO_TOKEN`] if none does.
    waiter: Cell<Token>,
    /// The waker of a caller that polls for the end.
    // Boxed, as nearly no task has one.
    task: Cell<Option<Box<Waker>>>,
    ended: Cell<bool>,
    /// The result will not be asked for.
    detached: Cell<bool>,
    /// The ethread was ended by a cancel or the deadline of a scope, not by a panic with such a
    /// payload.
    interrupted: Cell<bool>,
    /// The scope that waits for the end, whatever becomes of the handle.
    // Boxed, as nearly no task has one.
    family: Option<Box<Rc<dyn Family>>>,
}

/// The ethread that runs a task; set as soon as the task is spawned.
#[derive(Default)]
pub(crate) struct TaskOwner(OnceCell<Thread>);

impl TaskOwner {
    pub(crate) fn set(&self, thread: Thread) {
        let set = self.0.set(thread);
        debug_assert!(set.is_ok(), "a task is spawned once");
    }
}

/// The children of a `thread::scope`, as each child sees them.
pub(crate) trait Family {
    /// A child whose handle was dropped has panicked.
    fn failed(&self, payload: Box<dyn Any + Send>);

    /// A child was ended by the deadline of the scope in which it was spawned.
    fn elapsed(&self);

    /// The running child has ended: its closure and its result are not used any more, except by the
    /// holder of its handle.
    fn ended(&self);
}

impl<W, T> Task<Slot<W>, T> {
    pub(crate) fn new(work: W) -> Rc<Self> {
        Self::of(work, None)
    }

    pub(crate) fn of(work: W, family: Option<Rc<dyn Family>>) -> Rc<Self> {
        let mut task = Rc::new_uninit();
        let place = Rc::get_mut(&mut task).expect("it has no other owner yet");
        place.write(Self {
            packet: Packet {
                owner: TaskOwner::default(),
                result: Cell::new(None),
                waiter: Cell::new(NO_TOKEN),
                task: Cell::new(None),
                ended: Cell::new(false),
                detached: Cell::new(false),
                interrupted: Cell::new(false),
                family: family.map(Box::new),
            },
            slot: Cell::new(Some(work)),
        });
        // SAFETY: the value was written just now.
        unsafe { task.assume_init() }
    }
}

impl<S: ?Sized, T> Task<S, T> {
    #[inline]
    pub(crate) fn packet(&self) -> &Packet<T> {
        &self.packet
    }
}

impl<W: Work<T>, T> Run for Task<Slot<W>, T> {
    fn run(&self, outcome: Outcome) -> Ending {
        let mut work = self.slot.take();
        let turn = panic::catch_unwind(AssertUnwindSafe(|| match (&mut work, outcome) {
            // Cancelled before its first turn or in a rest: it runs only to end.
            (_, Outcome::Cancelled) | (None, _) => {
                self.packet.interrupted.set(true);
                Some(Err(Box::new(Cancelled) as _))
            }
            (Some(work), outcome) => work.go_on(outcome).map(Ok),
        }));
        let result = match turn {
            Ok(None) => {
                self.slot.set(work);
                return Ending::Resting;
            }
            Ok(Some(result)) => result,
            // `panicked` may log and drop the payload, and both run user code.
            Err(payload) => panic::catch_unwind(AssertUnwindSafe(|| match &mut work {
                Some(work) if at_root(&*payload).is_none() => work.panicked(payload),
                _ => Err(payload),
            }))
            .unwrap_or_else(Err),
        };
        let result = match panic::catch_unwind(AssertUnwindSafe(|| work = None)) {
            Ok(()) => result,
            Err(payload) => {
                self.packet.interrupted.set(false);
                if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(result))) {
                    std::mem::forget(payload);
                }
                Err(payload)
            }
        };
        locals::drop_all();
        let interrupted = &self.packet.interrupted;
        self.packet.end(result.map_err(|payload| {
            let (payload, asked): (Box<dyn Any + Send>, _) = match at_root(&*payload) {
                Some(AtRoot::Cancelled) => (Box::new(Cancelled), true),
                Some(AtRoot::Elapsed(elapsed)) => (Box::new(elapsed), true),
                None => (payload, interrupted.get()),
            };
            interrupted.set(asked);
            if asked {
                current::with(|scheduler| scheduler.map(|s| s.metrics.cancelled.add(1)));
            }
            payload
        }));
        if let Some(family) = &self.packet.family {
            family.ended();
        }
        Ending::Over
    }
}

impl<T> Packet<T> {
    /// Stores the result for the join, or drops it: in either case on the ethread's own stack.
    fn end(&self, result: thread::Result<T>) {
        self.ended.set(true);
        if self.detached.get() {
            self.orphan(result, current::label);
            return;
        }
        self.result.set(Some(result));
        let waiter = self.waiter.replace(NO_TOKEN);
        if waiter != NO_TOKEN {
            current::with(|scheduler| scheduler.map(|scheduler| scheduler.wake(waiter)));
        }
        if let Some(task) = self.task.take() {
            without_unwinding(|| task.wake());
        }
    }

    pub(crate) fn owner(&self) -> &TaskOwner {
        &self.owner
    }

    pub(in crate::runtime) fn thread(&self) -> &Thread {
        self.owner.0.get().expect("it was spawned")
    }

    pub(in crate::runtime) fn set_waiter(&self, waiter: Option<Token>) {
        self.waiter.set(waiter.unwrap_or(NO_TOKEN));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Takes the result, or registers `waker` for the end.
    pub(in crate::runtime) fn poll(&self, waker: &Waker) -> Poll<thread::Result<T>> {
        if !self.ended.get() {
            let before = self.task.replace(Some(Box::new(waker.clone())));
            drop(before);
            // Clone and drop of a waker are user code, during which the ethread may have ended.
            if !self.ended.get() {
                return Poll::Pending;
            }
            drop(self.task.take());
        }
        let result = self.result.take();
        Poll::Ready(result.expect("a future that was ready is not polled again"))
    }

    /// Gives up the join. A panic that was kept for the join is logged.
    pub(crate) fn detach(&self) {
        self.detached.set(true);
        drop(self.task.take());
        if let Some(result) = self.result.take() {
            self.orphan(result, || self.thread().to_string());
        }
    }

    /// Gives the result to its remote waiter. If `give` returns the result, it is discarded.
    pub(in crate::runtime) fn hand_over(
        &self,
        give: impl FnOnce(thread::Result<T>) -> Result<(), thread::Result<T>>,
    ) {
        let result = self.result.take();
        if let Some(Err(result)) = result.map(give) {
            self.orphan(result, current::label);
        }
    }

    /// Drops a result that is not asked for, and reports a panic.
    // Not inlined, so that nothing is prepared for it where the result is asked for.
    #[inline(never)]
    fn orphan(&self, result: thread::Result<T>, label: impl Fn() -> String) {
        match (result, &self.family) {
            (Err(payload), Some(family)) if !self.interrupted.get() => family.failed(payload),
            (Err(payload), Some(family)) if payload.is::<Elapsed>() => family.elapsed(),
            (result, _) => discard_of(result, label, self.interrupted.get()),
        }
    }

    /// Waits for the end and takes the result.
    ///
    /// Inlined, for the reason given at `park::yield_now`.
    #[inline(always)]
    pub(crate) fn join(&self, location: CallSite) -> thread::Result<T> {
        if !self.ended.get() {
            match self.begin_join(location) {
                Ok(true) => {
                    coroutine::suspend();
                    self.end_join();
                }
                Ok(false) => {}
                Err(Unwinding) => return Err(Box::new(WouldPark { location })),
            }
        }
        self.result
            .take()
            .expect("an ended ethread has left its result")
    }

    /// Parks the joining ethread; false if it must not leave its stack. The OS thread's own code
    /// waits in here.
    #[inline(never)]
    fn begin_join(&self, location: CallSite) -> Result<bool, Unwinding> {
        let reason = Reason {
            kind: WaitKind::Join,
            detail: self.thread().id().as_u64().get(),
            location,
        };
        current::with(|scheduler| {
            let scheduler = scheduler.expect("a join handle stays on its shard's OS thread");
            scheduler.depend_on(WaitsOn::Ethread(self.thread().peer()), &reason, NEVER);
            if scheduler.can_leave() {
                match scheduler.park_now(reason, NEVER) {
                    Some(token) => self.waiter.set(token),
                    None => scheduler.raise_cancel(),
                }
                return Ok(true);
            }
            let wait = scheduler.begin_wait(reason)?;
            self.waiter.set(wait.token());
            let _forget = ForgetWaiter(&self.waiter);
            wait.park_or_unwind(NEVER);
            Ok(false)
        })
    }

    #[inline(never)]
    fn end_join(&self) {
        let _forget = ForgetWaiter(&self.waiter);
        current::with(|scheduler| {
            scheduler.map(|scheduler| scheduler.check_interrupt(scheduler.outcome()))
        });
    }
}

struct ForgetWaiter<'a>(&'a Cell<Token>);

impl Drop for ForgetWaiter<'_> {
    fn drop(&mut self) {
        self.0.set(NO_TOKEN);
    }
}

/// Drops a result that was not asked for. Its destructor may panic, and the payload of that panic
/// may panic again when it is dropped, so the payload is leaked.
pub(crate) fn discard<T>(result: thread::Result<T>, label: impl Fn() -> String) {
    discard_of(result, label, false);
}

/// As [`discard`]; a requested end does not count as a panic.
fn discard_of<T>(result: thread::Result<T>, label: impl Fn() -> String, interrupted: bool) {
    if interrupted {
        return drop_result(result, label);
    }
    if result.is_err() {
        current::with(|scheduler| scheduler.map(|s| s.metrics.panicked.add(1)));
    }
    discard_elsewhere(result, label);
}

/// As [`discard`], for an ethread of another shard: a panic does not count for this shard.
pub(in crate::runtime) fn discard_elsewhere<T>(
    result: thread::Result<T>,
    label: impl Fn() -> String,
) {
    if let Err(payload) = &result {
        let text = message(&**payload);
        let line = format!("detached ethread {} panicked: {text}", label());
        current::log(Level::Error, &line);
    }
    drop_result(result, label);
}

fn drop_result<T>(result: thread::Result<T>, label: impl Fn() -> String) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(result))) {
        let text = message(&*payload);
        let line = format!(
            "dropping the result of ethread {} panicked: {text}",
            label()
        );
        current::log(Level::Error, &line);
        std::mem::forget(payload);
    }
}
