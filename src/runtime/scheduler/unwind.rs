//! What ends a wait from outside: cancels and the deadlines of scopes, and how they unwind.
//!
//! An interrupt unwinds with a private payload that is addressed: to the root of its ethread, or to
//! a scope in it. Only that boundary turns it into a value; another one passes it on, and to
//! anybody else's ethread it is a panic like any other.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::Rc;
use std::time::Duration;

use super::current;
use super::event_loop::{SCHEDULER, Scheduler};
use super::origin::Origin;
use crate::runtime::base::error::Elapsed;
use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::wait::{HOST, NEVER, Reason, WaitKind};
use crate::runtime::stack::coroutine;
use crate::runtime::state::control_block::ThreadId;
use crate::runtime::state::scopes::{ScopeId, ScopeIndex, ScopeKind};

/// From this unwinding on, an ethread that goes on after each is reported and slowed down; and from
/// this error of a scope's deadline on, a call that could return one unwinds.
const STUBBORN: u8 = 16;

/// How often a stubborn ethread is resumed.
const STUBBORN_PAUSE: Duration = Duration::from_millis(100);

/// The payload of an interrupt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt {
    ethread: ThreadId,
    /// The scope that it ends; `None` if it is the ethread.
    scope: Option<ScopeId>,
    /// The scope's line, if its deadline has passed.
    elapsed: Option<&'static Location<'static>>,
}

/// What an interrupt is to the boundary that it has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressed {
    /// It is not one, or not of this ethread, or of a scope that is no more: a panic.
    Nowhere,
    /// It goes on, to the root or to a scope further out.
    Outward,
    /// This scope.
    Here,
}

impl Interrupt {
    fn of(payload: &(dyn Any + Send)) -> Option<Self> {
        payload.downcast_ref().copied()
    }
}

/// Whether a payload is an interrupt that passes whoever catches panics in the ethread that runs.
/// One that was carried here from another ethread is a panic like any other.
pub(crate) fn passes(payload: &(dyn Any + Send)) -> bool {
    addressed(payload, 0) == Addressed::Outward
}

/// What a payload is to a scope of the ethread that runs.
pub(crate) fn addressed(payload: &(dyn Any + Send), id: ScopeId) -> Addressed {
    let Some(interrupt) = Interrupt::of(payload) else {
        return Addressed::Nowhere;
    };
    current::with(|scheduler| match scheduler {
        Some(scheduler) if scheduler.current_id() == interrupt.ethread => match interrupt.scope {
            Some(scope) if scope == id => Addressed::Here,
            Some(scope) if !scheduler.is_within(scope) => Addressed::Nowhere,
            _ => Addressed::Outward,
        },
        _ => Addressed::Nowhere,
    })
}

/// What an interrupt of the ethread that runs has come to, if a payload is one, at its root.
pub(crate) fn at_root(payload: &(dyn Any + Send)) -> Option<AtRoot> {
    let interrupt = Interrupt::of(payload)?;
    let is_mine = current::with(|scheduler| {
        scheduler.is_some_and(|s| {
            s.current_id() == interrupt.ethread && interrupt.scope.is_none_or(|id| s.is_within(id))
        })
    });
    match (interrupt.scope, interrupt.elapsed) {
        _ if !is_mine => None,
        (None, _) => Some(AtRoot::Cancelled),
        // Of the scope that its parent is in, whose deadline is its own.
        (Some(_), Some(scope)) => Some(AtRoot::Elapsed(Elapsed { scope })),
        (Some(_), None) => None,
    }
}

/// Calls what waits without an error of its own, for a call that has one: where a scope's deadline
/// has passed, it fails like any other I/O.
///
/// # Errors
///
/// Those of `f`; `TimedOut` with the source [`Elapsed`].
pub(crate) fn as_io<R>(f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(payload) => match Interrupt::of(&*payload).and_then(|interrupt| interrupt.elapsed) {
            Some(scope) if passes(&*payload) => Err(Elapsed { scope }.into()),
            _ => panic::resume_unwind(payload),
        },
    }
}

/// How an interrupt ends an ethread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AtRoot {
    Cancelled,
    Elapsed(Elapsed),
}

impl Scheduler {
    /// Unwinds the running ethread as if it had been cancelled by its handle.
    ///
    /// # Panics
    ///
    /// With `why`, where there is nothing to cancel: on the OS thread's own side, and in
    /// `uncancellable`.
    pub(crate) fn end_current(&self, why: &str) -> ! {
        let index = self.current.get();
        let cancellable = self.in_ethread() && self.core.borrow().blocks.get(index).masks == 0;
        // Nothing is borrowed here: a panic hook is user code.
        assert!(cancellable, "{why}");
        self.core
            .borrow_mut()
            .blocks
            .get_mut(index)
            .cancel
            .request();
        self.raise_cancel()
    }

    /// Tells an ethread to end, and wakes it if its wait may be cut short.
    pub(crate) fn cancel(&self, index: u32, id: ThreadId) {
        let mut core = self.core.borrow_mut();
        if let Some(block) = core.blocks.find(index, id) {
            block.cancel.request();
            core.interrupt(index);
        }
    }

    /// Tells an ethread to leave a scope that it is in.
    pub(crate) fn cancel_scope(&self, index: u32, id: ScopeId) {
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        let block = core.blocks.get_mut(index);
        if core.scopes.cancel(block.scope, id) {
            block.cancel.set_scoped(true);
            core.interrupt(index);
        }
    }

    /// Cancels all ethreads, in the order of their places.
    pub(crate) fn cancel_all(&self) {
        let all: Vec<_> = self
            .core
            .borrow()
            .blocks
            .iter()
            .map(|(index, block)| (index, block.id))
            .collect();
        for (index, id) in all {
            self.cancel(index, id);
        }
    }

    /// Unwinds the running ethread: to its root, or to the scope that was cancelled.
    ///
    /// Whoever catches it meets it again at the next suspension point. From the second time on the
    /// others run in between; a loop that never lets go is named, and slowed down.
    #[cold]
    pub(crate) fn raise_cancel(&self) -> ! {
        let index = self.current.get();
        let (raises, scope) = {
            let mut core = self.core.borrow_mut();
            let core = &mut *core;
            let block = core.blocks.get_mut(index);
            let is_for_all = block.cancel.is_requested() && block.masks == 0;
            let scope = core.scopes.cancelled(block.scope).filter(|_| !is_for_all);
            let raises = match scope {
                // Counted by the scope: an ethread may meet many of them in its life.
                Some(scope) => core.scopes.count_raise(block.scope, scope),
                None => {
                    block.cancel.raises = block.cancel.raises.saturating_add(1);
                    block.cancel.raises
                }
            };
            (raises, scope)
        };
        self.hold_up(raises, "was cancelled");
        self.raise(scope, None)
    }

    /// Unwinds the running ethread to the scope whose deadline has passed.
    #[cold]
    pub(crate) fn raise_elapsed(&self) -> ! {
        let owner = self.owner_of_deadline();
        let raises = owner.map_or(0, |(id, _)| {
            let innermost = self.innermost();
            self.core.borrow_mut().scopes.count_raise(innermost, id)
        });
        self.hold_up(raises, "is beyond the deadline of a scope");
        self.raise(owner.map(|(id, _)| id), owner.map(|(_, line)| line))
    }

    /// The error of a call in a scope whose deadline has passed. From the second one on others run
    /// before it; if too many were not heeded, this unwinds.
    #[cold]
    pub(crate) fn elapsed_error(&self) -> io::Error {
        let innermost = self.innermost();
        let errors = self.core.borrow_mut().scopes.count_error(innermost);
        if errors >= STUBBORN {
            self.raise_elapsed();
        }
        self.hold_up(errors, "");
        match self.owner_of_deadline() {
            Some((_, scope)) => Elapsed { scope }.into(),
            None => io::ErrorKind::TimedOut.into(),
        }
    }

    fn raise(&self, scope: Option<ScopeId>, elapsed: Option<&'static Location<'static>>) -> ! {
        let ethread = self.current_id();
        panic::resume_unwind(Box::new(Interrupt {
            ethread,
            scope,
            elapsed,
        }))
    }

    /// Lets others run before an ethread is interrupted that goes on each time.
    fn hold_up(&self, raises: u8, why: &str) {
        let index = self.current.get();
        if raises == STUBBORN {
            let (label, location) = (self.label_of(index), {
                let core = self.core.borrow();
                core.blocks.get(index).reason().location
            });
            // Nothing is borrowed here: a logger is user code. What unwinds from here is the
            // interrupt, and no panic of a logger.
            without_unwinding(|| {
                log::warn!(
                    "ethread {label} {why} and caught it {STUBBORN} times, last at {location}; use \
                     thread::catch_panic instead of catch_unwind in its loop",
                );
            });
        }
        if matches!(index, HOST | SCHEDULER) {
            return;
        }
        // The first time is free within the budget. A scope is new in each round of a loop.
        if raises <= 1
            && let Some(left) = self.budget.get().checked_sub(1)
        {
            self.budget.set(left);
            return;
        }
        {
            let core = &mut *self.core.borrow_mut();
            if raises >= STUBBORN {
                let pause = self.driver.borrow().now() + STUBBORN_PAUSE.as_nanos() as u64;
                // Not that of the wait before: an `unpark` must not end this one, nor a peer.
                let location = core.blocks.get(index).reason().location;
                let reason = Reason {
                    kind: WaitKind::Sleep,
                    detail: 0,
                    location,
                };
                core.blocks.set_reason(index, reason).park += 1;
                core.park_until(index, pause, false);
            } else {
                core.make_ready(index);
            }
        }
        coroutine::suspend();
    }

    /// The innermost scope of whoever runs.
    fn innermost(&self) -> ScopeIndex {
        match self.current.get() {
            SCHEDULER => ScopeIndex::NONE,
            index => self.core.borrow().blocks.get(index).scope,
        }
    }

    /// Bounds an ethread that has not begun by the deadline of a scope that its parent is in.
    pub(crate) fn inherit_into(
        &self,
        index: u32,
        (deadline, location): (u64, &'static Location<'static>),
    ) {
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        let block = core.blocks.get_mut(index);
        let kind = ScopeKind::Deadline(deadline);
        block.scope = core.scopes.enter(block.scope, kind, location).0;
    }

    /// Unwinds whoever runs, if it is to.
    pub(crate) fn raise_if_due(&self) {
        self.raise_if_cancelled();
        if self.has_elapsed() {
            self.raise_elapsed();
        }
    }

    /// Unwinds whoever runs, if it was cancelled.
    pub(crate) fn raise_if_cancelled(&self) {
        let index = self.current.get();
        if index != SCHEDULER && self.core.borrow().interrupt_is_due(index) {
            self.raise_cancel();
        }
    }

    /// The earliest deadline of the scopes around whoever runs, and its line.
    pub(crate) fn scope_deadline(&self) -> Option<(u64, &'static Location<'static>)> {
        let innermost = self.innermost();
        let scopes = &self.core.borrow().scopes;
        let owner = scopes.owner(innermost)?;
        Some((scopes.deadline(innermost), owner.1))
    }

    fn owner_of_deadline(&self) -> Option<(ScopeId, &'static Location<'static>)> {
        let innermost = self.innermost();
        self.core.borrow().scopes.owner(innermost)
    }

    /// Whether the deadline of a scope around whoever runs has passed. Reads the clock only if
    /// there is one.
    pub(crate) fn has_elapsed(&self) -> bool {
        let innermost = self.innermost();
        if innermost == ScopeIndex::NONE {
            return false;
        }
        let deadline = self.core.borrow().scopes.deadline(innermost);
        deadline != NEVER && deadline <= self.clock()
    }

    fn is_within(&self, scope: ScopeId) -> bool {
        let innermost = self.innermost();
        self.core.borrow().scopes.contains(innermost, scope)
    }
}

/// Ends a scope when it is dropped.
pub(crate) struct ScopeGuard {
    /// `None` if there is no scope.
    origin: Option<Origin>,
    id: ScopeId,
}

impl ScopeGuard {
    /// Opens a scope for the code that runs. On the scheduler's side, where nothing waits, it is of
    /// no effect.
    pub(crate) fn enter(
        scheduler: Rc<Scheduler>,
        kind: ScopeKind,
        location: &'static Location<'static>,
    ) -> Self {
        let mut id = 0;
        let origin = Origin::changing(scheduler, |block, scopes| {
            (block.scope, id) = scopes.enter(block.scope, kind, location);
        });
        Self { origin, id }
    }

    pub(crate) fn id(&self) -> ScopeId {
        self.id
    }
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        let Some(origin) = &self.origin else { return };
        origin.with_block(|block, scopes| {
            block.scope = scopes.leave(block.scope, self.id);
            if block.cancel.is_scoped() {
                let scoped = scopes.any_cancelled(block.scope);
                block.cancel.set_scoped(scoped);
            }
        });
    }
}

/// Keeps cancels and scopes away from the code that runs, until it is dropped.
pub(crate) struct Mask {
    /// `None` if there was nothing to be kept away.
    _scope: Option<ScopeGuard>,
    /// `None` if nothing is masked.
    origin: Option<Origin>,
}

impl Mask {
    pub(crate) fn new(scheduler: Rc<Scheduler>, location: &'static Location<'static>) -> Self {
        let mut is_in_scope = false;
        let origin = Origin::changing(scheduler, |block, _| {
            block.masks += 1;
            is_in_scope = block.scope != ScopeIndex::NONE;
        });
        let origin_of_scope = origin.as_ref().filter(|_| is_in_scope);
        Self {
            _scope: origin_of_scope.map(|origin| {
                ScopeGuard::enter(origin.scheduler().clone(), ScopeKind::Mask, location)
            }),
            origin,
        }
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        if let Some(origin) = &self.origin {
            origin.with_block(|block, _| block.masks -= 1);
        }
    }
}
