//! The end of a runtime: cancels, cleanup, grace, and what is left behind.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::runtime::GuardKind;
use ethreads::{RunError, Runtime, runtime, thread};

use crate::support::{OnDrop, collect_log, deadlock, fresh, logged};

#[test]
fn the_remaining_ethreads_unwind_in_the_order_of_their_spawns() {
    let trace = Rc::new(RefCell::new(Vec::new()));
    let theirs = trace.clone();
    let result = Runtime::builder().run(move || {
        for n in 0..3 {
            let trace = theirs.clone();
            drop(thread::spawn(move || {
                let _drop = OnDrop(|| trace.borrow_mut().push(n));
                thread::park();
            }));
        }
        thread::yield_now();
        "value"
    });
    assert_eq!(result.unwrap(), "value");
    assert_eq!(trace.take(), [0, 1, 2]);
}

#[test]
fn ethreads_that_have_not_begun_do_not_begin() {
    let dropped = Rc::new(Cell::new(false));
    let theirs = dropped.clone();
    let result = Runtime::builder().run(move || {
        let closure = OnDrop(move || theirs.set(true));
        drop(thread::spawn(move || {
            let _closure = closure;
            unreachable!("the runtime has ended");
        }));
    });
    result.unwrap();
    assert!(dropped.get());
}

#[test]
fn daemons_are_shut_down_too() {
    let unwound = Rc::new(Cell::new(false));
    let theirs = unwound.clone();
    let result = Runtime::builder().run(move || {
        let daemon = thread::Builder::new().daemon(true).spawn(move || {
            let _drop = OnDrop(|| theirs.set(true));
            thread::park();
        });
        drop(daemon.unwrap());
        thread::yield_now();
    });
    result.unwrap();
    assert!(unwound.get());
}

#[test]
fn daemons_stay_for_the_next_run() {
    fresh(|| {
        let turns = Rc::new(Cell::new(0));
        let theirs = turns.clone();
        let daemon = thread::Builder::new().daemon(true).spawn(move || {
            loop {
                theirs.set(theirs.get() + 1);
                thread::park();
            }
        });
        let daemon = daemon.unwrap();
        for turn in 1..=3 {
            drop(thread::spawn(|| thread::yield_now()));
            ethreads::run().unwrap();
            assert_eq!(turns.get(), turn);
            daemon.thread().unpark();
        }
        daemon.cancel();
        assert!(daemon.join().is_err());
    });
}

#[test]
fn cleanup_that_is_spawned_while_unwinding_runs_and_may_wait() {
    let cleaned = Rc::new(Cell::new(false));
    let theirs = cleaned.clone();
    let result = Runtime::builder().run(move || {
        drop(thread::spawn(move || {
            let _drop = OnDrop(move || {
                let cleaned = theirs.clone();
                drop(thread::spawn(move || {
                    thread::sleep(Duration::from_millis(1));
                    thread::yield_now();
                    cleaned.set(true);
                }));
            });
            thread::park();
        }));
        thread::yield_now();
    });
    result.unwrap();
    assert!(cleaned.get());
}

#[test]
fn waits_without_a_stack_are_dropped() {
    let dropped = Rc::new(Cell::new(0));
    let theirs = dropped.clone();
    let result = Runtime::builder().run(move || {
        let (ours, theirs_end) = ethreads::net::UnixStream::pair().unwrap();
        for deadline in [
            None,
            Some(ethreads::time::Instant::now() + Duration::from_secs(3600)),
        ] {
            let count = theirs.clone();
            let witness = OnDrop(move || count.set(count.get() + 1));
            let readable = ethreads::bridge::Interest::Readable;
            let waits = ethreads::bridge::on_ready(&ours, readable, deadline, move |_| {
                let _witness = witness;
                unreachable!("nothing comes");
            });
            drop(waits.unwrap());
        }
        // Both ends of the socket outlive the shard: only the end of the shard ends these waits.
        (ours, theirs_end)
    });
    drop(result.unwrap());
    assert_eq!(dropped.get(), 2);
}

#[test]
fn an_ethread_that_only_ended_ones_could_wake_is_left_behind_at_once() {
    collect_log();
    let result = Runtime::builder().grace(Duration::from_secs(3600)).run(|| {
        let builder = thread::Builder::new().name("left-at-once");
        drop(
            builder
                .spawn(|| thread::uncancellable(|| thread::park()))
                .unwrap(),
        );
        thread::yield_now();
        1
    });
    assert_eq!(result.unwrap(), 1);
    assert!(!logged("left-at-once").is_empty());
}

/// Ways to go on in spite of a cancel.
fn stubborn() -> [(&'static str, fn()); 3] {
    [
        ("stubborn-catcher", || {
            loop {
                drop(panic::catch_unwind(AssertUnwindSafe(|| {
                    thread::yield_now()
                })));
            }
        }),
        // Never parks, so nothing but the shutdown looks at the time.
        ("stubborn-yielder", || {
            thread::uncancellable(|| {
                loop {
                    thread::yield_now();
                }
            })
        }),
        ("stubborn-sleeper", || {
            thread::uncancellable(|| {
                loop {
                    thread::sleep(Duration::from_millis(1));
                }
            })
        }),
    ]
}

#[test]
fn stubborn_ones_are_left_behind_after_the_grace_and_named() {
    collect_log();
    for (name, body) in stubborn() {
        let frame = Rc::new(Cell::new(false));
        let theirs = frame.clone();
        let result = Runtime::builder()
            .grace(Duration::from_millis(30))
            .run(move || {
                drop(thread::Builder::new().name(name).spawn(move || {
                    let _frame = OnDrop(|| theirs.set(true));
                    body();
                }));
                thread::yield_now();
                2
            });
        assert_eq!(result.unwrap(), 2, "{name}");
        assert!(!frame.get(), "{name}: its stack is left as it is");
        let lines = logged(name);
        assert!(
            lines
                .iter()
                .any(|line| line.contains("1 ethreads are leaked")),
            "{lines:?}"
        );
    }
}

#[test]
fn an_os_thread_goes_on_after_leaving_some_behind() {
    for (name, body) in stubborn() {
        for round in 0..2 {
            let result = Runtime::builder()
                .grace(Duration::from_millis(1))
                .run(move || {
                    assert_eq!(runtime::stats().unwrap().ethreads, 1);
                    drop(thread::spawn(body));
                    let fine = thread::spawn(move || round);
                    fine.join().unwrap()
                });
            assert_eq!(result.unwrap(), round, "{name}");
        }
    }
}

#[test]
fn a_deadlocked_root_is_reported_and_unwound() {
    let unwound = Rc::new(Cell::new(false));
    let theirs = unwound.clone();
    let result = Runtime::builder().run(move || {
        let _drop = OnDrop(|| theirs.set(true));
        thread::park();
    });
    let deadlock = deadlock(result);
    assert_eq!(deadlock.parked()[0].name.as_deref(), Some("main"));
    assert!(unwound.get());
    // The shard is gone; there is no ethread to cancel.
    deadlock.cancel_all();
}

#[test]
fn panics_of_others_are_reported_instead_of_the_roots_value() {
    let result = Runtime::builder().run(|| {
        drop(thread::spawn(|| panic!("while the root is well")));
        thread::yield_now();
        3
    });
    assert!(matches!(result, Err(RunError::Panicked(1))), "{result:?}");
}

#[test]
fn settings_out_of_range_are_refused_before_anything_runs() {
    let result = Runtime::builder()
        .stack_size((1 << 30) + 1)
        .run(|| unreachable!());
    let Err(RunError::Io(error)) = result else {
        panic!("it ran")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    // Nothing is left of the attempt.
    Runtime::builder().run(|| ()).unwrap();
}

#[test]
fn guards_by_mprotect_serve_as_well() {
    let result = Runtime::builder()
        .guard(GuardKind::Mprotect)
        .stack_size(64 << 10)
        .run(|| {
            let handles: Vec<_> = (0..200)
                .map(|n| {
                    thread::spawn(move || {
                        thread::yield_now();
                        n
                    })
                })
                .collect();
            let cancelled = thread::spawn(|| thread::park());
            thread::yield_now();
            cancelled.cancel();
            assert!(cancelled.join().is_err());
            let sum: i32 = handles
                .into_iter()
                .map(|handle| handle.join().unwrap())
                .sum();
            (sum, runtime::stats().unwrap().stacks)
        });
    let (sum, stacks) = result.unwrap();
    assert_eq!(sum, 199 * 200 / 2);
    assert_eq!((stacks.live, stacks.madvise_guards), (1, 0));
    assert!(stacks.mprotect_guards >= 202, "{stacks:?}");
}

#[cfg(feature = "sim")]
#[test]
fn the_grace_is_what_was_asked_for() {
    use ethreads::{sim, time::Instant};

    collect_log();
    let last = Rc::new(Cell::new(Duration::ZERO));
    let theirs = last.clone();
    let result = sim::run(3, move || {
        let start = Instant::now();
        drop(thread::spawn(move || {
            thread::uncancellable(|| {
                loop {
                    thread::sleep(Duration::from_secs(1));
                    theirs.set(start.elapsed());
                }
            });
        }));
        // Time goes on only when no other ethread is ready, so the ethread has begun.
        thread::sleep(Duration::from_nanos(1));
    });
    result.unwrap();
    // The default grace is five seconds; the shard stops at the very end of it.
    assert!((4..=5).contains(&last.get().as_secs()), "{last:?}");
}
