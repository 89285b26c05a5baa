//! The simulation: virtual time and seeded order.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use ethreads::time::Instant;
use ethreads::{DriverKind, RunError, Runtime, bridge, runtime, sim, thread};

use crate::support::{OnDrop, collect_log, fresh, in_child, logged, stderr};

const HOUR: Duration = Duration::from_secs(3600);

/// The order in which ten ethreads take their turns.
fn order(seed: u64) -> Vec<(u32, Duration)> {
    let run = sim::run(seed, || {
        let trace = Rc::new(RefCell::new(Vec::new()));
        let start = Instant::now();
        let handles: Vec<_> = (0..10)
            .map(|n| {
                let trace = trace.clone();
                thread::spawn(move || {
                    for round in 0..3 {
                        trace.borrow_mut().push((n, start.elapsed()));
                        thread::sleep(Duration::from_secs(u64::from(n % 3 + round)));
                        thread::yield_now();
                    }
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        trace.take()
    });
    run.unwrap()
}

#[test]
fn a_seed_repeats_exactly() {
    let orders: Vec<_> = (0..20).map(order).collect();
    for (seed, first) in (0..).zip(&orders) {
        assert_eq!(*first, order(seed), "seed {seed}");
    }
    let different: HashSet<_> = orders.into_iter().collect();
    assert_eq!(different.len(), 20, "seeds try different orders");
}

#[test]
fn time_is_exact_and_costs_nothing() {
    let run = sim::run(0, || {
        let start = Instant::now();
        let handles: Vec<_> = (1..=1000)
            .map(|n| {
                thread::spawn(move || {
                    thread::sleep(HOUR * n);
                    start.elapsed()
                })
            })
            .collect();
        for (n, handle) in (1..).zip(handles) {
            assert_eq!(handle.join().unwrap(), HOUR * n);
        }
        // Computation takes no virtual time.
        (0..10_000).for_each(|_| thread::yield_now());
        assert_eq!(start.elapsed(), HOUR * 1000);
        runtime::stats().unwrap().driver
    });
    assert_eq!(run.unwrap(), DriverKind::Sim { seed: 0 });
}

#[test]
fn timeouts_and_wakes_meet_as_they_should() {
    let run = sim::run(5, || {
        let start = Instant::now();
        let parked = thread::spawn(move || {
            thread::park_timeout(HOUR);
            let first = start.elapsed();
            thread::park_timeout(HOUR);
            (first, start.elapsed())
        });
        thread::sleep(HOUR / 2);
        parked.thread().unpark();
        parked.join().unwrap()
    });
    assert_eq!(run.unwrap(), (HOUR / 2, HOUR / 2 + HOUR));
}

#[test]
fn time_stands_still_while_another_os_thread_can_wake_an_ethread() {
    let run = sim::run(6, || {
        let start = Instant::now();
        let me = thread::current().into_remote();
        let (go, wait) = mpsc::channel::<()>();
        let elsewhere = std::thread::spawn(move || {
            wait.recv().unwrap();
            me.unpark();
        });
        drop(thread::spawn(move || go.send(()).unwrap()));
        thread::park_timeout(HOUR);
        let woken = start.elapsed();
        elsewhere.join().unwrap();
        thread::park_timeout(HOUR);
        (woken, start.elapsed())
    });
    assert_eq!(run.unwrap(), (Duration::ZERO, HOUR));
}

#[test]
fn a_blocking_call_takes_no_virtual_time() {
    let run = sim::run(7, || {
        let start = Instant::now();
        drop(thread::spawn(|| thread::sleep(HOUR)));
        let (sender, receiver) = mpsc::channel();
        drop(thread::spawn(move || sender.send(8).unwrap()));
        let value = bridge::blocking(move || receiver.recv().unwrap());
        (value, start.elapsed())
    });
    assert_eq!(run.unwrap(), (8, Duration::ZERO));
}

#[test]
fn a_deadlock_is_found_at_once_and_logged_with_its_seed() {
    collect_log();
    let result = sim::run(8_000_008, || thread::park());
    assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
    let lines = logged("sim seed 8000008");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(file!()) && lines[0].contains("deadlock"),
        "{lines:?}"
    );
}

#[test]
fn a_panic_says_its_seed() {
    let Some(output) = in_child("runtime::sim::a_panic_says_its_seed") else {
        return sim::run(9_000_009, || panic!("in the simulation")).unwrap();
    };
    assert!(!output.status.success());
    let printed = stderr(&output);
    assert!(printed.contains("in the simulation"), "{printed}");
    assert!(printed.contains("sim seed 9000009"), "{printed}");
}

#[test]
fn each_run_begins_anew() {
    let begin = |seed| sim::run(seed, Instant::now).unwrap();
    assert_eq!(begin(1), begin(2));
    fresh(|| {
        drop(thread::spawn(|| ()));
        let Err(RunError::Io(error)) = sim::run(1, || ()) else {
            panic!("it ran")
        };
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        ethreads::run().unwrap();
    });
}

/// Runs `f` under the simulation, and then shuts down what it has left behind.
fn shut_down(grace: Duration, f: impl FnOnce() + 'static) {
    let sim = DriverKind::Sim { seed: 10 };
    Runtime::builder().driver(sim).grace(grace).run(f).unwrap();
}

/// Spawns a detached ethread that runs `f`, and lets it begin.
fn begin(name: &str, f: impl FnOnce() + 'static) {
    let begun = Rc::new(Cell::new(false));
    let theirs = begun.clone();
    let body = move || {
        theirs.set(true);
        f();
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    drop(spawned.unwrap());
    while !begun.get() {
        thread::yield_now();
    }
}

#[test]
fn a_shutdown_ends_although_another_os_thread_can_wake_an_ethread() {
    collect_log();
    let (keep, kept) = mpsc::channel();
    shut_down(Duration::from_millis(20), move || {
        begin("sleeps beyond the grace", || {
            thread::uncancellable(|| thread::sleep(HOUR));
        });
        keep.send(thread::current().into_remote()).unwrap();
    });
    assert_eq!(logged("sleeps beyond the grace").len(), 1);
    drop(kept);
}

#[test]
fn cleanup_may_sleep_although_another_os_thread_can_wake_an_ethread() {
    let (keep, kept) = mpsc::channel();
    let slept = Rc::new(Cell::new(Duration::ZERO));
    let theirs = slept.clone();
    shut_down(HOUR, move || {
        begin("cleans up", move || {
            let _cleanup = OnDrop(move || {
                let slept = theirs.clone();
                drop(thread::spawn(move || {
                    let start = Instant::now();
                    thread::sleep(Duration::from_millis(2));
                    slept.set(start.elapsed());
                }));
            });
            thread::park();
        });
        keep.send(thread::current().into_remote()).unwrap();
    });
    assert_eq!(slept.get(), Duration::from_millis(2));
    drop(kept);
}

#[test]
fn a_shutdown_waits_for_what_another_os_thread_still_does() {
    let ended = Rc::new(Cell::new(false));
    let theirs = ended.clone();
    shut_down(HOUR, move || {
        let (cancelled, wait) = mpsc::channel::<()>();
        begin("waits for the pool", move || {
            let call = move || wait.recv().unwrap_err();
            thread::uncancellable(|| bridge::blocking(call));
            theirs.set(true);
        });
        // The call ends when the shutdown reaches this ethread.
        begin("ends the call", move || {
            let _cancelled = cancelled;
            thread::park();
        });
    });
    assert!(ended.get());
}

#[test]
fn an_ethread_that_never_parks_does_not_hold_up_a_shutdown() {
    collect_log();
    shut_down(Duration::from_millis(20), || {
        begin("spins beyond the grace", || {
            thread::uncancellable(|| {
                loop {
                    thread::yield_now();
                }
            });
        });
    });
    assert_eq!(logged("spins beyond the grace").len(), 1);
}
