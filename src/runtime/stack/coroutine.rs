//! The only wrapper over corosensei: a computation on a stack, and the switch out of it.
//!
//! This module alone enforces two rules of the library:
//!
//! * A computation that has begun ends by running to its end, or never. `Coroutine::drop` and
//!   `force_unwind` of corosensei are not reached with a live stack: dropping a suspended
//!   [`Coroutine`] leaks it. (Unwinding from outside runs destructors in the wrong order, does not
//!   come back from a loop over `catch_unwind`, and happens on the wrong side of the scheduler.)
//! * Only the computation that runs on a stack can leave it: [`suspend`] takes its yielder from a
//!   thread-local that is set exactly while a computation runs.
//!
//! One corosensei coroutine serves all computations of a stack, one after the other, and waits for
//! the next while the stack is free. So a computation on a stack that was used before begins with a
//! mere switch. A waiting coroutine owns nothing, so it may vanish with its pages.

// Switches stacks, and erases a lifetime that the switch itself upholds.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::rc::Rc;

use corosensei::{CoroutineResult, Yielder};

use super::arena::Arena;
use super::backtrace::Backtrace;
use super::layout::{Class, Room, Stack};
use crate::runtime::base::wait::Outcome;

/// The work of an ethread. It runs on the ethread's own stack, and must not unwind.
pub(crate) trait Run {
    /// Runs until the ethread ends or rests. `outcome` is how the wait without a stack ended. In
    /// the first turn of a spawned ethread it is `Woken`, or `Cancelled` if the ethread was
    /// cancelled before.
    fn run(&self, outcome: Outcome) -> Ending;
}

/// What the return of an ethread's root means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Over,
    /// The ethread has parked as its last act (`Wait::park_stackless`), and gives up its stack. A
    /// wake runs it again, on any free stack.
    Resting,
}

type ThisYielder = Yielder<ResumeKind, YieldWord>;
type CurrentYielder = Option<NonNull<ThisYielder>>;
type Inner = corosensei::Coroutine<ResumeKind, YieldWord, Infallible, Stack>;

/// What a computation is resumed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResumeKind {
    GoOn,
    /// To check for an interrupt before its turn. The computation has left by [`suspend_for_turn`].
    CheckInterrupt,
    /// To capture its backtrace and leave again.
    Trace,
}

/// What a computation passes out when it leaves: zero when it is done, else its stack pointer,
/// whose zero bits hold the reason for leaving. It is one word, as corosensei passes a word in a
/// register.
///
/// Below the stack pointer are only the frames of the switch itself, which take less than a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct YieldWord(usize);

impl YieldWord {
    const DONE: Self = Self(0);
    /// The computation yields to the other ready ethreads.
    const TURN: usize = 1;
    /// [`AFTER`] is to be called.
    const AFTER: usize = 2;
    const REASONS: usize = Self::TURN | Self::AFTER;

    #[inline(always)]
    fn is_for(self, reason: usize) -> bool {
        self.0 & reason != 0
    }

    fn stack_pointer(self) -> usize {
        self.0 & !Self::REASONS
    }
}

thread_local! {
    /// The yielder of the computation that runs on this OS thread; `None` on the OS thread's own
    /// stack.
    ///
    /// Computations are resumed by the scheduler, on the OS thread's stack, and not by each other,
    /// so one cell is enough. `Coroutine::trace` is the exception, and restores the cell.
    static YIELDER: Cell<CurrentYielder> = const { Cell::new(None) };

    /// The closure to call once the running computation has left. It lies in a frame of the
    /// computation.
    static AFTER: Cell<Option<NonNull<dyn FnMut()>>> = const { Cell::new(None) };

    /// The backtrace of a computation that was resumed by `ResumeKind::Trace`.
    static TRACE: Cell<Option<Backtrace>> = const { Cell::new(None) };
}

/// A computation on a stack of its own, suspended or not yet begun.
///
/// Its state lies on that very stack, so a scheduler moves one pointer only.
pub(crate) struct Coroutine {
    /// Never dropped: see the module's first rule.
    kept: NonNull<Kept>,
}

/// The state of a coroutine, kept on the stack right above its base.
#[repr(C)]
struct Kept {
    state: KeptState,
    /// Where the computation left last: on its own stack, or on another one that it switched to by
    /// itself; [`YieldWord::DONE`] before it has begun.
    left: YieldWord,
    /// The coroutine's yielder, for [`YIELDER`]; `None` before the coroutine runs for the first
    /// time.
    yielder: CurrentYielder,
    inner: ManuallyDrop<Inner>,
    class: Class,
    outcome: Outcome,
    /// What to run; after that, what to run again after a rest.
    run: Option<Rc<dyn Run>>,
}

/// A number, as it is also read from unused stacks, whose bytes are zero.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KeptState(u64);

impl KeptState {
    /// There is no coroutine on the stack, and nothing else is kept.
    const ABSENT: Self = Self(0);
    /// There is a coroutine on the stack. It runs a computation, or is about to, or waits for a
    /// computation on a free stack.
    const PRESENT: Self = Self(1);
}

/// The bytes of a stack that the capture of a backtrace may take, with room to spare.
const ROOM_FOR_TRACE: usize = 32 << 10;

const _: () = assert!(size_of::<Kept>() <= size_of::<Room>());
const _: () = assert!(align_of::<Kept>() <= align_of::<Room>());

/// The result of a resume.
pub(crate) enum Step {
    /// The computation left through [`suspend`] or [`suspend_then`] and can be resumed.
    Suspended(Coroutine),
    /// The computation left through [`suspend_for_turn`].
    Yielded(Coroutine),
    /// The computation has ended or rests, and its stack is free. If it rests, it goes on with this
    /// `Run`.
    Done(Stack, Option<Rc<dyn Run>>),
}

impl Coroutine {
    /// Puts a computation on `stack`, to begin at the first resume. `at_end` is called on the stack
    /// when the computation has ended and was dropped; it is the same for all computations of a
    /// stack.
    #[inline]
    pub(crate) fn new(stack: Stack, run: Rc<dyn Run>, outcome: Outcome, at_end: fn()) -> Self {
        let kept: NonNull<Kept> = stack.room().cast();
        let place = kept.as_ptr();
        // SAFETY: the room is large enough for a `Kept`, and nothing else uses it as long as the
        // stack is live. Its first word is zero in fresh memory, and after `forget`, else `state`.
        if unsafe { (&raw const (*place).state).read() } == KeptState::ABSENT {
            Self::found(stack, kept, at_end);
        }
        // SAFETY: a `Kept` is there. The coroutine waits, so nothing else refers to its fields.
        unsafe {
            debug_assert!((*place).run.is_none());
            (&raw mut (*place).run).write(Some(run));
            (*place).outcome = outcome;
            (*place).left = YieldWord::DONE;
        }
        Self { kept }
    }

    /// Puts a coroutine on a stack that has none.
    #[inline(never)]
    fn found(stack: Stack, kept: NonNull<Kept>, at_end: fn()) {
        let class = stack.class();
        let inner = Inner::with_stack(stack, move |yielder, _| {
            let current = Some(NonNull::from(yielder));
            YIELDER.set(current);
            // SAFETY: written below, before this runs, and nothing refers to the field now.
            unsafe { (*kept.as_ptr()).yielder = current };
            loop {
                work(kept, at_end);
                yielder.suspend(YieldWord::DONE);
            }
        });
        // SAFETY: as in `new`. The place is written before the coroutine, which refers to it, is
        // resumed for the first time.
        unsafe {
            kept.write(Kept {
                state: KeptState::PRESENT,
                left: YieldWord::DONE,
                yielder: None,
                inner: ManuallyDrop::new(inner),
                class,
                outcome: Outcome::Woken,
                run: None,
            });
        }
    }

    /// Forgets the coroutine that waits on a free stack, before its pages are given back.
    pub(in crate::runtime) fn forget(stack: &Stack) {
        let kept = stack.room().cast::<Kept>().as_ptr();
        // SAFETY: as in `new`. A coroutine that waits owns nothing but the stack, which the caller
        // has: the reset loses only frames without destructors. A stack that was never used is only
        // read, which costs no page.
        unsafe {
            if (&raw const (*kept).state).read() != KeptState::ABSENT {
                let mut inner = ManuallyDrop::take(&mut (*kept).inner);
                inner.force_reset();
                // Tells ASan that nothing is on the stack any more.
                let _same = inner.into_stack();
                (*kept).state = KeptState::ABSENT;
            }
        }
    }

    /// Runs the computation until it suspends or ends.
    #[inline(always)]
    pub(crate) fn resume(self) -> Step {
        self.resume_for(ResumeKind::GoOn)
    }

    /// As [`resume`](Self::resume), for a computation that has yielded: it does not have its turn
    /// yet, but checks whether an interrupt ends its wait for the turn.
    #[cold]
    pub(crate) fn check_interrupt(self) -> Step {
        self.resume_for(ResumeKind::CheckInterrupt)
    }

    #[inline(always)]
    fn resume_for(self, kind: ResumeKind) -> Step {
        let kept = self.kept.as_ptr();
        // SAFETY: the `Kept` is there since `new`, and nothing else refers to this field now.
        YIELDER.set(unsafe { (*kept).yielder });
        // SAFETY: likewise, and nothing else refers to this field now: the computation, and the
        // coroutine around it, use other fields.
        let inner = unsafe { &mut (*kept).inner };
        let leave = match inner.resume(kind) {
            CoroutineResult::Yield(leave) => leave,
            CoroutineResult::Return(never) => match never {},
        };
        YIELDER.set(None);
        if leave == YieldWord::DONE {
            // SAFETY: the computation is done, so nothing else refers to these fields.
            let (class, run) = unsafe { ((*kept).class, (*kept).run.take()) };
            // SAFETY: the computation was the only user of the stack.
            return Step::Done(unsafe { Stack::again(self.kept.cast(), class) }, run);
        }
        // SAFETY: the computation has left, so nothing else refers to this field.
        unsafe { (*kept).left = leave };
        if leave.is_for(YieldWord::TURN) {
            return Step::Yielded(self);
        }
        if leave.is_for(YieldWord::AFTER) {
            call_after();
        }
        Step::Suspended(self)
    }
}

/// Calls the closure that the computation that has just left gave to [`suspend_then`].
fn call_after() {
    if let Some(mut after) = AFTER.take() {
        // SAFETY: `suspend_then` has set it, to a closure in a frame of the computation. The frame
        // stays as it is until the next resume, and the caller has the `Coroutine` that a resume
        // needs.
        unsafe { after.as_mut()() };
    }
}

/// Runs the `Run` that a coroutine was given, on its stack.
#[inline]
fn work(kept: NonNull<Kept>, at_end: fn()) {
    let kept = kept.as_ptr();
    // SAFETY: `new` has stored it there, and nothing else refers to these fields before the work is
    // done.
    let (run, outcome) = unsafe { ((*kept).run.take(), (*kept).outcome) };
    let run = run.expect("a coroutine is resumed to run something");
    if run.run(outcome) == Ending::Resting {
        // SAFETY: as above.
        unsafe { (&raw mut (*kept).run).write(Some(run)) };
    } else {
        // It may hold values of user code: dropped here, on the stack of the ethread.
        drop(run);
        // No user code runs here afterwards.
        at_end();
    }
}

impl Coroutine {
    /// Gives back the pages of the stack that a suspended computation does not use.
    pub(crate) fn trim(&self) {
        // A computation may leave from a stack of user code (a coroutine within it, a stack that
        // was grown). Where it is on its own stack is unknown then, so nothing is trimmed. The
        // `Kept` lies above the base.
        let (bottom, left_at) = self.bounds();
        if (bottom..self.kept.addr().get()).contains(&left_at) {
            // SAFETY: `self` exists, so the computation is suspended. It left on this very stack,
            // and nothing of it lies below the frames of the switch: those take less than the page
            // that stays.
            unsafe { Arena::trim(bottom, left_at) };
        }
    }

    /// The backtrace of the suspended computation; `None` if its stack has no room to capture it.
    pub(in crate::runtime) fn trace(&mut self) -> Option<Backtrace> {
        let (bottom, left_at) = self.bounds();
        if !(bottom + ROOM_FOR_TRACE..self.kept.addr().get()).contains(&left_at) {
            return None;
        }
        let kept = self.kept.as_ptr();
        // SAFETY: as in `resume_for`. The caller may be another computation, whose yielder is
        // restored below.
        let asker = YIELDER.replace(unsafe { (*kept).yielder });
        // SAFETY: likewise.
        let inner = unsafe { &mut (*kept).inner };
        // The computation leaves again from where it was, and no closure is to be called a second
        // time.
        let left = inner.resume(ResumeKind::Trace);
        match left {
            CoroutineResult::Yield(leave) => {
                debug_assert_ne!(leave, YieldWord::DONE);
                // The computation left from a frame further down.
                // SAFETY: likewise; the computation has left again.
                unsafe { (*kept).left = leave };
            }
            CoroutineResult::Return(never) => match never {},
        }
        YIELDER.set(asker);
        TRACE.try_with(Cell::take).ok().flatten()
    }

    /// The lowest usable address of the stack, and where the computation left.
    fn bounds(&self) -> (usize, usize) {
        // SAFETY: the `Kept` is there since `new`, and the computation does not run.
        let (class, left) = unsafe {
            let kept = self.kept.as_ptr();
            ((*kept).class, (*kept).left)
        };
        // SAFETY: the stack that the `Kept` lies on; it is only asked for its addresses.
        let stack = unsafe { Stack::again(self.kept.cast(), class) };
        (stack.bottom(), left.stack_pointer())
    }

    /// How many bytes calls have left in the dead part of the stack, well below the last frame.
    #[cfg(test)]
    pub(in crate::runtime) fn traces(&self) -> usize {
        let (bottom, left_at) = self.bounds();
        // SAFETY: within the usable part of a stack that stays mapped while `self` owns it.
        let read = |at: usize| unsafe { *std::ptr::with_exposed_provenance::<u8>(at) };
        (bottom..left_at - 16384)
            .filter(|&at| read(at) != 0)
            .count()
    }
}

/// Leaves the running computation; returns when it is resumed.
///
/// # Panics
///
/// Panics outside a computation, and while unwinding: std counts panics per OS thread, so that
/// leaving then would make every other ethread of the shard look as if it were panicking.
#[inline(always)]
pub(crate) fn suspend() {
    let yielder = YIELDER.get().expect("only an ethread can leave its stack");
    leave(yielder, 0);
}

/// How [`suspend_for_turn`] has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum YieldOutcome {
    /// The other ready ethreads have had their turns.
    Taken,
    /// The caller must check whether an interrupt ends its wait for the turn.
    CheckInterrupt,
    /// No computation runs: there was nothing to leave.
    NotHere,
}

/// Leaves the running computation until its next turn.
///
/// # Panics
///
/// While unwinding, as [`suspend`].
#[inline(always)]
pub(crate) fn suspend_for_turn() -> YieldOutcome {
    let Some(yielder) = YIELDER.get() else {
        return YieldOutcome::NotHere;
    };
    match leave(yielder, YieldWord::TURN) {
        ResumeKind::CheckInterrupt => YieldOutcome::CheckInterrupt,
        _ => YieldOutcome::Taken,
    }
}

/// Leaves the running computation and then calls `after`, on the scheduler's side. `after` must
/// not unwind.
///
/// # Panics
///
/// As [`suspend`].
#[inline]
pub(crate) fn suspend_then(after: &mut dyn FnMut()) {
    let yielder = YIELDER.get().expect("only an ethread can leave its stack");
    let after: NonNull<dyn FnMut() + '_> = NonNull::from(after);
    // SAFETY: this erases a lifetime. The closure is called by the `resume` that the switch below
    // returns to, before that `resume` returns, and this frame stays suspended meanwhile.
    AFTER.set(Some(unsafe {
        std::mem::transmute::<NonNull<dyn FnMut() + '_>, NonNull<dyn FnMut()>>(after)
    }));
    leave(yielder, YieldWord::AFTER);
}

/// Leaves by `yielder`, which is what [`YIELDER`] holds.
#[inline(always)]
fn leave(yielder: NonNull<ThisYielder>, reason: usize) -> ResumeKind {
    debug_assert!(
        !std::thread::panicking(),
        "an ethread that unwinds must not leave its stack"
    );
    // SAFETY: the cell is set by the coroutine itself when it begins, and by `resume` before each
    // switch back to it, and cleared by `resume` as soon as the computation has left. So it points
    // to the yielder of the calling computation, which lives at the top of the current stack.
    match unsafe { yielder.as_ref() }.suspend(YieldWord(stack_pointer() | reason)) {
        ResumeKind::GoOn => ResumeKind::GoOn,
        kind => answer(kind, yielder, reason),
    }
}

/// Captures a backtrace and leaves again, as often as it is asked for one.
#[cold]
fn answer(mut kind: ResumeKind, yielder: NonNull<ThisYielder>, reason: usize) -> ResumeKind {
    while kind == ResumeKind::Trace {
        // `TRACE` is gone while the destructors of thread-locals run. A panic would unwind a parked
        // ethread, so the error is ignored.
        let _gone = TRACE.try_with(|trace| trace.set(Some(Backtrace::capture())));
        // SAFETY: as in `leave`.
        kind = unsafe { yielder.as_ref() }.suspend(YieldWord(stack_pointer() | reason));
    }
    kind
}

/// The stack pointer of the caller, in whose frame this is inlined.
#[inline(always)]
fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: a register is read, nothing else.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    // SAFETY: likewise.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    // The frame of a call lies below all of the caller's frame.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        #[inline(never)]
        fn below() -> usize {
            let place = std::hint::black_box(0u8);
            std::ptr::from_ref(&place).addr()
        }
        pointer = below() & !YieldWord::REASONS;
    }
    pointer
}

#[cfg(test)]
mod tests;
