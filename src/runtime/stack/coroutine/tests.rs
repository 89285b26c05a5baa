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
    Coroutine::new(stack, Rc::new(run), Outcome::Woken, || ())
}

fn suspended(step: Step) -> Coroutine {
    match step {
        Step::Suspended(coroutine) => coroutine,
        _ => panic!("it has not just left"),
    }
}

fn done(step: Step) -> (Stack, Option<Rc<dyn Run>>) {
    match step {
        Step::Done(stack, run) => (stack, run),
        _ => panic!("it should have ended"),
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
            assert!(YIELDER.get().is_none());
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
        assert!(matches!(bottom.replace(stack.bottom()), old if old == 0 || old == stack.bottom()));
        let coroutine = suspended(Coroutine::new(stack, run, Outcome::Woken, || ()).resume());
        let (stack, rest) = done(coroutine.resume());
        // In between, another computation uses the stack.
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
        // The switch is inlined: the array is in the same frame, and most of it lies below all that
        // the switch stores there.
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
fn an_ethread_that_left_from_another_stack_is_not_trimmed() {
    let mut arena = arena();
    let (one, two) = (stack(&mut arena), stack(&mut arena));
    // The other stack is higher: everything up to it would be taken for dead.
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
        // The stack of `within` is lost to the arena, which leaks both stacks.
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
