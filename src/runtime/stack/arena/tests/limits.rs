//! Refusals of the kernel, and effects on the whole process.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::process::Command;
use std::ptr;

use super::super::{GuardKind, LARGEST, SMALLEST};
use super::{SIZE, arena, check_guard, class, kinds, top};
use crate::runtime::stack::layout::GUARD;
use crate::runtime::stack::registry::find_guard;

/// Runs `body` in a process of its own, where no other test maps memory and limits affect no other
/// test.
fn isolated(name: &str, body: fn()) {
    const CHILD: &str = "ETHREADS_ISOLATED_TEST";
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let module = module_path!().split_once("::").unwrap().1;
    let output = Command::new(env::current_exe().unwrap())
        .args([&format!("{module}::{name}"), "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{errors}",
        output.status
    );
    assert!(text.contains("1 passed"), "no test of that name: {text}");
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

fn max_map_count() -> usize {
    let text = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    text.trim().parse().unwrap()
}

/// Locks the guard of a slot, which makes the kernel refuse to mark it: madvise(2), EINVAL.
fn lock(slot: usize) {
    // SAFETY: mlock(2) checks the range itself.
    let result = unsafe { libc::mlock(ptr::with_exposed_provenance(slot), GUARD) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

fn unlock(slot: usize) {
    // SAFETY: munlock(2) checks the range itself.
    let result = unsafe { libc::munlock(ptr::with_exposed_provenance(slot), GUARD) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[test]
fn auto_falls_back_where_the_kernel_refuses() {
    let mut arena = arena(GuardKind::Auto, 1);
    let first = arena.take(class(SIZE)).unwrap();
    let before = arena.counters();
    let next = top(&first);
    lock(next);
    let second = arena.take(class(SIZE)).unwrap();
    assert_eq!(second.slot(), next);
    check_guard(&second);
    let third = arena.take(class(SIZE)).unwrap();
    check_guard(&third);
    let after = arena.counters();
    assert_eq!(after.madvise_guards, before.madvise_guards);
    assert_eq!(
        after.mprotect_guards,
        before.mprotect_guards + 2,
        "and stays with it"
    );
    [first, second, third]
        .into_iter()
        .for_each(|stack| arena.free(stack));
}

#[test]
fn madvise_alone_says_what_it_needs() {
    let mut arena = arena(GuardKind::Madvise, 1);
    let Ok(first) = arena.take(class(SIZE)) else {
        assert_eq!(kinds(), [GuardKind::Mprotect]);
        return;
    };
    let next = top(&first);
    lock(next);
    let error = arena.reserve(class(SIZE)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("Linux 6.13") && text.contains("mlockall"),
        "{text}"
    );
    // The slot is tried again once the cause is gone.
    unlock(next);
    let second = arena.take(class(SIZE)).unwrap();
    assert_eq!(second.slot(), next);
    check_guard(&second);
    [first, second]
        .into_iter()
        .for_each(|stack| arena.free(stack));
}

#[test]
fn an_arena_unmaps_its_chunks() {
    isolated("an_arena_unmaps_its_chunks", || {
        for kind in kinds() {
            let before = mappings();
            let mut arena = arena(kind, 8);
            let stacks: Vec<_> = (0..100).map(|_| arena.take(class(SIZE)).unwrap()).collect();
            let slots: Vec<_> = stacks.iter().map(|stack| stack.slot()).collect();
            assert!(mappings() > before);
            stacks.into_iter().for_each(|stack| arena.free(stack));
            drop(arena);
            assert_eq!(mappings(), before);
            assert!(slots.into_iter().all(|slot| find_guard(slot).is_none()));
        }
    });
}

#[test]
fn marked_guards_share_few_mappings() {
    isolated("marked_guards_share_few_mappings", || {
        if kinds() == [GuardKind::Mprotect] {
            return;
        }
        const STACKS: usize = 200_000;
        let before = mappings();
        let mut live = Vec::new();
        let mut arena = arena(GuardKind::Madvise, 8);
        for n in 0..STACKS {
            arena.reserve(class(SIZE)).unwrap();
            // Mappings that were touched merge by other rules than fresh ones.
            if n % 256 == 0 {
                live.push(arena.take_reserved(class(SIZE)));
                live[n / 256].set_occupant(ptr::dangling());
            }
        }
        assert_eq!(arena.counters().madvise_guards, STACKS);
        let added = mappings() - before;
        assert!(added <= 24, "{added} mappings in {:?}", arena.counters());
        live.into_iter().for_each(|stack| arena.free(stack));
    });
}

#[test]
fn the_limit_of_address_space_is_named() {
    isolated("the_limit_of_address_space_is_named", || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let size = status
            .lines()
            .find_map(|line| line.strip_prefix("VmSize:"))
            .unwrap();
        let used: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        let limit = (used << 10) + (256 << 20);
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: a plain call, in a process of its own.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        let mut arena = arena(GuardKind::Auto, 1);
        let error = arena.reserve(class(LARGEST)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        let text = error.to_string();
        for name in [
            "RLIMIT_AS (ulimit -v)",
            "vm.overcommit_memory",
            "cgroup",
            "1073741824",
        ] {
            assert!(text.contains(name), "{text}");
        }
        assert!(
            text.contains(&format!("vm.max_map_count (now {})", max_map_count())),
            "{text}"
        );
        // Sixteen of these exceed the limit; fewer are mapped then.
        arena.reserve(class(16 << 20)).unwrap();
        assert_eq!(arena.counters().reserved, 1);
    });
}

#[test]
fn the_limit_of_mappings_is_named() {
    isolated("the_limit_of_mappings_is_named", || {
        let limit = max_map_count();
        if limit > 1_000_000 {
            // Out of reach of this test in time and page tables.
            return;
        }
        let mut arena = arena(GuardKind::Mprotect, 1);
        let mut stacks = Vec::with_capacity(limit);
        let error = loop {
            match arena.take(class(SMALLEST)) {
                Ok(stack) => stacks.push(stack),
                Err(error) => break error,
            }
        };
        let guards = arena.counters().mprotect_guards;
        assert_eq!(guards, stacks.len());
        let stack = stacks.pop().unwrap();
        let slot = stack.slot();
        arena.free(stack);
        assert_eq!(
            arena.take(class(SMALLEST)).unwrap().slot(),
            slot,
            "what there is goes on working"
        );
        // Room for the test's own output.
        stacks.into_iter().for_each(|stack| arena.free(stack));
        drop(arena);

        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        let text = error.to_string();
        assert!(
            text.contains(&format!("vm.max_map_count (now {limit})")),
            "{text}"
        );
        assert!(text.contains(&format!("{guards} are in place")), "{text}");
    });
}
