//! The hook that sees each switch.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use ethreads::runtime::{self, SwitchHook};
use ethreads::sync::channel;
use ethreads::thread::{self, ThreadId};
use ethreads::{RunError, Runtime, bridge, spawn, time};

use crate::support::{PANICS, collect_log, fresh, logged, text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Enter(ThreadId),
    Leave(ThreadId),
    End(ThreadId),
    /// Noted by the ethread itself.
    Runs(ThreadId),
}
use Event::{End, Enter, Leave, Runs};

thread_local! {
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
    /// Called at each `enter` and `leave`.
    static ACTION: Cell<Option<fn(Event)>> = const { Cell::new(None) };
}

fn note(event: Event) {
    EVENTS.with_borrow_mut(|events| events.push(event));
    if let Some(action) = ACTION.get() {
        action(event);
    }
}

/// Notes what it sees, on each OS thread for itself.
struct Notes;

impl SwitchHook for Notes {
    fn enter(&self, ethread: ThreadId) {
        note(Enter(ethread));
    }

    fn leave(&self, ethread: ThreadId) {
        note(Leave(ethread));
    }

    fn end(&self, ethread: ThreadId) {
        note(End(ethread));
    }
}

fn runs() {
    let me = thread::current().id();
    EVENTS.with_borrow_mut(|events| events.push(Runs(me)));
}

fn hooked() -> runtime::Builder {
    Runtime::builder().switch_hook(&Notes)
}

/// What the hook saw, once it is checked that the pairs match, and which ethreads ended.
#[track_caller]
fn checked() -> (Vec<Event>, HashSet<ThreadId>) {
    let events = EVENTS.take();
    let (mut inside, mut last) = (None, None);
    let mut ended = HashSet::new();
    for &event in &events {
        match event {
            Enter(id) => {
                assert_eq!(inside.replace(id), None, "{event:?} in {events:?}");
                assert!(!ended.contains(&id), "{event:?} in {events:?}");
            }
            Leave(id) => assert_eq!(inside.take(), Some(id), "{event:?} in {events:?}"),
            Runs(id) => assert_eq!(inside, Some(id), "{event:?} in {events:?}"),
            End(id) => {
                assert_eq!(last, Some(Leave(id)), "{event:?} in {events:?}");
                assert!(ended.insert(id), "{event:?} in {events:?}");
            }
        }
        last = Some(event);
    }
    assert_eq!(inside, None, "{events:?}");
    (events, ended)
}

/// Suspends in many ways, and leaves a parked ethread to the shutdown.
fn program(with_io: bool) {
    runs();
    let me = thread::current();
    let yields = spawn(|| {
        for _ in 0..3 {
            runs();
            thread::yield_now();
        }
        runs();
    });
    let unparks = spawn(move || me.unpark());
    thread::park();
    runs();
    thread::sleep(Duration::from_millis(1));
    runs();
    let (sender, receiver) = channel::bounded(1);
    let receives = spawn(move || receiver.iter().inspect(|_| runs()).count());
    (0..5).for_each(|n| sender.send(n).unwrap());
    drop(sender);
    assert_eq!(receives.join().unwrap(), 5);
    assert!(time::timeout(Duration::from_millis(1), thread::park).is_err());
    runs();
    bridge::suspend(|me| {
        runs_on_the_schedulers_side();
        me.resume(()).unwrap();
    });
    runs();
    if with_io {
        let (mut reader, mut writer) = ethreads::io::pipe().unwrap();
        let writes = spawn(move || writer.write_all(b"1"));
        assert_eq!(reader.read(&mut [0; 2]).unwrap(), 1);
        runs();
        writes.join().unwrap().unwrap();
        bridge::blocking(|| ());
        runs();
    }
    assert!(spawn(|| panic!("for the join")).join().is_err());
    let cancelled = spawn(thread::park);
    thread::yield_now();
    cancelled.cancel();
    assert!(cancelled.join().is_err());
    let before_its_first_run = spawn(runs);
    before_its_first_run.cancel();
    assert!(before_its_first_run.join().is_err());
    // It has to check for an interrupt at each yield, and is interrupted at the second one.
    let interrupted = spawn(|| {
        loop {
            runs();
            thread::yield_now();
        }
    });
    thread::yield_now();
    interrupted.cancel();
    assert!(interrupted.join().is_err());
    let in_scope = time::timeout(Duration::from_secs(60), || {
        thread::yield_now();
        runs();
    });
    in_scope.unwrap();
    yields.join().unwrap();
    unparks.join().unwrap();
    drop(spawn(thread::park));
    thread::yield_now();
}

/// The closure given to `suspend` runs before the ethread counts as having left.
fn runs_on_the_schedulers_side() {
    let last = EVENTS.with_borrow(|events| *events.last().unwrap());
    assert!(matches!(last, Enter(_) | Runs(_)), "{last:?}");
}

#[test]
fn pairs_match_whatever_the_ethreads_do() {
    fresh(|| {
        let (runs, spawned) = hooked()
            .run(|| {
                program(true);
                let stats = runtime::stats().unwrap();
                (stats.runs, stats.spawned)
            })
            .unwrap();
        let (events, ended) = checked();
        assert_eq!(ended.len() as u64, spawned, "each has ended");
        let entered = events.iter().filter(|e| matches!(e, Enter(_))).count() as u64;
        // The root had its last run after that, and the parked ethread was cancelled. Checks for an
        // interrupt are pairs, too.
        assert!(entered >= runs + 2, "{entered} {runs}");
    });
}

#[test]
#[cfg(feature = "sim")]
fn pairs_match_in_any_order() {
    for seed in 0..50 {
        fresh(move || {
            let driver = ethreads::DriverKind::Sim { seed };
            hooked().driver(driver).run(|| program(false)).unwrap();
            checked();
        });
    }
}

#[test]
fn the_first_run_of_the_root_is_seen_and_its_end() {
    fresh(|| {
        let root = hooked().run(|| thread::current().id()).unwrap();
        assert_eq!(checked().0, [Enter(root), Leave(root), End(root)]);
    });
}

#[test]
fn an_ethread_that_is_left_behind_does_not_end() {
    collect_log();
    fresh(|| {
        let leaks = hooked().grace(Duration::ZERO).run(|| {
            let leaks = spawn(|| thread::uncancellable(thread::park));
            thread::yield_now();
            leaks.thread().id()
        });
        let leaks = leaks.unwrap();
        let (events, ended) = checked();
        assert!(events.contains(&Leave(leaks)) && !ended.contains(&leaks));
    });
}

#[test]
fn shards_share_a_hook_and_each_calls_it_on_its_own_os_thread() {
    let shards = hooked().shards(2).run(|_| {
        let other = spawn(runs).thread().id();
        thread::yield_now();
        // The pair of the root is open.
        let root = thread::current().id();
        EVENTS.take()
            == [
                Enter(root),
                Leave(root),
                Enter(other),
                Runs(other),
                Leave(other),
                End(other),
                Enter(root),
            ]
    });
    let shards: Vec<_> = shards.into_iter().map(Result::unwrap).collect();
    assert_eq!(shards, [true, true]);
}

#[test]
fn without_a_hook_nothing_is_called() {
    fresh(|| {
        Runtime::builder().run(|| thread::yield_now()).unwrap();
        assert_eq!(checked().0, []);
    });
}

#[test]
fn the_hook_cannot_wait_nor_run_the_scheduler() {
    fn attempt(_: Event) {
        const ATTEMPTS: [(&str, fn()); 6] = [
            (
                "on the scheduler's side: the closure given to `suspend`, and a switch hook",
                || {
                    thread::sleep(Duration::from_millis(1));
                },
            ),
            ("on the scheduler's side", thread::park),
            ("on the scheduler's side", thread::yield_now),
            ("on the scheduler's side", || {
                let (_sender, receiver) = channel::bounded::<()>(0);
                receiver.recv().unwrap();
            }),
            ("or in a switch hook: the scheduler runs already", || {
                drop(ethreads::run())
            }),
            ("or in a switch hook: the scheduler runs already", || {
                drop(ethreads::run_main(|| ()));
            }),
        ];
        ACTION.set(None);
        for (expected, attempt) in ATTEMPTS {
            let payload = panic::catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
            assert!(text(&*payload).contains(expected), "{expected}");
        }
        TRIED.set(TRIED.get() + 1);
    }
    thread_local!(static TRIED: Cell<u32> = const { Cell::new(0) });
    fresh(|| {
        // At the beginning, and at a leave.
        ACTION.set(Some(attempt));
        let run = hooked().run(|| {
            ACTION.set(Some(attempt));
            thread::yield_now();
            runs();
        });
        run.unwrap();
        assert_eq!(TRIED.get(), 2);
        checked();
    });
}

#[test]
fn the_hook_may_spawn_unpark_cancel_and_read_counters() {
    thread_local! {
        static WAITS: RefCell<Option<thread::JoinHandle<()>>> = const { RefCell::new(None) };
        static SPAWNED: Cell<bool> = const { Cell::new(false) };
    }
    fresh(|| {
        let run = hooked().run(|| {
            WAITS.set(Some(spawn(thread::park)));
            ACTION.set(Some(|event| {
                assert_eq!(thread::current().name(), std::thread::current().name());
                assert!(runtime::stats().unwrap().ethreads > 0);
                let parked = WAITS.with_borrow(|waits| waits.as_ref().unwrap().thread().id());
                // Right when it has left, and before the scheduler has its stack.
                if event == Leave(parked) {
                    WAITS.with_borrow(|waits| waits.as_ref().unwrap().thread().unpark());
                    drop(spawn(|| SPAWNED.set(true)));
                    ACTION.set(Some(|_| ()));
                }
            }));
            thread::yield_now();
            WAITS.take().unwrap().join().unwrap();
            thread::yield_now();
            assert!(SPAWNED.get());

            // An ethread that has left by a yield is cancelled before its next turn.
            WAITS.set(Some(spawn(|| {
                loop {
                    thread::yield_now();
                }
            })));
            ACTION.set(Some(|event| {
                if matches!(event, Leave(_)) {
                    WAITS.with_borrow(|waits| waits.as_ref().unwrap().cancel());
                }
            }));
            thread::yield_now();
            ACTION.set(None);
            assert!(WAITS.take().unwrap().join().is_err());
        });
        run.unwrap();
        checked();
    });
}

#[test]
fn a_panic_of_the_hook_is_logged_and_the_ethreads_go_on() {
    collect_log();
    fresh(|| {
        ACTION.set(Some(|event| {
            // The line makes the logger panic, too.
            let where_from = if matches!(event, Enter(_)) {
                PANICS
            } else {
                "hook-on-leave"
            };
            panic!("{where_from}");
        }));
        hooked().run(|| program(true)).unwrap();
        ACTION.set(None);
        checked();
    });
    assert!(!logged("the switch hook panicked: hook-on-leave").is_empty());
}

#[test]
fn a_deadlock_of_a_hooked_shard_is_reported() {
    fresh(|| {
        let run = hooked().run(|| thread::park());
        let Err(RunError::Deadlock(report)) = run else {
            panic!("{run:?}")
        };
        assert!(format!("{report:#}").contains("park"));
        // The backtrace is taken on the stack of the ethread, which is no run of it.
        checked();
    });
}
