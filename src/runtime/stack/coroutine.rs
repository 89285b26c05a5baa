//! The one wrapper over corosensei: a stack with a computation on it, and the way out of it.
//!
//! Two rules of the library are kept here and nowhere else:
//!
//! * A computation that has begun ends by running to its end, or never. `Coroutine::drop` and
//!   `force_unwind` of corosensei are not reached with a live stack: whoever drops a suspended
//!   [`Coroutine`] leaks it. (Unwinding from outside runs destructors in the wrong order, does not
//!   come back from a loop over `catch_unwind`, and happens on the wrong side of the scheduler.)
//! * Only the computation that runs on a stack can leave it: [`suspend`] finds its way out in a
//!   thread-local that is set exactly while one runs.
//!
//! A corosensei coroutine is not made for each computation: it runs one after the other, and waits
//! for the next on its stack while that is free. What begins on a stack that was used just now is
//! a switch, and nothing more. A waiting one owns nothing, so it may vanish with its pages.

// Switching stacks, and a lifetime that the switch itself upholds.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::rc::Rc;

use corosensei::{CoroutineResult, Yielder};

use super::arena::Arena;
use super::backtrace::Backtrace;
use super::layout::{Class, Room, Stack};
use crate::runtime::base::wait::Outcome;

/// What an ethread is to do. Runs on its own stack, and must not unwind.
pub(crate) trait Run {
    /// Runs to the end, or until it rests. `outcome` tells how the wait without a stack ended; for
    /// an ethread that was spawned it is `Woken` at first, or `Cancelled` if it was cancelled
    /// before its first turn.
    fn run(&self, outcome: Outcome) -> Ending;
}

/// What the return of an ethread's root means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Over,
    /// It has parked as its last act (`Wait::rest`), and gives up its stack. What wakes it runs it
    /// again, on whichever stack is free then.
    Resting,
}

impl fmt::Debug for dyn Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Run")
    }
}

type ThisYielder = Yielder<ResumeKind, YieldWord>;
type CurrentYielder = Option<NonNull<ThisYielder>>;
type Inner = corosensei::Coroutine<ResumeKind, YieldWord, Infallible, Stack>;

/// What a computation is resumed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResumeKind {
    GoOn,
    /// To see whether it may take its turn at all; it has left for that.
    CheckInterrupt,
    /// To tell where it is, and leave again.
    Trace,
}

/// What a computation hands out when it leaves: zero when it is done, else its stack pointer, and
/// what it has left for in the bits that are zero there. A word, as corosensei passes one in a
/// register.
///
/// Below the stack pointer are only the frames of the switch itself, which are less than a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct YieldWord(usize);

impl YieldWord {
    const DONE: Self = Self(0);
    /// In order that the others have their turns.
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
    /// The way out of the computation that runs on this OS thread; `None` on its own stack.
    ///
    /// No computation lets another of ours go on (the scheduler does, on the OS thread's stack), so
    /// one cell is enough.
    static YIELDER: Cell<CurrentYielder> = const { Cell::new(None) };

    /// What is to be called once the computation that runs has left. Somewhere in its frames.
    static AFTER: Cell<Option<NonNull<dyn FnMut()>>> = const { Cell::new(None) };

    /// What a computation tells that was resumed for that.
    static TRACE: Cell<Option<Backtrace>> = const { Cell::new(None) };
}

/// A computation on a stack of its own, suspended or not yet begun.
///
/// What is kept of it lies on that very stack, so that a scheduler moves one pointer.
pub(crate) struct Coroutine {
    /// Dropped by nobody: see the module's first rule.
    kept: NonNull<Kept>,
}

/// What is kept on the stack, right above its base.
#[repr(C)]
struct Kept {
    state: KeptState,
    /// Where the computation left last: on its own stack, or on one that it switched to itself;
    /// [`YieldWord::DONE`] before it has begun.
    left: YieldWord,
    /// The coroutine's own, for [`YIELDER`]; `None` before it runs for the first time.
    yielder: CurrentYielder,
    inner: ManuallyDrop<Inner>,
    class: Class,
    outcome: Outcome,
    /// What is to be run; afterwards, what is to be run again after a rest.
    run: Option<Rc<dyn Run>>,
}

/// A number, as it is read from stacks that nobody has used yet, which are zero.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KeptState(u64);

impl KeptState {
    /// There is no coroutine on the stack, and nothing else is kept.
    const ABSENT: Self = Self(0);
    /// There is one. It runs something, or is about to, or waits for that on a free stack.
    const PRESENT: Self = Self(1);
}

/// The bytes of a stack that the frames of a trace may take, with room to spare.
const ROOM_FOR_TRACE: usize = 32 << 10;

const _: () = assert!(size_of::<Kept>() <= size_of::<Room>());
const _: () = assert!(align_of::<Kept>() <= align_of::<Room>());

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").finish_non_exhaustive()
    }
}

/// What came of a resume.
#[derive(Debug)]
pub(crate) enum Step {
    /// It left through [`suspend`] or [`suspend_then`] and can be resumed.
    Suspended(Coroutine),
    /// It left through [`suspend_for_turn`].
    Yielded(Coroutine),
    /// It ended, and its stack is free; or it rests, and goes on with this.
    Done(Stack, Option<Rc<dyn Run>>),
}

impl Coroutine {
    /// Puts a computation on `stack`, to begin at the first resume. `at_end` is called on the stack
    /// when it has ended and was dropped; it is the same for all computations of a stack.
    #[inline]
    pub(crate) fn new(stack: Stack, run: Rc<dyn Run>, outcome: Outcome, at_end: fn()) -> Self {
        let kept: NonNull<Kept> = stack.room().cast();
        let place = kept.as_ptr();
        // SAFETY: the room is large enough for a `Kept` and nobody else's as long as the stack is
        // out. Its first word is zero in fresh memory, and after `forget`, else `state`.
        if unsafe { (&raw const (*place).state).read() } == KeptState::ABSENT {
            Self::found(stack, kept, at_end);
        }
        // SAFETY: a `Kept` is there. The coroutine waits, so nobody refers to its fields.
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

    /// Forgets the coroutine that waits on a free stack, before its pages go.
    pub(in crate::runtime) fn forget(stack: &Stack) {
        let kept = stack.room().cast::<Kept>().as_ptr();
        // SAFETY: as in `new`. A coroutine that waits owns nothing but the stack, which is the
        // caller's: all that is lost by the reset are frames without destructors. A stack that was
        // never used is only read, and need not get a page for this.
        unsafe {
            if (&raw const (*kept).state).read() != KeptState::ABSENT {
                let mut inner = ManuallyDrop::take(&mut (*kept).inner);
                inner.force_reset();
                // Tells ASan that nothing is on it any more.
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

    /// As [`resume`](Self::resume), for one that has yielded: it does not have its turn yet, but
    /// looks whether anything keeps it from waiting for it.
    #[cold]
    pub(crate) fn check_interrupt(self) -> Step {
        self.resume_for(ResumeKind::CheckInterrupt)
    }

    #[inline(always)]
    fn resume_for(self, kind: ResumeKind) -> Step {
        let kept = self.kept.as_ptr();
        // SAFETY: it is there since `new`, and nobody refers to this field while we do.
        YIELDER.set(unsafe { (*kept).yielder });
        // SAFETY: likewise, and only we use this field: the computation, and the coroutine around
        // it, use others.
        let inner = unsafe { &mut (*kept).inner };
        let leave = match inner.resume(kind) {
            CoroutineResult::Yield(leave) => leave,
            CoroutineResult::Return(never) => match never {},
        };
        YIELDER.set(None);
        if leave == YieldWord::DONE {
            // SAFETY: the computation has said that it is done, so these fields are ours.
            let (class, run) = unsafe { ((*kept).class, (*kept).run.take()) };
            // SAFETY: the computation was the only one to use the stack.
            return Step::Done(unsafe { Stack::again(self.kept.cast(), class) }, run);
        }
        // SAFETY: the computation has left, so this field is ours.
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

/// Calls what the computation that has just left wants to be called.
fn call_after() {
    if let Some(mut after) = AFTER.take() {
        // SAFETY: `suspend_then` has set it, to something in a frame of the computation. The frame
        // stays as it is until the next resume, and who calls this has the `Coroutine` for that.
        unsafe { after.as_mut()() };
    }
}

/// Runs what a coroutine was given, on its stack.
#[inline]
fn work(kept: NonNull<Kept>, at_end: fn()) {
    let kept = kept.as_ptr();
    // SAFETY: `new` has left it there, and nobody else looks at these fields before the work is
    // done.
    let (run, outcome) = unsafe { ((*kept).run.take(), (*kept).outcome) };
    let run = run.expect("a coroutine is resumed to run something");
    if run.run(outcome) == Ending::Resting {
        // SAFETY: as above.
        unsafe { (&raw mut (*kept).run).write(Some(run)) };
    } else {
        // It may hold values of the user's: dropped here, on the stack of the ethread.
        drop(run);
        // No user code runs here afterwards.
        at_end();
    }
}

impl Coroutine {
    /// Gives back the pages of the stack that a suspended computation does not use.
    pub(crate) fn trim(&self) {
        // A computation may leave from a stack of the user's (a coroutine within it, a stack that
        // was grown). Where it is on its own one is unknown then, so that stays as it is. What is
        // kept lies above the base.
        let (bottom, left_at) = self.bounds();
        if (bottom..self.kept.addr().get()).contains(&left_at) {
            // SAFETY: the computation is suspended, as it is in our hands, on this very stack, and
            // nothing of it lies below the frames of the switch: those take less than the page
            // that stays.
            unsafe { Arena::trim(bottom, left_at) };
        }
    }

    /// Where the suspended computation is; `None` if there is no room on its stack to tell.
    pub(in crate::runtime) fn trace(&mut self) -> Option<Backtrace> {
        let (bottom, left_at) = self.bounds();
        if !(bottom + ROOM_FOR_TRACE..self.kept.addr().get()).contains(&left_at) {
            return None;
        }
        let kept = self.kept.as_ptr();
        // SAFETY: as in `resume_for`. It may be another computation that asks, whose way out this
        // puts back.
        let asker = YIELDER.replace(unsafe { (*kept).yielder });
        // SAFETY: likewise.
        let inner = unsafe { &mut (*kept).inner };
        // It leaves again from where it was, and nothing is to be called a second time.
        let left = inner.resume(ResumeKind::Trace);
        match left {
            CoroutineResult::Yield(leave) => {
                debug_assert_ne!(leave, YieldWord::DONE);
                // From a frame further down.
                // SAFETY: likewise; it has left again.
                unsafe { (*kept).left = leave };
            }
            CoroutineResult::Return(never) => match never {},
        }
        YIELDER.set(asker);
        TRACE.try_with(Cell::take).ok().flatten()
    }

    /// The lowest usable address of the stack, and where the computation left.
    fn bounds(&self) -> (usize, usize) {
        // SAFETY: it is there since `new`, and the computation does not run.
        let (class, left) = unsafe {
            let kept = self.kept.as_ptr();
            ((*kept).class, (*kept).left)
        };
        // SAFETY: the stack that this lies on; it is only asked for its place.
        let stack = unsafe { Stack::again(self.kept.cast(), class) };
        (stack.bottom(), left.stack_pointer())
    }

    /// Bytes that calls have left in the dead part of the stack, well below the last frame.
    #[cfg(test)]
    pub(in crate::runtime) fn traces(&self) -> usize {
        let (bottom, left_at) = self.bounds();
        // SAFETY: within the usable part of a stack that stays mapped while it is ours.
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
pub(crate) enum Turn {
    /// The others have had theirs.
    Taken,
    /// The caller has to see whether anything keeps it from waiting for its turn.
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
pub(crate) fn suspend_for_turn() -> Turn {
    let Some(yielder) = YIELDER.get() else {
        return Turn::NotHere;
    };
    match leave(yielder, YieldWord::TURN) {
        ResumeKind::CheckInterrupt => Turn::CheckInterrupt,
        _ => Turn::Taken,
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
    // SAFETY: a lifetime is lost. It is called by the `resume` that the switch below returns to,
    // before that returns, and this frame waits meanwhile.
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
    // switch back to it, and cleared by `resume` as soon as it has left. So it points to the
    // yielder of the computation that calls us, which lives at the top of the stack we are on.
    match unsafe { yielder.as_ref() }.suspend(YieldWord(stack_pointer() | reason)) {
        ResumeKind::GoOn => ResumeKind::GoOn,
        kind => answer(kind, yielder, reason),
    }
}

/// Tells where the computation is, and leaves again, as often as it is asked.
#[cold]
fn answer(mut kind: ResumeKind, yielder: NonNull<ThisYielder>, reason: usize) -> ResumeKind {
    while kind == ResumeKind::Trace {
        // It is gone where the destructors of thread-locals run. A panic would unwind who is
        // parked.
        let _gone = TRACE.try_with(|trace| trace.set(Some(Backtrace::capture())));
        // SAFETY: as in `leave`.
        kind = unsafe { yielder.as_ref() }.suspend(YieldWord(stack_pointer() | reason));
    }
    kind
}

/// The stack pointer of whoever calls this, in whose frame it is inlined.
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
    // The frame of a call lies below all of the caller's.
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
