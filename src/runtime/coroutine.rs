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

use super::backtrace::Backtrace;
use super::ethread::{Ending, Run};
use super::locals;
use super::stack::{Arena, Class, Room, Stack};
use super::wait::Outcome;

type Way = Yielder<Errand, Leave>;
type WayOut = Option<NonNull<Way>>;
type Inner = corosensei::Coroutine<Errand, Leave, Infallible, Stack>;

/// What a computation is resumed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    GoOn,
    /// To see whether it may take its turn at all; it has left for that.
    Heed,
    /// To tell where it is, and leave again.
    Trace,
}

/// What a computation hands out when it leaves: zero when it is done, else its stack pointer, and
/// what it has left for in the bits that are zero there. A word, as corosensei passes one in a
/// register.
///
/// Below the stack pointer are only the frames of the switch itself, which are less than a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leave(usize);

impl Leave {
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
    static WAY_OUT: Cell<WayOut> = const { Cell::new(None) };

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
    /// [`Leave::DONE`] before it has begun.
    left: Leave,
    /// The coroutine's own, for [`WAY_OUT`]; `None` before it runs for the first time.
    way_out: WayOut,
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
    /// Puts a computation on `stack`, to begin at the first resume.
    #[inline]
    pub(crate) fn new(stack: Stack, run: Rc<dyn Run>, outcome: Outcome) -> Self {
        let kept: NonNull<Kept> = stack.room().cast();
        let place = kept.as_ptr();
        // SAFETY: the room is large enough for a `Kept` and nobody else's as long as the stack is
        // out. Its first word is zero in fresh memory, and after `forget`, else `state`.
        if unsafe { (&raw const (*place).state).read() } == KeptState::ABSENT {
            Self::found(stack, kept);
        }
        // SAFETY: a `Kept` is there. The coroutine waits, so nobody refers to its fields.
        unsafe {
            debug_assert!((*place).run.is_none());
            (&raw mut (*place).run).write(Some(run));
            (*place).outcome = outcome;
            (*place).left = Leave::DONE;
        }
        Self { kept }
    }

    /// Puts a coroutine on a stack that has none.
    #[inline(never)]
    fn found(stack: Stack, kept: NonNull<Kept>) {
        let class = stack.class();
        let inner = Inner::with_stack(stack, move |yielder, _| {
            let way_out = Some(NonNull::from(yielder));
            WAY_OUT.set(way_out);
            // SAFETY: written below, before this runs, and nobody refers to the field now.
            unsafe { (*kept.as_ptr()).way_out = way_out };
            loop {
                work(kept);
                yielder.suspend(Leave::DONE);
            }
        });
        // SAFETY: as in `new`. The place is written before the coroutine, which refers to it, is
        // resumed for the first time.
        unsafe {
            kept.write(Kept {
                state: KeptState::PRESENT,
                left: Leave::DONE,
                way_out: None,
                inner: ManuallyDrop::new(inner),
                class,
                outcome: Outcome::Woken,
                run: None,
            });
        }
    }

    /// Forgets the coroutine that waits on a free stack, before its pages go.
    pub(super) fn forget(stack: &Stack) {
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
        self.resume_for(Errand::GoOn)
    }

    /// As [`resume`](Self::resume), for one that has yielded: it does not have its turn yet, but
    /// looks whether anything keeps it from waiting for it.
    #[cold]
    pub(crate) fn heed(self) -> Step {
        self.resume_for(Errand::Heed)
    }

    #[inline(always)]
    fn resume_for(self, errand: Errand) -> Step {
        let kept = self.kept.as_ptr();
        // SAFETY: it is there since `new`, and nobody refers to this field while we do.
        WAY_OUT.set(unsafe { (*kept).way_out });
        // SAFETY: likewise, and only we use this field: the computation, and the coroutine around
        // it, use others.
        let inner = unsafe { &mut (*kept).inner };
        let leave = match inner.resume(errand) {
            CoroutineResult::Yield(leave) => leave,
            CoroutineResult::Return(never) => match never {},
        };
        WAY_OUT.set(None);
        if leave == Leave::DONE {
            // SAFETY: the computation has said that it is done, so these fields are ours.
            let (class, run) = unsafe { ((*kept).class, (*kept).run.take()) };
            // SAFETY: the computation was the only one to use the stack.
            return Step::Done(unsafe { Stack::again(self.kept.cast(), class) }, run);
        }
        // SAFETY: the computation has left, so this field is ours.
        unsafe { (*kept).left = leave };
        if leave.is_for(Leave::TURN) {
            return Step::Yielded(self);
        }
        if leave.is_for(Leave::AFTER) {
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
fn work(kept: NonNull<Kept>) {
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
        // The ethread's result, its destructor and the wakers of its joiners may have made local
        // values after those of its closure were dropped. No user code runs here afterwards.
        locals::drop_all();
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
    pub(super) fn trace(&mut self) -> Option<Backtrace> {
        let (bottom, left_at) = self.bounds();
        if !(bottom + ROOM_FOR_TRACE..self.kept.addr().get()).contains(&left_at) {
            return None;
        }
        let kept = self.kept.as_ptr();
        // SAFETY: as in `resume_for`. It may be another computation that asks, whose way out this
        // puts back.
        let asker = WAY_OUT.replace(unsafe { (*kept).way_out });
        // SAFETY: likewise.
        let inner = unsafe { &mut (*kept).inner };
        // It leaves again from where it was, and nothing is to be called a second time.
        let left = inner.resume(Errand::Trace);
        match left {
            CoroutineResult::Yield(leave) => {
                debug_assert_ne!(leave, Leave::DONE);
                // From a frame further down.
                // SAFETY: likewise; it has left again.
                unsafe { (*kept).left = leave };
            }
            CoroutineResult::Return(never) => match never {},
        }
        WAY_OUT.set(asker);
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
    pub(super) fn traces(&self) -> usize {
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
    let way_out = WAY_OUT.get().expect("only an ethread can leave its stack");
    leave(way_out, 0);
}

/// How [`suspend_for_turn`] has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The others have had theirs.
    Taken,
    /// The caller has to see whether anything keeps it from waiting for its turn.
    Heed,
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
    let Some(way_out) = WAY_OUT.get() else {
        return Turn::NotHere;
    };
    match leave(way_out, Leave::TURN) {
        Errand::Heed => Turn::Heed,
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
    let way_out = WAY_OUT.get().expect("only an ethread can leave its stack");
    let after: NonNull<dyn FnMut() + '_> = NonNull::from(after);
    // SAFETY: a lifetime is lost. It is called by the `resume` that the switch below returns to,
    // before that returns, and this frame waits meanwhile.
    AFTER.set(Some(unsafe {
        std::mem::transmute::<NonNull<dyn FnMut() + '_>, NonNull<dyn FnMut()>>(after)
    }));
    leave(way_out, Leave::AFTER);
}

/// Leaves by `way_out`, which is what [`WAY_OUT`] holds.
#[inline(always)]
fn leave(way_out: NonNull<Way>, reason: usize) -> Errand {
    debug_assert!(
        !std::thread::panicking(),
        "an ethread that unwinds must not leave its stack"
    );
    // SAFETY: the cell is set by the coroutine itself when it begins, and by `resume` before each
    // switch back to it, and cleared by `resume` as soon as it has left. So it points to the
    // yielder of the computation that calls us, which lives at the top of the stack we are on.
    match unsafe { way_out.as_ref() }.suspend(Leave(stack_pointer() | reason)) {
        Errand::GoOn => Errand::GoOn,
        errand => run_errand(errand, way_out, reason),
    }
}

/// Tells where the computation is, and leaves again, as often as it is asked.
#[cold]
fn run_errand(mut errand: Errand, way_out: NonNull<Way>, reason: usize) -> Errand {
    while errand == Errand::Trace {
        // It is gone where the destructors of thread-locals run. A panic would unwind who is
        // parked.
        let _gone = TRACE.try_with(|trace| trace.set(Some(Backtrace::capture())));
        // SAFETY: as in `leave`.
        errand = unsafe { way_out.as_ref() }.suspend(Leave(stack_pointer() | reason));
    }
    errand
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
        pointer = below() & !Leave::REASONS;
    }
    pointer
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::runtime::stack::StackConfig;

    fn arena() -> Arena {
        Arena::new(StackConfig::default(), Coroutine::forget)
    }

    fn stack(arena: &mut Arena) -> Stack {
        arena.take(Arena::class_of(64 << 10).unwrap()).unwrap()
    }

    /// Uses more than a KiB of stack per level.
    fn deep(levels: usize) -> usize {
        let frame = std::hint::black_box([levels as u8; 1024]);
        if levels == 0 {
            0
        } else {
            deep(levels - 1) + usize::from(frame[7])
        }
    }

    struct Body<F>(RefCell<F>);

    impl<F: FnMut() -> Ending> Run for Body<F> {
        fn run(&self, _: Outcome) -> Ending {
            (self.0.borrow_mut())()
        }
    }

    fn coroutine(stack: Stack, body: impl FnOnce() + 'static) -> Coroutine {
        let mut body = Some(body);
        let run = Body(RefCell::new(move || {
            body.take().expect("it runs once")();
            Ending::Over
        }));
        Coroutine::new(stack, Rc::new(run), Outcome::Woken)
    }

    fn suspended(step: Step) -> Coroutine {
        match step {
            Step::Suspended(coroutine) => coroutine,
            step => panic!("it has not just left: {step:?}"),
        }
    }

    fn done(step: Step) -> (Stack, Option<Rc<dyn Run>>) {
        match step {
            Step::Done(stack, run) => (stack, run),
            step => panic!("it should have ended: {step:?}"),
        }
    }

    #[test]
    fn two_computations_take_turns_and_each_finds_its_own_way_out() {
        let mut arena = arena();
        let log = Rc::new(RefCell::new(Vec::new()));
        let body = |name: &'static str| {
            let log = log.clone();
            move || {
                for round in 0..2 {
                    log.borrow_mut().push((name, round));
                    suspend();
                }
            }
        };
        let mut a = coroutine(stack(&mut arena), body("a"));
        let mut b = coroutine(stack(&mut arena), body("b"));
        for _ in 0..2 {
            a = suspended(a.resume());
            b = suspended(b.resume());
        }
        for coroutine in [a, b] {
            arena.free(done(coroutine.resume()).0);
        }
        assert_eq!(*log.borrow(), [("a", 0), ("b", 0), ("a", 1), ("b", 1)]);
    }

    #[test]
    fn after_runs_outside_with_the_frame_intact() {
        let mut arena = arena();
        let seen = Rc::new(Cell::new(0));
        let inside = seen.clone();
        let coroutine = coroutine(stack(&mut arena), move || {
            let mut local = 41;
            suspend_then(&mut || {
                assert!(WAY_OUT.get().is_none());
                local += 1;
            });
            inside.set(local);
        });
        let coroutine = suspended(coroutine.resume());
        arena.free(done(coroutine.resume()).0);
        assert_eq!(seen.get(), 42);
    }

    #[test]
    fn one_stack_runs_one_after_the_other_and_what_rests_comes_back() {
        let mut arena = arena();
        let log = Rc::new(RefCell::new(Vec::new()));
        let turns = log.clone();
        let run: Rc<dyn Run> = Rc::new(Body(RefCell::new(move || {
            let turn = turns.borrow().len();
            suspend();
            turns.borrow_mut().push(turn);
            match turn {
                2 => Ending::Over,
                _ => Ending::Resting,
            }
        })));
        let bottom = Cell::new(0);
        let mut next = Some(run.clone());
        while let Some(run) = next {
            let stack = stack(&mut arena);
            assert!(
                matches!(bottom.replace(stack.bottom()), old if old == 0 || old == stack.bottom())
            );
            let coroutine = suspended(Coroutine::new(stack, run, Outcome::Woken).resume());
            let (stack, rest) = done(coroutine.resume());
            // In between somebody else has it.
            let other = super::tests::coroutine(stack, suspend);
            let (stack, none) = done(suspended(other.resume()).resume());
            assert!(none.is_none());
            arena.free(stack);
            next = rest;
        }
        assert_eq!(*log.borrow(), [0, 1, 2]);
        assert_eq!(Rc::strong_count(&run), 1, "what is over was dropped");
    }

    #[test]
    fn a_stack_whose_pages_are_gone_begins_anew() {
        let mut arena = Arena::new(
            StackConfig {
                hot: 0,
                ..StackConfig::default()
            },
            Coroutine::forget,
        );
        let ran = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let inside = ran.clone();
            let coroutine = coroutine(stack(&mut arena), move || inside.set(inside.get() + 1));
            arena.free(done(coroutine.resume()).0);
        }
        assert_eq!((ran.get(), arena.counters().cold), (3, 1));
    }

    #[test]
    fn a_dropped_computation_is_leaked_not_unwound() {
        let mut arena = arena();
        let dropped = Rc::new(());
        let inside = dropped.clone();
        let coroutine = coroutine(stack(&mut arena), move || {
            let _inside = inside;
            suspend();
        });
        let _forgotten = suspended(coroutine.resume());
        assert_eq!(Rc::strong_count(&dropped), 2);
        // The arena sees a live stack and leaks its memory.
    }

    #[test]
    fn trimming_takes_the_dead_part_and_leaves_the_frames() {
        let mut arena = arena();
        let roomy = arena.take(Arena::class_of(512 << 10).unwrap()).unwrap();
        let coroutine = coroutine(roomy, || {
            let before = deep(40);
            let kept = std::hint::black_box([7u8; 2048]);
            suspend();
            assert!(kept.iter().all(|&byte| byte == 7));
            assert_eq!(deep(40), before);
        });
        let coroutine = suspended(coroutine.resume());
        assert!(coroutine.traces() > 0, "the deep calls have left nothing");
        coroutine.trim();
        assert_eq!(coroutine.traces(), 0);
        arena.free(done(coroutine.resume()).0);
    }

    #[test]
    fn all_of_the_frame_that_leaves_is_kept() {
        let mut arena = arena();
        let roomy = arena.take(Arena::class_of(512 << 10).unwrap()).unwrap();
        let coroutine = coroutine(roomy, || {
            // The switch is inlined: this is in the same frame, and most of it below all that the
            // switch has there.
            let mut kept = [7u8; 128 << 10];
            std::hint::black_box(&mut kept);
            suspend();
            assert!(std::hint::black_box(&kept).iter().all(|&byte| byte == 7));
        });
        let coroutine = suspended(coroutine.resume());
        coroutine.trim();
        arena.free(done(coroutine.resume()).0);
    }

    #[test]
    fn whoever_left_from_another_stack_is_not_trimmed() {
        let mut arena = arena();
        let (one, two) = (stack(&mut arena), stack(&mut arena));
        // The other one is higher: up to it everything would be taken for dead.
        let (own, other) = if one.bottom() < two.bottom() {
            (one, two)
        } else {
            (two, one)
        };
        let coroutine = coroutine(own, move || {
            let kept = std::hint::black_box([7u8; 16 << 10]);
            let body = |_: &Yielder<(), ()>, ()| suspend();
            let mut within = corosensei::Coroutine::with_stack(other, body);
            assert!(matches!(within.resume(()), CoroutineResult::Return(())));
            assert!(kept.iter().all(|&byte| byte == 7));
            // Its stack is lost to the arena, which leaks both.
            std::mem::forget(within);
        });
        let coroutine = suspended(coroutine.resume());
        coroutine.trim();
        arena.free(done(coroutine.resume()).0);
    }

    #[test]
    #[should_panic(expected = "only an ethread can leave its stack")]
    fn the_os_threads_own_stack_cannot_be_left() {
        suspend();
    }
}
