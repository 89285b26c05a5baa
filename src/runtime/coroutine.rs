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

// Switching stacks, and a lifetime that the switch itself upholds.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ptr::NonNull;

use corosensei::{CoroutineResult, Yielder};

use super::stack::{Arena, Room, Stack};

/// What a computation hands out when it leaves: something to call once it has left. A thin pointer,
/// which corosensei passes in a register.
type After = Option<NonNull<&'static mut dyn FnMut()>>;
type Inner = corosensei::Coroutine<(), After, (), Stack>;

thread_local! {
    /// The way out of the computation that runs on this OS thread; `None` on its own stack.
    ///
    /// No computation resumes another of ours (the scheduler does, on the OS thread's stack), so
    /// one cell is enough.
    static WAY_OUT: Cell<Option<NonNull<Yielder<(), After>>>> = const { Cell::new(None) };

    /// Where the computation that left last did so: an address in its last frame, below which are
    /// only the frames of the switch itself.
    static LEFT_AT: Cell<usize> = const { Cell::new(0) };
}

/// A computation on a stack of its own, suspended or not yet begun.
///
/// What corosensei keeps of it lies on that very stack, in a cache line that each switch uses
/// anyway, so that a scheduler moves one pointer.
pub(crate) struct Coroutine {
    /// Dropped by nobody: see the module's first rule.
    kept: NonNull<Kept>,
}

/// What is kept on the stack.
struct Kept {
    inner: Inner,
    /// The lowest usable address of the stack.
    bottom: usize,
    /// Where the computation left: on its own stack, or on one that it switched to itself. Zero
    /// before it has begun.
    left_at: usize,
}

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
    /// It left through [`suspend`] and can be resumed.
    Suspended(Coroutine),
    /// It ended, and its stack is free.
    Done(Stack),
}

impl Coroutine {
    /// Puts `body` on `stack`, to begin at the first resume. It must not unwind.
    #[inline]
    pub(crate) fn new(stack: Stack, body: impl FnOnce() + 'static) -> Self {
        let place = stack.room().cast();
        let bottom = stack.bottom();
        let inner = Inner::with_stack(stack, move |yielder, ()| {
            WAY_OUT.set(Some(NonNull::from(yielder)));
            body();
        });
        // SAFETY: the room is large enough, and nobody else's as long as the stack is out: it goes
        // back after `resume` has moved this away.
        unsafe {
            place.write(Kept {
                inner,
                bottom,
                left_at: 0,
            });
        }
        Self { kept: place }
    }

    /// Runs the computation until it suspends or ends.
    #[inline(always)]
    pub(crate) fn resume(mut self) -> Step {
        // SAFETY: it is there since `new`, and only we know the place: the computation above which
        // it lies does not.
        let kept = unsafe { self.kept.as_mut() };
        let result = kept.inner.resume(());
        WAY_OUT.set(None);
        match result {
            CoroutineResult::Yield(after) => {
                kept.left_at = LEFT_AT.get();
                if let Some(mut after) = after {
                    // SAFETY: `suspend_then` passed a reference to a closure in a frame of the
                    // computation that has just suspended. The frame stays as it is until the next
                    // resume, which takes the `Coroutine` that is still in our hands.
                    unsafe { after.as_mut()() };
                }
                Step::Suspended(self)
            }
            CoroutineResult::Return(()) => {
                // SAFETY: as above; this is the last that is heard of it.
                Step::Done(unsafe { self.kept.read() }.inner.into_stack())
            }
        }
    }
}

impl Coroutine {
    /// Gives back the pages of the stack that a suspended computation does not use.
    pub(crate) fn trim(&self) {
        // SAFETY: as in `resume`.
        let kept = unsafe { self.kept.as_ref() };
        // A computation may leave from a stack of the user's (a coroutine within it, a stack that
        // was grown). Where it is on its own one is unknown then, so that stays as it is. What is
        // kept lies above the base.
        let own = kept.bottom..self.kept.addr().get();
        if own.contains(&kept.left_at) {
            // SAFETY: the computation is suspended, as it is in our hands, on this very stack, and
            // nothing of it lies below the frames of the switch: those take less than the page
            // that stays.
            unsafe { Arena::trim(kept.bottom, kept.left_at) };
        }
    }

    /// Bytes that calls have left in the dead part of the stack, well below the last frame.
    #[cfg(test)]
    pub(super) fn traces(&self) -> usize {
        // SAFETY: as in `resume`.
        let kept = unsafe { self.kept.as_ref() };
        // SAFETY: within the usable part of a stack that stays mapped while it is ours.
        let read = |at: usize| unsafe { *std::ptr::with_exposed_provenance::<u8>(at) };
        (kept.bottom..kept.left_at - 16384)
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
    leave(None);
}

/// Leaves the running computation and then calls `after`, on the scheduler's side. `after` must
/// not unwind.
///
/// # Panics
///
/// As [`suspend`].
pub(crate) fn suspend_then(mut after: &mut dyn FnMut()) {
    let after = NonNull::from(&mut after);
    // SAFETY: only the lifetime changes. The pointer is used by the `resume` that this very switch
    // returns to, before it returns, and this frame waits meanwhile.
    let after = unsafe {
        mem::transmute::<NonNull<&mut dyn FnMut()>, NonNull<&'static mut dyn FnMut()>>(after)
    };
    leave(Some(after));
}

#[inline(always)]
fn leave(after: After) {
    debug_assert!(
        !std::thread::panicking(),
        "an ethread that unwinds must not leave its stack"
    );
    let way_out = WAY_OUT.get().expect("only an ethread can leave its stack");
    LEFT_AT.set(std::ptr::from_ref(&after).addr());
    // SAFETY: the cell is set by the computation itself, when it begins and after each switch
    // back to it, and cleared by `resume` as soon as it has left. So it points to the yielder of
    // the computation that calls us, which lives at the top of the stack we are on.
    unsafe { way_out.as_ref() }.suspend(after);
    WAY_OUT.set(Some(way_out));
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::runtime::stack::StackConfig;

    fn arena() -> Arena {
        Arena::new(StackConfig::default())
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

    fn suspended(step: Step) -> Coroutine {
        match step {
            Step::Suspended(coroutine) => coroutine,
            Step::Done(_) => panic!("it has ended"),
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
        let mut a = Coroutine::new(stack(&mut arena), body("a"));
        let mut b = Coroutine::new(stack(&mut arena), body("b"));
        for _ in 0..2 {
            a = suspended(a.resume());
            b = suspended(b.resume());
        }
        for coroutine in [a, b] {
            match coroutine.resume() {
                Step::Done(stack) => arena.free(stack),
                Step::Suspended(_) => panic!("it should have ended"),
            }
        }
        assert_eq!(*log.borrow(), [("a", 0), ("b", 0), ("a", 1), ("b", 1)]);
    }

    #[test]
    fn after_runs_outside_with_the_frame_intact() {
        let mut arena = arena();
        let seen = Rc::new(Cell::new(0));
        let inside = seen.clone();
        let coroutine = Coroutine::new(stack(&mut arena), move || {
            let mut local = 41;
            suspend_then(&mut || {
                assert!(WAY_OUT.get().is_none());
                local += 1;
            });
            inside.set(local);
        });
        let coroutine = suspended(coroutine.resume());
        let Step::Done(stack) = coroutine.resume() else {
            panic!("it should have ended")
        };
        arena.free(stack);
        assert_eq!(seen.get(), 42);
    }

    #[test]
    fn a_dropped_computation_is_leaked_not_unwound() {
        let mut arena = arena();
        let dropped = Rc::new(());
        let inside = dropped.clone();
        let coroutine = Coroutine::new(stack(&mut arena), move || {
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
        let coroutine = Coroutine::new(roomy, || {
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
        let Step::Done(stack) = coroutine.resume() else {
            panic!("it should have ended")
        };
        arena.free(stack);
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
        let coroutine = Coroutine::new(own, move || {
            let kept = std::hint::black_box([7u8; 16 << 10]);
            let body = |_: &Yielder<(), ()>, ()| suspend();
            let mut within = corosensei::Coroutine::with_stack(other, body);
            assert!(matches!(within.resume(()), CoroutineResult::Return(())));
            assert!(kept.iter().all(|&byte| byte == 7));
            // Its stack is lost to the arena, which leaks both.
            mem::forget(within);
        });
        let coroutine = suspended(coroutine.resume());
        coroutine.trim();
        let Step::Done(stack) = coroutine.resume() else {
            panic!("it should have ended")
        };
        arena.free(stack);
    }

    #[test]
    #[should_panic(expected = "only an ethread can leave its stack")]
    fn the_os_threads_own_stack_cannot_be_left() {
        suspend();
    }
}
