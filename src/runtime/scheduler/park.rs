//! The only way to block and the only way to wake.

use std::cell::Cell;
use std::io;
use std::panic::Location;
use std::time::Duration;

use super::current;
use super::deadlock::StuckReport;
use super::event_loop::{BUDGET, Goal, SCHEDULER, Scheduler};
use crate::runtime::base::wait::{
    CallSite, HOST, Outcome, Reason, Token, WaitKind, deadline_after,
};
use crate::runtime::driver::monotonic_now;
use crate::runtime::stack::coroutine::{self, YieldOutcome};
use crate::runtime::state::control_block::{RunState, ThreadId};

/// A thread was asked to wait while it unwinds. std counts panics per OS thread, so an unwinding
/// thread must not switch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unwinding;

/// A wait that has begun. It has a token; any holder of the token can end the wait, even before the
/// park.
pub(crate) struct Wait<'a> {
    scheduler: &'a Scheduler,
    token: Token,
}

impl Scheduler {
    /// Begins a wait of the running code: an ethread, or the OS thread's own code outside of `run`.
    ///
    /// # Panics
    ///
    /// Panics on the scheduler's side, where nothing can wait: the closure of `suspend` and the
    /// switch hook run there.
    pub(crate) fn begin_wait(&self, reason: Reason) -> Result<Wait<'_>, Unwinding> {
        // First, before anything can panic: a panic in a destructor or a panic hook aborts the
        // process.
        if std::thread::panicking() {
            return Err(Unwinding);
        }
        let index = self.current.get();
        if index == SCHEDULER {
            scheduler_side(reason);
        }
        let mut core = self.core.borrow_mut();
        let block = core.blocks.set_reason(index, reason);
        block.begin_wait();
        let token = block.token(index);
        Ok(Wait {
            scheduler: self,
            token,
        })
    }

    /// Whether the running code may leave its stack: it is an ethread that does not unwind.
    #[inline]
    pub(crate) fn can_leave(&self) -> bool {
        self.in_ethread() && !std::thread::panicking()
    }

    /// Begins a wait and parks in one step; `None` if the ethread was cancelled. The running
    /// ethread must leave its stack next, either to be woken on it or as its last act (see
    /// [`Wait::park_stackless`]).
    #[inline(always)]
    pub(crate) fn park_now(&self, reason: Reason, deadline: u64) -> Option<Token> {
        debug_assert!(self.can_leave());
        let index = self.current.get();
        self.core.borrow_mut().park_now(index, reason, deadline)
    }

    /// Ends a park of this shard; false if the park has ended already.
    #[inline(always)]
    pub(crate) fn wake(&self, token: Token) -> bool {
        self.core.borrow_mut().wake(token, Outcome::Woken)
    }

    /// Whether this park has begun and nothing has ended it.
    pub(crate) fn is_parked(&self, token: Token) -> bool {
        let core = self.core.borrow();
        let block = core.blocks.get(token.index);
        block.park == token.park && block.state == RunState::Parked
    }

    /// Aborts the process: an infallible call would have to wait while its ethread unwinds, and
    /// going on silently would be a deadlock.
    #[cold]
    pub(crate) fn abort_unwinding(&self, call: &str, location: CallSite) -> ! {
        let label = self.label_of(self.current_place());
        let text = format!(
            "ethread {label} called `{call}` at {location} while it unwinds, and would have to \
             wait; spawn an ethread for cleanup that waits"
        );
        // Before the logger: a panic in the logger would end the process without this text.
        eprintln!("{text}");
        log::error!("{text}");
        std::process::abort()
    }

    /// How the last wait of the running code has ended.
    #[inline]
    pub(crate) fn outcome(&self) -> Outcome {
        self.core.borrow().blocks.get(self.current.get()).outcome
    }

    /// Unwinds if the wait was cut short; true if it was woken, false if it reached its deadline.
    #[inline]
    pub(crate) fn check_interrupt(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Woken => true,
            Outcome::TimedOut => false,
            Outcome::Elapsed => self.raise_elapsed(),
            Outcome::Cancelled => self.raise_cancel(),
        }
    }

    /// Yields where a cancel or a scope may interrupt the ethread.
    ///
    /// The other ethreads get their turns before an elapsed deadline unwinds. Otherwise a loop
    /// whose time slice is over at every yield would let nothing else run.
    fn yield_checking(&self, location: CallSite) {
        self.raise_if_cancelled();
        self.leave_for_turn(location);
        self.raise_if_due();
    }

    /// Puts the running ethread at the end of the run queue, and leaves its stack.
    fn leave_for_turn(&self, location: CallSite) {
        let index = self.current.get();
        let mut core = self.core.borrow_mut();
        core.blocks.get_mut(index).yields_at(location);
        core.make_ready(index);
        drop(core);
        coroutine::suspend();
    }

    fn yield_host(&self, location: CallSite) {
        let reason = Reason::new(WaitKind::Yield, location);
        if self.on_scheduler_side() {
            scheduler_side(reason);
        }
        if let Err(error) = self.drive_once() {
            host_is_stuck(&reason, &StuckReport::Io(error));
        }
        self.raise_if_due();
    }

    /// Counts an operation that is about to be tried, and yields when the budget is used up, so
    /// that an ethread whose peer is always ready still lets the other ethreads run.
    ///
    /// # Errors
    ///
    /// `TimedOut`: the yield is a suspension point, so it fails in a scope whose deadline has
    /// passed.
    #[inline]
    pub(crate) fn spend_budget(&self, location: CallSite) -> io::Result<()> {
        match self.budget.get() {
            0 => self.renew_budget(location),
            left => {
                self.budget.set(left - 1);
                Ok(())
            }
        }
    }

    /// Counts an operation as [`spend_budget`](Self::spend_budget) does, for a call that unwinds
    /// where `spend_budget` returns an error.
    #[inline]
    pub(crate) fn spend_or_unwind(&self, location: CallSite) {
        match self.budget.get() {
            0 => self.renew_or_unwind(location),
            left => self.budget.set(left - 1),
        }
    }

    // Not inlined: a function that leaves its stack saves all registers; the callers need not.
    #[inline(never)]
    fn renew_or_unwind(&self, location: CallSite) {
        if self.takes_turn() {
            yield_now(location);
        }
    }

    /// Which of the events that the running code has waited for has woken it; see [`Token`].
    pub(crate) fn case_of_wake(&self) -> u32 {
        self.core.borrow().blocks.get(self.current.get()).case()
    }

    /// A number below `count`, a different one each time, for choices that must be fair.
    pub(crate) fn pick(&self, count: u32) -> u32 {
        if count < 2 {
            return 0;
        }
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        // The fractional part of `turn` times the golden ratio, scaled to `count`. Every second or
        // every third turn alone also covers all numbers, so alternating choices do not starve each
        // other. The low bits would not do: each depends only on the low bits of `turn`.
        let share = u64::from(turn.wrapping_mul(0x9E37_79B9));
        ((share * u64::from(count)) >> 32) as u32
    }

    /// Yields within a call that fails with `TimedOut` once a scope's deadline has passed. The OS
    /// thread's own code only checks for that.
    fn yield_io(&self, location: CallSite) -> io::Result<()> {
        self.raise_if_cancelled();
        if self.current.get() != HOST {
            self.leave_for_turn(location);
            self.raise_if_cancelled();
        }
        if self.has_elapsed() {
            return Err(self.elapsed_error());
        }
        Ok(())
    }

    fn renew_budget(&self, location: CallSite) -> io::Result<()> {
        if !self.takes_turn() {
            return Ok(());
        }
        self.yield_io(location)
    }

    /// Renews the budget; returns whether the running code can yield.
    fn takes_turn(&self) -> bool {
        self.budget.set(BUDGET);
        let can_yield = !self.on_scheduler_side() && !std::thread::panicking();
        self.metrics.budget_yields.add(u64::from(can_yield));
        can_yield
    }

    /// `Thread::unpark`: ends a `thread::park`, or makes the next one return at once.
    pub(crate) fn unpark(&self, index: u32, id: ThreadId) {
        let mut core = self.core.borrow_mut();
        let Some(block) = core.blocks.find(index, id) else {
            return;
        };
        if block.state == RunState::Parked && block.reason().kind == WaitKind::Park {
            let token = block.token(index);
            core.wake(token, Outcome::Woken);
        } else {
            block.permit = true;
        }
    }

    /// `thread::park`: parks the running ethread until an `unpark` or until `deadline`, unless an
    /// `unpark` has come before. False if the ethread must not call [`leave`].
    #[inline(never)]
    pub(crate) fn begin_until_unparked(&self, deadline: u64, location: CallSite) -> bool {
        let reason = Reason::new(WaitKind::Park, location);
        if !self.can_leave() {
            self.park_elsewhere(deadline, reason);
            return false;
        }
        let index = self.current.get();
        let mut core = self.core.borrow_mut();
        if std::mem::take(&mut core.blocks.get_mut(index).permit) {
            return false;
        }
        if core.park_now(index, reason, deadline).is_none() {
            drop(core);
            self.raise_cancel();
        }
        true
    }

    /// As [`begin_until_unparked`](Self::begin_until_unparked), where no ethread runs or the
    /// running ethread unwinds.
    #[cold]
    fn park_elsewhere(&self, deadline: u64, reason: Reason) {
        let index = self.current.get();
        let take = || std::mem::take(&mut self.core.borrow_mut().blocks.get_mut(index).permit);
        if index != SCHEDULER && take() {
            return;
        }
        if let Ok(wait) = self.begin_wait(reason) {
            wait.park_or_unwind(deadline);
        }
    }
}

impl Wait<'_> {
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Waits until the token is woken, `deadline` passes on the driver's clock, or the ethread is
    /// cancelled. On the OS thread's own side the shard is driven meanwhile.
    ///
    /// Inlined, for the reason given at [`yield_now`].
    #[inline(always)]
    pub(crate) fn park(self, deadline: u64) -> Outcome {
        if let Some(outcome) = self.begin(deadline) {
            return outcome;
        }
        coroutine::suspend();
        self.scheduler.outcome()
    }

    /// Waits as [`Wait::park`] does, and unwinds if the wait was cancelled; true if it was woken,
    /// false if it reached the deadline.
    #[inline(always)]
    pub(crate) fn park_or_unwind(self, deadline: u64) -> bool {
        let scheduler = self.scheduler;
        scheduler.check_interrupt(self.park(deadline))
    }

    /// Waits as [`Wait::park`] does. On the OS thread's own side, a wait that can never end is
    /// given up and reported as an error.
    pub(crate) fn park_or_stuck(self, deadline: u64) -> Result<Outcome, StuckReport> {
        if self.token.index != HOST {
            return Ok(self.park(deadline));
        }
        if let Some(outcome) = self.begin_park(deadline) {
            return Ok(outcome);
        }
        self.scheduler
            .drive_host()
            .map(|()| self.scheduler.outcome())
    }

    /// Parks first and then calls `after` on the scheduler's side. `after` must not unwind. If the
    /// wait is over before the park, `after` is not called.
    #[inline(always)]
    pub(crate) fn park_then(self, deadline: u64, after: &mut dyn FnMut()) -> Outcome {
        if let Some(outcome) = self.begin_park(deadline) {
            return outcome;
        }
        let scheduler = self.scheduler;
        if self.token.index == HOST {
            scheduler.park_host(Some(after));
        } else {
            coroutine::suspend_then(&mut || {
                scheduler.current.set(SCHEDULER);
                after();
            });
        }
        scheduler.outcome()
    }

    /// The part of [`Wait::park`] before the switch: marks the running code as parked. `Some` if
    /// the wait is over, so that the ethread must not leave its stack. The OS thread's own code
    /// waits in here.
    #[inline(never)]
    fn begin(&self, deadline: u64) -> Option<Outcome> {
        if let Some(outcome) = self.begin_park(deadline) {
            return Some(outcome);
        }
        (self.token.index == HOST).then(|| {
            self.scheduler.park_host(None);
            self.scheduler.outcome()
        })
    }

    /// Parks the running ethread as its last act on this stack: its root returns
    /// [`Ending::Resting`] right after, without dropping anything, and runs again once it is woken.
    /// `Some` if the wait is over already; the ethread then goes on.
    ///
    /// [`Ending::Resting`]: crate::runtime::stack::coroutine::Ending::Resting
    #[cfg(feature = "http")]
    pub(crate) fn park_stackless(self, deadline: u64) -> Option<Outcome> {
        debug_assert_ne!(
            self.token.index, HOST,
            "the OS thread's own code has one stack"
        );
        self.begin_park(deadline)
    }

    /// Marks the running code as parked, unless the wait is over already.
    #[inline]
    fn begin_park(&self, deadline: u64) -> Option<Outcome> {
        let index = self.token.index;
        let mut core = self.scheduler.core.borrow_mut();
        let block = core.blocks.get_mut(index);
        debug_assert_eq!(block.park, self.token.park, "one wait at a time");
        if block.cancel.may_be_due() && core.interrupt_is_due(index) {
            core.blocks.get_mut(index).spent = true;
            return Some(Outcome::Cancelled);
        }
        let block = core.blocks.get_mut(index);
        if block.spent {
            return Some(Outcome::Woken);
        }
        core.set_parked(index, deadline);
        None
    }
}

impl Scheduler {
    #[cold]
    fn park_host(&self, after: Option<&mut dyn FnMut()>) {
        if let Some(after) = after {
            self.current.set(SCHEDULER);
            after();
            self.current.set(HOST);
        }
        if let Err(report) = self.drive_host() {
            let reason = self.core.borrow().blocks.get(HOST).reason();
            host_is_stuck(&reason, &report);
        }
    }

    /// Drives the shard until the wait of the OS thread's own code is over. A wait that can never
    /// end is given up.
    fn drive_host(&self) -> Result<(), StuckReport> {
        self.drive(&Goal::HostWoken).map_err(|stuck| {
            let report = self.report(stuck);
            let mut core = self.core.borrow_mut();
            let token = core.blocks.get(HOST).token(HOST);
            core.wake(token, Outcome::Cancelled);
            report
        })
    }
}

/// Ends a [`leave`] that [`Scheduler::begin_until_unparked`] has asked for.
#[inline(never)]
pub(crate) fn end_until_unparked() {
    current::with(|scheduler| {
        scheduler.map(|scheduler| scheduler.check_interrupt(scheduler.outcome()))
    });
}

thread_local! {
    /// The call site of the yield for which the ethread has left its stack.
    static TURN_AT: Cell<CallSite> = const { Cell::new(Location::caller()) };
}

/// The call site of the most recent yield.
#[inline(always)]
pub(in crate::runtime) fn turn_at() -> CallSite {
    TURN_AT.get()
}

/// Lets all other ready ethreads run first. Only a cancel, or the deadline of a scope, unwinds from
/// here.
///
/// The switch is inlined into the caller's frame. A processor predicts the target of a `ret` from
/// the `call`s that it has seen; after a switch, that prediction fails for each frame that returns.
#[inline(always)]
pub(crate) fn yield_now(location: CallSite) {
    if std::thread::panicking() {
        return;
    }
    TURN_AT.set(location);
    // The scheduler's side has the control block at hand, so it pushes it to the run queue.
    match coroutine::suspend_for_turn() {
        YieldOutcome::Taken => {}
        unlike => yield_otherwise(unlike, location),
    }
}

#[cold]
fn yield_otherwise(turn: YieldOutcome, location: CallSite) {
    current::with(|scheduler| match (scheduler, turn) {
        (Some(scheduler), YieldOutcome::NotHere) => scheduler.yield_host(location),
        (Some(scheduler), _) => scheduler.yield_checking(location),
        (None, _) => std::thread::yield_now(),
    });
}

/// Leaves the stack of a parked ethread until the ethread is woken.
///
/// Inlined, for the reason given at [`yield_now`]. Its callers must be inlined too, and must not be
/// closures, which often get a frame of their own.
#[inline(always)]
pub(crate) fn leave() {
    coroutine::suspend();
}

/// Waits for `duration`; see `thread::sleep`.
pub(crate) fn sleep(duration: Duration, location: CallSite) {
    current::with(|scheduler| match scheduler {
        Some(scheduler) => {
            let now = scheduler.clock();
            scheduler.sleep(now, deadline_after(now, duration), location);
        }
        None => std::thread::sleep(duration),
    });
}

/// Pauses within a call that fails with `TimedOut` once a scope's deadline has passed.
pub(crate) fn pause(duration: Duration, location: CallSite) -> io::Result<()> {
    current::with(|scheduler| {
        let Some(scheduler) = scheduler else {
            std::thread::sleep(duration);
            return Ok(());
        };
        if duration.is_zero() && scheduler.can_leave() {
            return scheduler.yield_io(location);
        }
        let deadline = deadline_after(scheduler.clock(), duration);
        let reason = Reason::new(WaitKind::Sleep, location);
        let Ok(wait) = scheduler.begin_wait(reason) else {
            return Ok(());
        };
        match wait.park(deadline) {
            Outcome::Woken | Outcome::TimedOut => Ok(()),
            Outcome::Elapsed => Err(scheduler.elapsed_error()),
            Outcome::Cancelled => scheduler.raise_cancel(),
        }
    })
}

/// Waits until `deadline`; see `thread::sleep_until`.
pub(crate) fn sleep_until(deadline: u64, location: CallSite) {
    current::with(|scheduler| match scheduler {
        Some(scheduler) => scheduler.sleep(scheduler.clock(), deadline, location),
        None => {
            let left = deadline.saturating_sub(monotonic_now());
            std::thread::sleep(Duration::from_nanos(left));
        }
    });
}

impl Scheduler {
    fn sleep(&self, now: u64, deadline: u64, location: CallSite) {
        if deadline <= now {
            return yield_now(location);
        }
        let reason = Reason::new(WaitKind::Sleep, location);
        if let Ok(wait) = self.begin_wait(reason) {
            wait.park_or_unwind(deadline);
        }
    }
}

#[cold]
fn scheduler_side(reason: Reason) -> ! {
    panic!(
        "a wait for {reason} at {} on the scheduler's side: the closure given to `suspend`, and a \
         switch hook, run between the ethreads, where nothing can wait; spawn an ethread for it",
        reason.location
    )
}

#[cold]
fn host_is_stuck(reason: &Reason, report: &StuckReport) -> ! {
    let location = reason.location;
    match report {
        StuckReport::Deadlock(deadlock) => panic!(
            "the wait for {reason} at {location} can never end: nothing is ready, and nothing is \
             left that could wake anything\n{deadlock}",
        ),
        StuckReport::Io(error) => panic!("the wait for {reason} at {location} failed: {error}"),
    }
}
