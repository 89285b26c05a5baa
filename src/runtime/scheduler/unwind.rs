//! What ends a wait from outside: cancels and the deadlines of scopes, and how they unwind.
//!
//! An interrupt unwinds with a private payload that has an address: the root of its ethread, or a
//! scope in that ethread. Only the addressed boundary turns the payload into a value; every other
//! boundary passes it on. In a different ethread the payload is an ordinary panic.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use super::current;
use super::event_loop::{SCHEDULER, Scheduler};
use super::origin::Origin;
use crate::runtime::base::error::Elapsed;
use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::wait::{CallSite, HOST, NEVER, Reason, WaitKind};
use crate::runtime::stack::coroutine;
use crate::runtime::state::control_block::ThreadId;
use crate::runtime::state::scopes::{ScopeId, ScopeIndex, ScopeKind, ScopePlace, count_up};

/// From this unwinding on, an ethread that catches each interrupt is reported and slowed down. From
/// this error of a scope's deadline on, a call unwinds instead of returning the error.
const STUBBORN: u8 = 16;

/// The pause before each further interrupt of a stubborn ethread.
const STUBBORN_PAUSE: Duration = Duration::from_millis(100);

/// The payload of an interrupt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt {
    ethread: ThreadId,
    /// The scope to end; `None` to end the ethread.
    scope: Option<ScopeId>,
    /// Where the scope was opened, if its deadline has passed.
    elapsed: Option<CallSite>,
}

/// What a payload means to the boundary that it has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressed {
    /// Not an interrupt, or one of another ethread, or of a scope that has ended: a panic.
    Nowhere,
    /// Goes on, to the root or to an outer scope.
    Outward,
    /// This scope.
    Here,
}

impl Interrupt {
    fn of(payload: &(dyn Any + Send)) -> Option<Self> {
        payload.downcast_ref().copied()
    }
}

/// Whether a payload is an interrupt that must pass code that catches panics in the running
/// ethread. An interrupt carried here from another ethread is an ordinary panic.
pub(crate) fn passes(payload: &(dyn Any + Send)) -> bool {
    addressed(payload, 0) == Addressed::Outward
}

/// What a payload means to a scope of the running ethread.
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

/// How an interrupt ends the running ethread, at its root; `None` if the payload is no such
/// interrupt.
pub(crate) fn at_root(payload: &(dyn Any + Send)) -> Option<AtRoot> {
    let interrupt = Interrupt::of(payload)?;
    match (interrupt.scope, interrupt.elapsed) {
        _ if !passes(payload) => None,
        (None, _) => Some(AtRoot::Cancelled),
        // The scope of the parent, whose deadline the ethread has inherited.
        (Some(_), Some(scope)) => Some(AtRoot::Elapsed(Elapsed { scope })),
        (Some(_), None) => None,
    }
}

/// Calls `f`, which unwinds at a scope's deadline, on behalf of a call that returns errors: where a
/// scope's deadline has passed, the call fails like any other I/O.
///
/// # Errors
///
/// The errors of `f`; `TimedOut` with the source [`Elapsed`].
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
    /// Unwinds the running ethread as if its handle had cancelled it.
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
        let mut core = self.core.borrow_mut();
        core.blocks.get_mut(index).cancel.request();
        drop(core);
        self.raise_cancel()
    }

    /// Requests the end of an ethread, and wakes it if its wait may be cut short.
    pub(crate) fn cancel(&self, index: u32, id: ThreadId) {
        let mut core = self.core.borrow_mut();
        if let Some(block) = core.blocks.find(index, id) {
            block.cancel.request();
            core.interrupt(index);
        }
    }

    /// Requests that an ethread leave a scope that it is in.
    pub(crate) fn cancel_scope(&self, index: u32, id: ScopeId) {
        let core = &mut *self.core.borrow_mut();
        let block = core.blocks.get_mut(index);
        if core.scopes.cancel(block.scope, id) {
            block.cancel.set_scoped(true);
            core.interrupt(index);
        }
    }

    /// Requests that an ethread leave a scope that is open.
    pub(crate) fn cancel_scope_at(&self, place: ScopePlace) {
        self.cancel_scope(place.ethread, place.scope);
    }

    /// Cancels all ethreads, in the order of their places in the slab.
    pub(crate) fn cancel_all(&self) {
        let core = self.core.borrow();
        let blocks = core.blocks.iter();
        let all: Vec<_> = blocks.map(|(index, block)| (index, block.id)).collect();
        drop(core);
        for (index, id) in all {
            self.cancel(index, id);
        }
    }

    /// Unwinds the running ethread to its root, or to the scope that was cancelled.
    ///
    /// An ethread that catches the interrupt is interrupted again at its next suspension point.
    /// From the second time on, the other ethreads run in between. An ethread that catches it again
    /// and again is logged and slowed down.
    #[cold]
    pub(crate) fn raise_cancel(&self) -> ! {
        let index = self.current.get();
        let (raises, scope) = {
            let core = &mut *self.core.borrow_mut();
            let block = core.blocks.get_mut(index);
            let is_for_all = block.cancel.is_requested() && block.masks == 0;
            let scope = core.scopes.cancelled(block.scope).filter(|_| !is_for_all);
            let raises = match scope {
                // Counted by the scope: an ethread may go through many cancelled scopes in its
                // life.
                Some(scope) => core.scopes.count_raise(block.scope, scope),
                None => count_up(&mut block.cancel.raises),
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
        let innermost = self.innermost();
        let count = |(id, _)| self.core.borrow_mut().scopes.count_raise(innermost, id);
        let raises = owner.map_or(0, count);
        self.hold_up(raises, "is beyond the deadline of a scope");
        self.raise(owner.map(|(id, _)| id), owner.map(|(_, line)| line))
    }

    /// The error of a call in a scope whose deadline has passed. From the second error on, other
    /// ethreads run before it is returned. After too many ignored errors, this unwinds.
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

    fn raise(&self, scope: Option<ScopeId>, elapsed: Option<CallSite>) -> ! {
        let ethread = self.current_id();
        panic::resume_unwind(Box::new(Interrupt {
            ethread,
            scope,
            elapsed,
        }))
    }

    /// Lets other ethreads run before the next interrupt of an ethread that catches them.
    fn hold_up(&self, raises: u8, why: &str) {
        let index = self.current.get();
        if raises == STUBBORN {
            let label = self.label_of(index);
            let location = self.core.borrow().blocks.get(index).reason().location;
            // Nothing is borrowed here: a logger is user code. Only the interrupt may unwind from
            // here, not a panic of the logger.
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
        // The first time costs only budget. A loop may open a new scope, which counts anew, in each
        // round.
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
                // Not the reason of the wait before: neither an `unpark` nor a peer may end this
                // wait.
                let location = core.blocks.get(index).reason().location;
                let reason = Reason::new(WaitKind::Sleep, location);
                core.blocks.set_reason(index, reason).park += 1;
                core.park_until(index, pause, false);
            } else {
                core.make_ready(index);
            }
        }
        coroutine::suspend();
    }

    /// The innermost scope of the running code.
    fn innermost(&self) -> ScopeIndex {
        match self.current.get() {
            SCHEDULER => ScopeIndex::NONE,
            index => self.core.borrow().blocks.get(index).scope,
        }
    }

    /// Bounds an ethread that has not begun by the deadline of a scope that its parent is in.
    pub(crate) fn inherit_into(&self, index: u32, (deadline, location): (u64, CallSite)) {
        let core = &mut *self.core.borrow_mut();
        let block = core.blocks.get_mut(index);
        let kind = ScopeKind::Deadline(deadline);
        block.scope = core.scopes.enter(block.scope, kind, location).0;
    }

    /// Unwinds the running code if it was cancelled or its scope's deadline has passed.
    pub(crate) fn raise_if_due(&self) {
        self.raise_if_cancelled();
        if self.has_elapsed() {
            self.raise_elapsed();
        }
    }

    /// Unwinds the running code if it was cancelled.
    pub(crate) fn raise_if_cancelled(&self) {
        let index = self.current.get();
        if index != SCHEDULER && self.core.borrow().interrupt_is_due(index) {
            self.raise_cancel();
        }
    }

    /// The earliest deadline of the scopes around the running code, and where that scope was
    /// opened.
    pub(crate) fn scope_deadline(&self) -> Option<(u64, CallSite)> {
        let innermost = self.innermost();
        let scopes = &self.core.borrow().scopes;
        let owner = scopes.owner(innermost)?;
        Some((scopes.deadline(innermost), owner.1))
    }

    fn owner_of_deadline(&self) -> Option<(ScopeId, CallSite)> {
        let innermost = self.innermost();
        self.core.borrow().scopes.owner(innermost)
    }

    /// Whether the deadline of a scope around the running code has passed. Reads the clock only if
    /// there is a deadline.
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
    /// Opens a scope for the running code. On the scheduler's side, where nothing waits, it has no
    /// effect.
    pub(crate) fn enter(scheduler: Rc<Scheduler>, kind: ScopeKind, location: CallSite) -> Self {
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

/// Runs `f` in a scope of its own, which `watch` is told of; what it returns is dropped when the
/// scope ends. `None` if `f` was unwound because the scope was cancelled.
#[cfg(feature = "http")]
pub(crate) fn in_scope<W, R>(
    location: CallSite,
    watch: impl FnOnce(&Rc<Scheduler>, ScopePlace) -> W,
    f: impl FnOnce() -> R,
) -> Option<R> {
    let scheduler = current::expect_for("ethread to open a scope, and no scheduler");
    let scope = ScopeGuard::enter(scheduler.clone(), ScopeKind::Group, location);
    let place = ScopePlace {
        ethread: scheduler.current_place(),
        scope: scope.id(),
    };
    let watch = watch(&scheduler, place);
    // As after any other early return; see `time::timeout`.
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    drop(watch);
    match result {
        Ok(value) => Some(value),
        Err(payload) if addressed(&*payload, scope.id()) == Addressed::Here => None,
        Err(payload) => {
            drop(scope);
            panic::resume_unwind(payload)
        }
    }
}

/// Shields the running code from cancels and scopes until it is dropped.
pub(crate) struct Mask {
    /// `None` if the code is in no scope.
    _scope: Option<ScopeGuard>,
    /// `None` if nothing is masked.
    origin: Option<Origin>,
}

impl Mask {
    pub(crate) fn new(scheduler: Rc<Scheduler>, location: CallSite) -> Self {
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
