//! Fairness: an ethread that loops over time slices, or over calls that need not wait, does not
//! keep the shard from the other ethreads.

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use ethreads::net::UnixStream;
use ethreads::sync::broadcast;
use ethreads::time::{self, Instant};
use ethreads::{Runtime, thread};

use crate::support::fresh;

/// Holds the shard for `duration`.
fn compute(duration: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < duration {
        std::hint::spin_loop();
    }
}

const MICROS: Duration = Duration::from_micros(100);

/// Time slices that are over whenever they yield.
fn slices() -> [fn(); 6] {
    [
        || {
            let _ = time::timeout(MICROS, || {
                loop {
                    compute(3 * MICROS);
                    thread::yield_now();
                }
            });
        },
        || _ = time::timeout(Duration::ZERO, thread::yield_now),
        || _ = time::timeout(Duration::ZERO, || thread::sleep(Duration::ZERO)),
        || _ = time::timeout(Duration::ZERO, || ethreads::bridge::blocking(|| ())),
        || {
            drop(time::timeout_io(Duration::ZERO, || {
                ethreads::fs::read("/dev/null")
            }))
        },
        || {
            // The yields of this slice come from the budget.
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            let _ = time::timeout_io(MICROS, || {
                loop {
                    compute(MICROS / 100);
                    ours.write_all(b"x")?;
                    theirs.read_exact(&mut [0])?;
                }
                #[expect(unreachable_code, reason = "its type")]
                Ok(())
            });
        },
    ]
}

#[test]
fn a_loop_of_time_slices_that_are_over_lets_the_others_run() {
    for (number, slice) in slices().into_iter().enumerate() {
        let rounds = Runtime::builder().run(move || {
            let stop = Rc::new(Cell::new(false));
            let stops = stop.clone();
            drop(thread::spawn(move || stops.set(true)));
            (0..1_000)
                .take_while(|_| {
                    slice();
                    !stop.get()
                })
                .count()
        });
        assert!(rounds.unwrap() < 1_000, "slice {number}");
    }
}

#[test]
fn a_loop_that_never_has_to_wait_lets_the_others_run() {
    let rounds = Runtime::builder().run(move || {
        let stop = Rc::new(Cell::new(false));
        let stops = stop.clone();
        drop(thread::spawn(move || stops.set(true)));
        let (sender, mut receiver) = broadcast::channel(1);
        let rounds = (0..1_000).take_while(|_| {
            sender.send(1).unwrap();
            receiver.recv().unwrap();
            !stop.get()
        });
        rounds.count()
    });
    assert!(rounds.unwrap() < 1_000);
}

#[test]
fn so_does_one_on_the_os_threads_own_side() {
    fresh(|| {
        let stop = Rc::new(Cell::new(false));
        let stops = stop.clone();
        drop(thread::spawn(move || stops.set(true)));
        for _ in 0..10 {
            let _ = time::timeout(Duration::ZERO, thread::yield_now);
        }
        assert!(stop.get());
    });
}

/// Counts the turns that an ethread which computes for `turn` begins before `wait` ends in another
/// ethread.
fn turns_during(turn: Duration, watchdog: Option<Duration>, wait: fn()) -> usize {
    let run = Runtime::builder().watchdog(watchdog).run(move || {
        let over = Rc::new(Cell::new(false));
        let waiter = over.clone();
        drop(thread::spawn(move || {
            wait();
            waiter.set(true);
        }));
        thread::yield_now();
        let turns = (0..64).take_while(|_| {
            compute(turn);
            thread::yield_now();
            !over.get()
        });
        turns.count()
    });
    run.unwrap()
}

#[test]
fn events_are_looked_at_between_turns_that_take_long() {
    let waits: [fn(); 2] = [
        || thread::sleep(Duration::from_millis(1)),
        || {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            std::thread::spawn(move || theirs.write_all(b"x"));
            ours.read_exact(&mut [0]).unwrap();
        },
    ];
    for wait in waits {
        for watchdog in [None, Some(Duration::from_millis(100))] {
            let turns = turns_during(Duration::from_millis(20), watchdog, wait);
            // If only turns were counted, a whole batch of them would run.
            assert!(turns < 32, "after {turns} turns of 20 ms");
        }
    }
}
