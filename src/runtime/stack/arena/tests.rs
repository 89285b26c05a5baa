//! The arena seen from the memory: what can be touched, what is resident, what is mapped.

#[cfg(target_os = "linux")]
mod limits;

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::ptr;

use corosensei::stack::Stack as _;
use corosensei::{Coroutine, CoroutineResult};

use super::*;
use crate::runtime::stack::layout::{GUARD, HEADER};
use crate::runtime::stack::registry::{GuardHit, find_guard};

const SIZE: usize = 64 << 10;

fn class(size: usize) -> Class {
    Arena::class_of(size).unwrap()
}

fn arena(guard: GuardKind, hot: usize) -> Arena {
    Arena::new(StackConfig { guard, hot }, |_| ())
}

fn top(stack: &Stack) -> usize {
    stack.slot() + stack.class().stride()
}

/// The ways of guarding that this kernel offers.
fn kinds() -> Vec<GuardKind> {
    let mut probe = arena(GuardKind::Auto, 0);
    probe.reserve(class(SIZE)).unwrap();
    match probe.counters().madvise_guards {
        0 => vec![GuardKind::Mprotect],
        _ => vec![GuardKind::Mprotect, GuardKind::Madvise],
    }
}

/// Asks the kernel to read a byte: write(2) answers EFAULT where a load would be a fault.
fn readable(addr: usize) -> bool {
    use std::os::fd::AsRawFd;
    let (_reader, writer) = io::pipe().unwrap();
    let byte = ptr::with_exposed_provenance(addr);
    // SAFETY: write(2) checks the address itself.
    let written = unsafe { libc::write(writer.as_raw_fd(), byte, 1) };
    match written {
        1 => true,
        _ => {
            assert_eq!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::EFAULT)
            );
            false
        }
    }
}

fn store(addr: usize, value: u8) {
    // SAFETY: tests store to usable parts of stacks that nothing runs on.
    unsafe { ptr::with_exposed_provenance_mut::<u8>(addr).write_volatile(value) };
}

fn load(addr: usize) -> u8 {
    // SAFETY: as for `store`.
    unsafe { ptr::with_exposed_provenance::<u8>(addr).read_volatile() }
}

fn fill(stack: &Stack) {
    for addr in (stack.bottom()..stack.base().get()).step_by(512) {
        store(addr, 0xa5);
    }
}

/// How many of the pages in a range are in memory.
fn resident(start: usize, len: usize) -> usize {
    let mut pages = vec![0u8; len.div_ceil(chunk::page_size())];
    let range = ptr::with_exposed_provenance_mut(start);
    // SAFETY: mincore(2) writes one byte per page of the range.
    let result = unsafe { libc::mincore(range, len, pages.as_mut_ptr().cast()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    pages.iter().filter(|&&page| page & 1 != 0).count()
}

fn check_guard(stack: &Stack) {
    let slot = stack.slot();
    for offset in [0, 1, GUARD / 2, GUARD - 1] {
        assert!(!readable(slot + offset), "{offset} bytes into the guard");
    }
    assert!(readable(slot + GUARD));
}

#[test]
fn sizes_are_rounded_up_to_a_class() {
    let page = chunk::page_size();
    for (size, usable) in [
        (0, SMALLEST.max(page)),
        (SMALLEST, SMALLEST.max(page)),
        (SIZE - 1, SIZE),
        (SIZE, SIZE),
        (SIZE + 1, 2 * SIZE),
        (LARGEST, LARGEST),
    ] {
        assert_eq!(class(size).usable(), usable, "{size}");
    }
    assert_eq!(class(SIZE).stride(), 128 << 10);
    for size in [LARGEST + 1, usize::MAX] {
        let error = Arena::class_of(size).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(
            text.contains("16384") && text.contains("1073741824"),
            "{text}"
        );
        assert!(text.contains(&size.to_string()), "{text}");
    }
}

#[test]
fn each_class_is_aligned_guarded_and_usable_to_its_ends() {
    for kind in kinds() {
        let mut arena = arena(kind, 0);
        for index in 0..CLASSES {
            let class = class(SMALLEST << index);
            let stack = arena.take(class).unwrap();
            let (limit, base) = (stack.limit().get(), stack.base().get());
            assert_eq!(limit % corosensei::stack::STACK_ALIGNMENT, 0);
            assert_eq!(base % corosensei::stack::STACK_ALIGNMENT, 0);
            assert_eq!(top(&stack) - stack.bottom(), class.usable());
            check_guard(&stack);
            if class.usable() <= 1 << 20 {
                fill(&stack);
            }
            for addr in [stack.bottom(), base - 1, top(&stack) - 1] {
                store(addr, 1);
                assert_eq!(load(addr), 1);
            }
            arena.free(stack);
        }
    }
}

#[test]
fn colours_differ_and_keep_to_the_topmost_page() {
    let mut arena = arena(GuardKind::Auto, 0);
    let take = |_| arena.take(class(SIZE)).unwrap();
    let stacks: Vec<_> = (0..2 * COLOURS).map(take).collect();
    let depths: Vec<_> = stacks
        .iter()
        .map(|stack| top(stack) - stack.base().get())
        .collect();
    assert_eq!(depths[..COLOURS], depths[COLOURS..]);
    assert_eq!(depths.iter().collect::<HashSet<_>>().len(), COLOURS);
    for (stack, depth) in stacks.into_iter().zip(depths) {
        assert!((HEADER..=1024).contains(&depth), "{depth}");
        stack.set_occupant(ptr::dangling());
        store(stack.base().get() - 1, 1);
        assert_eq!(resident(stack.bottom(), SIZE), 1);
        arena.free(stack);
    }
}

#[test]
fn coroutines_run_on_them() {
    let mut arena = arena(GuardKind::Auto, 4);
    let mut stacks = vec![arena.take(class(SIZE)).unwrap()];
    for turn in 0..20 {
        let stack = stacks.pop().unwrap();
        stack.set_occupant(ptr::without_provenance(turn + 1));
        let guard = stack.limit().get();
        let mut coroutine = Coroutine::with_stack(stack, |yielder, input: usize| {
            let frame = [input as u8; 4096];
            let more = yielder.suspend(std::hint::black_box(&frame)[17] as usize);
            more + frame.len()
        });
        assert!(matches!(coroutine.resume(turn), CoroutineResult::Yield(value) if value == turn));
        let hit = find_guard(guard).unwrap();
        assert_eq!(
            hit.occupant.addr(),
            turn + 1,
            "the computation leaves the header alone"
        );
        assert!(matches!(coroutine.resume(1), CoroutineResult::Return(4097)));
        arena.free(coroutine.into_stack());
        stacks.extend([class(SIZE), class(SIZE)].map(|class| arena.take(class).unwrap()));
    }
    stacks.into_iter().for_each(|stack| arena.free(stack));
}

#[test]
fn the_stack_freed_last_is_taken_first() {
    let mut arena = arena(GuardKind::Auto, 8);
    let stacks: Vec<_> = (0..4).map(|_| arena.take(class(SIZE)).unwrap()).collect();
    let slots: Vec<_> = stacks.iter().map(|stack| stack.slot()).collect();
    for stack in stacks {
        fill(&stack);
        arena.free(stack);
    }
    let again: Vec<_> = slots
        .iter()
        .map(|_| arena.take(class(SIZE)).unwrap())
        .collect();
    for (stack, slot) in again.into_iter().zip(slots.into_iter().rev()) {
        assert_eq!(stack.slot(), slot);
        assert_eq!(load(stack.bottom()), 0xa5, "its pages are still there");
        arena.free(stack);
    }
}

#[test]
fn above_the_cap_pages_go_back_and_guards_stay() {
    for kind in kinds() {
        let mut arena = arena(kind, 1);
        let stacks: Vec<_> = (0..3).map(|_| arena.take(class(SIZE)).unwrap()).collect();
        let slots: Vec<_> = stacks.iter().map(|stack| stack.slot()).collect();
        stacks.iter().for_each(fill);
        stacks.into_iter().for_each(|stack| arena.free(stack));
        assert_eq!((arena.counters().hot, arena.counters().cold), (1, 2));
        for (slot, cold) in slots.iter().zip([false, true, true]) {
            let pages = resident(slot + GUARD, SIZE);
            assert_eq!(pages, if cold { 0 } else { SIZE / chunk::page_size() });
        }
        let again = [(); 3].map(|()| arena.take(class(SIZE)).unwrap());
        for (stack, number) in again.into_iter().zip([0, 2, 1]) {
            assert_eq!(stack.slot(), slots[number], "hot first, then cold");
            check_guard(&stack);
            assert_eq!(load(stack.bottom()) == 0, number != 0);
            fill(&stack);
            arena.free(stack);
        }
    }
}

#[test]
fn trim_gives_back_what_is_below_the_stack_pointer() {
    let page = chunk::page_size();
    let mut arena = arena(GuardKind::Auto, 1);
    let stack = arena.take(class(SIZE)).unwrap();
    let pages = SIZE / page;
    for (sp, kept) in [
        (stack.bottom() + 1, pages),
        (stack.bottom() + page, pages),
        (stack.bottom() + 2 * page, pages - 1),
        (stack.base().get() - 1, 2),
    ] {
        fill(&stack);
        // SAFETY: nothing runs on the stack.
        unsafe { Arena::trim(stack.bottom(), sp) };
        assert_eq!(resident(stack.bottom(), SIZE), kept);
        assert_eq!(resident(top(&stack) - kept * page, kept * page), kept);
        assert_eq!(load(top(&stack) - kept * page), 0xa5);
    }
    check_guard(&stack);
    arena.free(stack);
}

#[test]
fn counters_follow_reservations() {
    let (small, large) = (class(SIZE), class(2 * SIZE));
    let mut arena = arena(GuardKind::Mprotect, 1);
    assert_eq!(
        arena.counters(),
        StackCounters::default(),
        "nothing is mapped yet"
    );
    for _ in 0..3 {
        arena.reserve(small).unwrap();
    }
    arena.reserve(large).unwrap();
    let expected = StackCounters {
        reserved: 4,
        mapped_bytes: chunk::FIRST_SLOTS * (small.stride() + large.stride()),
        mprotect_guards: 4,
        chunks: 2,
        ..StackCounters::default()
    };
    assert_eq!(arena.counters(), expected);
    let stacks = [small, small, large].map(|class| arena.take_reserved(class));
    let unused = arena.take_reserved(small);
    arena.free(unused);
    assert_eq!(
        arena.counters(),
        StackCounters {
            live: 3,
            reserved: 0,
            hot: 1,
            ..expected
        }
    );
    // The freed slot serves the next reservation: no further guard is made.
    arena.reserve(small).unwrap();
    let unused = arena.take_reserved(small);
    arena.free(unused);
    stacks.into_iter().for_each(|stack| arena.free(stack));
    assert_eq!(
        arena.counters(),
        StackCounters {
            reserved: 0,
            hot: 1,
            cold: 3,
            ..expected
        }
    );
}

#[test]
#[should_panic(expected = "no stack was reserved")]
fn taking_needs_a_reservation() {
    let mut arena = arena(GuardKind::Auto, 1);
    arena.reserve(class(SIZE)).unwrap();
    let unused = arena.take_reserved(class(SIZE));
    arena.free(unused);
    let _ = arena.take_reserved(class(SIZE));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "another arena")]
fn a_stack_goes_back_where_it_came_from() {
    let stack = arena(GuardKind::Auto, 1).take(class(SIZE)).unwrap();
    arena(GuardKind::Auto, 1).free(stack);
}

#[test]
fn a_guard_hit_names_the_occupant() {
    let mut arena = arena(GuardKind::Auto, 1);
    let stacks = [(); 3].map(|()| arena.take(class(SIZE)).unwrap());
    let slots = stacks.each_ref().map(|stack| stack.slot());
    let marker = ptr::from_ref(&arena).cast::<()>();
    stacks[1].set_occupant(marker);
    let hit = |occupant| {
        Some(GuardHit {
            usable: SIZE,
            occupant,
        })
    };
    for (slot, occupant) in slots.into_iter().zip([ptr::null(), marker, ptr::null()]) {
        assert_eq!(find_guard(slot), hit(occupant));
        assert_eq!(find_guard(slot + GUARD - 1), hit(occupant));
        assert_eq!(find_guard(slot + GUARD), None);
        assert_eq!(find_guard(slot + GUARD + SIZE - 1), None);
    }
    let unprepared = slots[2] + class(SIZE).stride();
    assert_eq!(find_guard(unprepared), None, "no guard there yet");
    assert_eq!(find_guard(0), None);
    assert_eq!(find_guard(usize::MAX), None);
    stacks.into_iter().for_each(|stack| arena.free(stack));
    assert_eq!(
        find_guard(slots[1]),
        hit(ptr::null()),
        "free, and still a guard"
    );
}

#[test]
fn records_of_many_threads_do_not_mix() {
    let threads = [1usize, 2, 3].map(|thread| {
        std::thread::spawn(move || {
            for turn in 0..200 {
                let class = class(SMALLEST << (turn % 3));
                let mut arena = arena(GuardKind::Auto, 1);
                let stack = arena.take(class).unwrap();
                let occupant = ptr::without_provenance(thread << 32 | turn);
                stack.set_occupant(occupant);
                let usable = class.usable();
                assert_eq!(
                    find_guard(stack.slot()),
                    Some(GuardHit { usable, occupant })
                );
                arena.free(stack);
            }
        })
    });
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_live_stack_is_never_unmapped() {
    for kind in kinds() {
        let mut arena = arena(kind, 8);
        let [lost, free] = [(); 2].map(|()| arena.take(class(SIZE)).unwrap());
        fill(&lost);
        arena.free(free);
        drop(arena);
        check_guard(&lost);
        assert_eq!(load(lost.bottom()), 0xa5);
        assert_eq!(
            find_guard(lost.slot()),
            None,
            "the arena's records are withdrawn"
        );
    }
}
