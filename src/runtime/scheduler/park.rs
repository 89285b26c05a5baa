//! The one way to block and the one way to wake.

use std::cell::Cell;
use std::io;
use std::panic::Location;
use std::time::Duration;

use super::current;
use super::deadlock::StuckReport;
use super::event_loop::{BUDGET, Goal, SCHEDULER, Scheduler};
use crate::runtime::base::wait::{HOST, Outcome, Reason, Token, WaitKind, deadline_after};
use crate::runtime::driver::monotonic_now;
use crate::runtime::stack::coroutine::{self, Turn};
use crate::runtime::state::control_block::{State, ThreadId};

/// A thread that is unwinding was asked to wait. std counts panics per OS thread, so it must not
/// switch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unwinding;

/// A wait that has begun: it has a token, and whoever is given the token can end it, also before
/// the park.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    scheduler: &'a Scheduler,
    token: Token,
}

impl Scheduler {
    /// Begins a wait of whoever runs: an ethread, or the OS thread outside of `run`.
    ///
    /// # Panics
    ///
    /// Panics on the scheduler's side: the closure of `suspend` runs there, where nobody can wait.
    pub(crate) fn begin_wait(&self, reason: Reason) -> Result<Wait<'_>, Unwinding> {
        // First of all: a panic in a destructor, or in a panic hook, would abort the process.
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

    /// Whether who runs may leave its stack: an ethread that does not unwind.
    #[inline]
    pub(crate) fn can_leave(&self) -> bool {
        self.in_ethread() && !std::thread::panicking()
    }

    /// Begins a wait and parks, all at once; `None` if it was cancelled. The ethread that runs has
    /// to leave its stack next: to be woken there, or as its last act (see [`Wait::rest`]).
    #[inline(always)]
    pub(crate) fn park_now(&self, reason: Reason, deadline: u64) -> Option<Token> {
        debug_assert!(self.can_leave());
        let index = self.current.get();
        self.core.borrow_mut().park_now(index, reason, deadline)
    }

    /// Ends a park of this shard; false if it has ended already.
    #[inline(always)]
    pub(crate) fn wake(&self, token: Token) -> bool {
        self.core.borrow_mut().wake(token, Outcome::Woken)
    }

    /// Whether this park has begun and nothing has ended it.
    pub(crate) fn is_parked(&self, token: Token) -> bool {
        let core = self.core.borrow();
        let block = core.blocks.get(token.index);
        block.park == token.park && block.state == State::Parked
    }

    /// Ends the process: a call without a way to say no would have to wait while its ethread
    /// unwinds, and to go on silently would be a deadlock.
    #[cold]
    pub(crate) fn abort_unwinding(&self, call: &str, location: &'static Location<'static>) -> ! {
        let label = self.label_of(self.current_place());
        let text = format!(
            "ethread {label} called `{call}` at {location} while it unwinds, and would have to \
             wait; spawn an ethread for cleanup that waits"
        );
        // Before the logger: its panic would end the process without a word of this.
        eprintln!("{text}");
        log::error!("{text}");
        std::process::abort()
    }

    /// How the last wait of whoever runs has ended.
    #[inline]
    pub(crate) fn outcome(&self) -> Outcome {
        self.core.borrow().blocks.get(self.current.get()).outcome
    }

    /// Unwinds if a wait was cut short; true if it was woken, false at its deadline.
    #[inline]
    pub(crate) fn check_interrupt(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Woken => true,
            Outcome::TimedOut => false,
            Outcome::Elapsed => self.raise_elapsed(),
            Outcome::Cancelled => self.raise_cancel(),
        }
    }

    /// Yields where a cancel or a scope may be against it.
    ///
    /// The others have their turns before a deadline unwinds: a loop whose time slices are over
    /// whenever it yields would let nothing else run.
    fn yield_checking(&self, location: &'static Location<'static>) {
        self.raise_if_cancelled();
        self.leave_for_turn(location);
        self.raise_if_due();
    }

    /// Puts the running ethread behind the others that are ready, and leaves its stack.
    fn leave_for_turn(&self, location: &'static Location<'static>) {
        let index = self.current.get();
        let mut core = self.core.borrow_mut();
        core.blocks.get_mut(index).yields_at(location);
        core.make_ready(index);
        drop(core);
        coroutine::suspend();
    }

    fn yield_host(&self, location: &'static Location<'static>) {
        let reason = Reason {
            kind: WaitKind::Yield,
            detail: 0,
            location,
        };
        if self.on_scheduler_side() {
            scheduler_side(reason);
        }
        if let Err(error) = self.drive_once() {
            host_is_stuck(&reason, &StuckReport::Io(error));
        }
        self.raise_if_due();
    }

    /// Counts an operation that is about to be tried, and yields when the budget is used up, so
    /// that an ethread whose peer is always ready still lets the others run.
    ///
    /// # Errors
    ///
    /// That yield is a suspension point: an ethread in a scope whose deadline has passed gets no
    /// further.
    #[inline]
    pub(crate) fn spend_budget(&self, location: &'static Location<'static>) -> io::Result<()> {
        match self.budget.get() {
            0 => self.renew_budget(location),
            left => {
                self.budget.set(left - 1);
                Ok(())
            }
        }
    }

    /// Counts an operation as [`spend_budget`](Self::spend_budget) does, for a call that unwinds
    /// where the yield must not go on.
    #[inline]
    pub(crate) fn spend_or_unwind(&self, location: &'static Location<'static>) {
        match self.budget.get() {
            0 => self.renew_or_unwind(location),
            left => self.budget.set(left - 1),
        }
    }

    // Not inlined: who leaves its stack saves all registers, which its callers need not.
    #[inline(never)]
    fn renew_or_unwind(&self, location: &'static Location<'static>) {
        self.budget.set(BUDGET);
        if self.current.get() != SCHEDULER {
            yield_now(location);
        }
    }

    /// Which of the things that whoever runs has waited for has woken it; see [`Token`].
    pub(crate) fn case_of_wake(&self) -> u32 {
        self.core.borrow().blocks.get(self.current.get()).case()
    }

    /// A number below `count`, another one each time: for those who are to have their turns.
    pub(crate) fn pick(&self, count: u32) -> u32 {
        if count < 2 {
            return 0;
        }
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        // The fraction of a turn's multiple of the golden ratio, as a share of the things. So also
        // every second turn, or every third, goes through all of them, and choices that alternate
        // do not take each other's. The low bits would not do: each follows from those of `turn`.
        let share = u64::from(turn.wrapping_mul(0x9E37_79B9));
        ((share * u64::from(count)) >> 32) as u32
    }

    /// Yields within a call that fails with `TimedOut` once a scope's deadline has passed; the OS
    /// thread's own code only looks for that.
    fn yield_io(&self, location: &'static Location<'static>) -> io::Result<()> {
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

    fn renew_budget(&self, location: &'static Location<'static>) -> io::Result<()> {
        self.budget.set(BUDGET);
        if self.current.get() == SCHEDULER || std::thread::panicking() {
            return Ok(());
        }
        self.yield_io(location)
    }

    /// `Thread::unpark`: ends a `thread::park`, or lets the next one return at once.
    pub(crate) fn unpark(&self, index: u32, id: ThreadId) {
        let mut core = self.core.borrow_mut();
        let Some(block) = core.blocks.find(index, id) else {
            return;
        };
        if block.state == State::Parked && block.reason().kind == WaitKind::Park {
            let token = block.token(index);
            core.wake(token, Outcome::Woken);
        } else {
            block.permit = true;
        }
    }

    /// `thread::park`: parks the running ethread until an `unpark`, unless one has come before, or
    /// until `deadline`; false if it is not to [`leave`].
    #[inline(never)]
    pub(crate) fn begin_until_unparked(
        &self,
        deadline: u64,
        location: &'static Location<'static>,
    ) -> bool {
        let reason = Reason {
            kind: WaitKind::Park,
            detail: 0,
            location,
        };
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

    /// As [`begin_until_unparked`](Self::begin_until_unparked), where no ethread runs, or one that
    /// unwinds.
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

    /// Waits until somebody wakes the token, `deadline` passes on the driver's clock, or a cancel
    /// comes. On the OS thread's own side the shard is driven meanwhile.
    ///
    /// Inlined, for the reason that [`yield_now`] gives.
    #[inline(always)]
    pub(crate) fn park(self, deadline: u64) -> Outcome {
        if let Some(outcome) = self.begin(deadline) {
            return outcome;
        }
        coroutine::suspend();
        self.scheduler.outcome()
    }

    /// Waits like [`Wait::park`], and unwinds if it was cancelled; true if it was woken, false at
    /// the deadline.
    #[inline(always)]
    pub(crate) fn park_or_unwind(self, deadline: u64) -> bool {
        let scheduler = self.scheduler;
        scheduler.check_interrupt(self.park(deadline))
    }

    /// Waits like [`Wait::park`], but on the OS thread's own side says so if the wait can never
    /// end, and gives it up.
    pub(crate) fn park_or_stuck(self, deadline: u64) -> Result<Outcome, StuckReport> {
        if self.token.index != HOST {
            return Ok(self.park(deadline));
        }
        if let Some(outcome) = self.begin_park(deadline) {
            return Ok(outcome);
        }
        let scheduler = self.scheduler;
        match scheduler.drive(&Goal::HostWoken) {
            Ok(()) => Ok(scheduler.outcome()),
            Err(stuck) => {
                let report = scheduler.report(stuck);
                let mut core = scheduler.core.borrow_mut();
                core.wake(self.token, Outcome::Cancelled);
                Err(report)
            }
        }
    }

    /// Parks first and then calls `after` on the scheduler's side. `after` must not unwind. It is
    /// not called if the wait is over before it parks.
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

    /// What [`Wait::park`] does before it leaves the stack: marks whoever runs as parked. `Some` if
    /// it is not to leave, as the wait is over. The OS thread's own code waits in here.
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

    /// Parks the running ethread as its last act: its root returns [`Ending::Resting`] right after,
    /// without dropping anything, and runs again once it is woken. `Some` if the wait is over
    /// already; then it goes on.
    ///
    /// [`Ending::Resting`]: crate::runtime::stack::coroutine::Ending::Resting
    pub(crate) fn rest(self, deadline: u64) -> Option<Outcome> {
        debug_assert_ne!(
            self.token.index, HOST,
            "the OS thread's own code has one stack"
        );
        self.begin_park(deadline)
    }

    /// Marks whoever runs as parked, unless the wait is over already.
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
        if let Err(stuck) = self.drive(&Goal::HostWoken) {
            let report = self.report(stuck);
            let reason = {
                let mut core = self.core.borrow_mut();
                let host = core.blocks.get(HOST);
                let (reason, token) = (host.reason(), host.token(HOST));
                core.wake(token, Outcome::Cancelled);
                reason
            };
            host_is_stuck(&reason, &report);
        }
    }
}

/// The end of a [`leave`] that [`Scheduler::begin_until_unparked`] has asked for.
#[inline(never)]
pub(crate) fn end_until_unparked() {
    current::with(|scheduler| {
        scheduler.map(|scheduler| scheduler.check_interrupt(scheduler.outcome()))
    });
}

thread_local! {
    /// Where the ethread that has left for its next turn has asked for that.
    static TURN_AT: Cell<&'static Location<'static>> = const { Cell::new(Location::caller()) };
}

/// Where the ethread has yielded that has done so just now.
#[inline(always)]
pub(in crate::runtime) fn turn_at() -> &'static Location<'static> {
    TURN_AT.get()
}

/// Lets everybody else who is ready run first. Only a cancel, or the end of a scope, can be its
/// end.
///
/// The switch is inlined into the caller's frame: a processor predicts where a `ret` goes by the
/// `call`s that it has seen, so after a switch it is wrong for each frame that returns.
#[inline(always)]
pub(crate) fn yield_now(location: &'static Location<'static>) {
    if std::thread::panicking() {
        return;
    }
    TURN_AT.set(location);
    // The scheduler's side, which has the control block at hand, puts it into the run queue.
    match coroutine::suspend_for_turn() {
        Turn::Taken => {}
        unlike => yield_otherwise(unlike, location),
    }
}

#[cold]
fn yield_otherwise(turn: Turn, location: &'static Location<'static>) {
    current::with(|scheduler| match (scheduler, turn) {
        (Some(scheduler), Turn::NotHere) => scheduler.yield_host(location),
        (Some(scheduler), _) => scheduler.yield_checking(location),
        (None, _) => std::thread::yield_now(),
    });
}

/// Leaves the stack of an ethread that has parked until it is woken.
///
/// Inlined, for the reason that [`yield_now`] gives; so is to be whatever calls it, and it
/// must not be a closure, which often is a frame of its own.
#[inline(always)]
pub(crate) fn leave() {
    coroutine::suspend();
}

/// Waits for `duration`, as `thread::sleep` says.
pub(crate) fn sleep(duration: Duration, location: &'static Location<'static>) {
    current::with(|scheduler| match scheduler {
        Some(scheduler) => {
            let now = scheduler.clock();
            scheduler.sleep(now, deadline_after(now, duration), location);
        }
        None => std::thread::sleep(duration),
    });
}

/// Pauses within a call that fails with `TimedOut` once a scope's deadline has passed.
pub(crate) fn pause(duration: Duration, location: &'static Location<'static>) -> io::Result<()> {
    current::with(|scheduler| {
        let Some(scheduler) = scheduler else {
            std::thread::sleep(duration);
            return Ok(());
        };
        if duration.is_zero() && scheduler.can_leave() {
            return scheduler.yield_io(location);
        }
        let deadline = deadline_after(scheduler.clock(), duration);
        let reason = Reason {
            kind: WaitKind::Sleep,
            detail: 0,
            location,
        };
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

/// Waits until `deadline`, as `thread::sleep_until` says.
pub(crate) fn sleep_until(deadline: u64, location: &'static Location<'static>) {
    current::with(|scheduler| match scheduler {
        Some(scheduler) => scheduler.sleep(scheduler.clock(), deadline, location),
        None => {
            let left = deadline.saturating_sub(monotonic_now());
            std::thread::sleep(Duration::from_nanos(left));
        }
    });
}

impl Scheduler {
    fn sleep(&self, now: u64, deadline: u64, location: &'static Location<'static>) {
        if deadline <= now {
            return yield_now(location);
        }
        let reason = Reason {
            kind: WaitKind::Sleep,
            detail: 0,
            location,
        };
        if let Ok(wait) = self.begin_wait(reason) {
            wait.park_or_unwind(deadline);
        }
    }
}

#[cold]
fn scheduler_side(reason: Reason) -> ! {
    panic!(
        "a wait for {reason} at {} on the scheduler's side: the closure given to `suspend` runs \
         between the ethreads, where nothing can wait; spawn an ethread for it",
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
