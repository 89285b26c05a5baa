//! What the parts of the scheduler and of `sync` cost: nanoseconds of one operation, on one OS
//! thread.
//!
//! Run with:
//!
//! ```text
//! cargo bench --bench micro
//! cargo bench --bench micro -- yield
//! ```
//!
//! Each measurement runs as the root of a shard of its own, in a loop as long as criterion wants
//! it, so that only what the names say is in it. Pin it to a core (`taskset -c 0`) for figures that
//! can be compared.

// An error here ends the benchmark.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use ethreads::sync::select::{Operation, any};
use ethreads::sync::{Mutex, channel};
use ethreads::thread::{self, JoinHandle};
use ethreads::{run_main, time};

const HOUR: Duration = Duration::from_secs(3600);

/// Measures `f`, which does the given number of operations, as the root of a shard.
fn in_shard(bencher: &mut Bencher<'_>, f: impl Fn(u64) + Copy + 'static) {
    bencher.iter_custom(|operations| {
        run_main(move || {
            let begun = Instant::now();
            f(operations);
            begun.elapsed()
        })
        .unwrap()
    });
}

fn join_all(ethreads: impl IntoIterator<Item = JoinHandle<()>>) {
    ethreads
        .into_iter()
        .for_each(|ethread| ethread.join().unwrap());
}

/// Does `operations` yields, by that many ethreads in turn.
fn yields(ethreads: u64, operations: u64) {
    let each = operations.div_ceil(ethreads);
    let ethreads: Vec<_> = (0..ethreads)
        .map(|_| thread::spawn(move || (0..each).for_each(|_| thread::yield_now())))
        .collect();
    join_all(ethreads);
}

fn switching(c: &mut Criterion) {
    let mut group = c.benchmark_group("yield");
    group.bench_function("2 ethreads", |b| in_shard(b, |n| yields(2, n)));
    // The ethreads exist before the measurement begins.
    group.bench_function("10,000 ethreads", |b| {
        b.iter_custom(|operations| {
            run_main(move || {
                // So many that the beginnings and ends of the ethreads do not count.
                let each = operations.div_ceil(10_000).max(100);
                let ethreads: Vec<_> = (0..10_000)
                    .map(|_| {
                        thread::spawn(move || {
                            thread::park();
                            (0..each).for_each(|_| thread::yield_now());
                        })
                    })
                    .collect();
                thread::yield_now();
                ethreads
                    .iter()
                    .for_each(|ethread| ethread.thread().unpark());
                let begun = Instant::now();
                join_all(ethreads);
                let all = (each * 10_000) as f64;
                begun.elapsed().mul_f64(operations as f64 / all)
            })
            .unwrap()
        });
    });
    group.finish();

    let mut group = c.benchmark_group("spawn and join");
    group.bench_function("one by one", |b| {
        in_shard(b, |n| {
            (0..n).for_each(|_| thread::spawn(|| ()).join().unwrap())
        });
    });
    group.bench_function("waves of 1,000", |b| {
        in_shard(b, |n| {
            let mut left = n;
            while left > 0 {
                let wave = left.min(1_000);
                let ethreads: Vec<_> = (0..wave).map(|_| thread::spawn(|| ())).collect();
                join_all(ethreads);
                left -= wave;
            }
        });
    });
    group.finish();

    c.bench_function("park and unpark, round trip", |b| {
        in_shard(b, |n| unparked(n, |_| thread::park()));
    });
}

/// Makes so many round trips of two ethreads that unpark each other; this one waits by `park`,
/// which gets the number of the round.
fn unparked(round_trips: u64, park: impl Fn(u64)) {
    let main = thread::current();
    let other = thread::spawn(move || {
        for _ in 0..round_trips {
            thread::park();
            main.unpark();
        }
    });
    thread::yield_now();
    for round in 0..round_trips {
        other.thread().unpark();
        park(round);
    }
    other.join().unwrap();
}

/// Makes so many round trips of two ethreads through two channels.
fn ping_pong(capacity: Option<usize>, round_trips: u64) {
    let ends = || match capacity {
        Some(capacity) => channel::bounded(capacity),
        None => channel::unbounded(),
    };
    let ((ping, pinged), (pong, ponged)) = (ends(), ends());
    let other = thread::spawn(move || {
        for ball in &pinged {
            pong.send(ball).unwrap();
        }
    });
    for ball in 0..round_trips {
        ping.send(ball).unwrap();
        black_box(ponged.recv().unwrap());
    }
    drop(ping);
    other.join().unwrap();
}

fn channels(c: &mut Criterion) {
    let mut group = c.benchmark_group("channel ping-pong, round trip");
    group.bench_function("rendezvous", |b| in_shard(b, |n| ping_pong(Some(0), n)));
    group.bench_function("bounded by 1", |b| in_shard(b, |n| ping_pong(Some(1), n)));
    group.bench_function("unbounded", |b| in_shard(b, |n| ping_pong(None, n)));
    group.finish();

    c.bench_function("channel fan-in, 8 senders, a message", |b| {
        in_shard(b, |n| {
            let (sender, receiver) = channel::bounded(64);
            for _ in 0..8 {
                let sender = sender.clone();
                let each = n.div_ceil(8);
                drop(thread::spawn(move || {
                    (0..each).for_each(|m| sender.send(m).unwrap())
                }));
            }
            drop(sender);
            (&receiver).into_iter().for_each(|message| {
                black_box(message);
            });
        });
    });
}

fn locks(c: &mut Criterion) {
    c.bench_function("mutex, uncontended", |b| {
        in_shard(b, |n| {
            let mutex = Mutex::new(0u64);
            (0..n).for_each(|_| *mutex.lock().unwrap() += 1);
            black_box(mutex);
        });
    });
    c.bench_function("mutex, handed over", |b| {
        in_shard(b, |n| {
            let mutex = Rc::new(Mutex::new(0u64));
            let each = n.div_ceil(2);
            let ethreads = [(); 2].map(|()| {
                let mutex = mutex.clone();
                thread::spawn(move || {
                    for _ in 0..each {
                        let mut held = mutex.lock().unwrap();
                        // The other ethread comes, and waits for the lock.
                        thread::yield_now();
                        *held += 1;
                    }
                })
            });
            join_all(ethreads);
        });
    });
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("park_timeout and unpark, round trip");
    // The entry in the timer wheel may stay where it is.
    group.bench_function("armed for later each time", |b| {
        in_shard(b, |n| unparked(n, |_| thread::park_timeout(HOUR)));
    });
    group.bench_function("armed for earlier each time", |b| {
        in_shard(b, |n| {
            unparked(n, |round| {
                thread::park_timeout(HOUR.saturating_sub(Duration::from_micros(round)));
            });
        });
    });
    group.finish();
    c.bench_function("time::timeout around nothing", |b| {
        in_shard(b, |n| {
            (0..n).for_each(|_| time::timeout(HOUR, || black_box(())).unwrap())
        });
    });
}

fn choices(c: &mut Criterion) {
    let mut group = c.benchmark_group("select over 8 channels");
    group.bench_function("one has a message", |b| {
        in_shard(b, |n| {
            let channels: Vec<_> = (0..8).map(|_| channel::unbounded()).collect();
            for message in 0..n {
                channels[message as usize % 8].0.send(message).unwrap();
                let receivers = channels.iter().map(|(_, receiver)| receiver.receiving());
                black_box(any(receivers).perform().1.unwrap());
            }
        });
    });
    group.bench_function("none has, round trip", |b| {
        in_shard(b, |n| {
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..8).map(|_| channel::unbounded()).unzip();
            let (ask, asked) = channel::unbounded();
            let other = thread::spawn(move || {
                for message in &asked {
                    let to: u64 = message;
                    senders[to as usize % 8].send(to).unwrap();
                }
            });
            for message in 0..n {
                ask.send(message).unwrap();
                let receivers = receivers.iter().map(channel::Receiver::receiving);
                black_box(any(receivers).perform().1.unwrap());
            }
            drop(ask);
            other.join().unwrap();
        });
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
}

criterion_group! {
    name = all;
    config = short();
    targets = switching, channels, locks, timers, choices
}
criterion_main!(all);
