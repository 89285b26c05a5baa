//! The counters of a shard, read there and from other OS threads.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use ethreads::runtime::{self, Shard, Stats};
use ethreads::sync::{channel, remote};
use ethreads::{RunError, Runtime, bridge, thread, time};

use crate::support::{collect_log, fresh};

fn here() -> Stats {
    runtime::stats().unwrap()
}

/// How often each counter that no timing changes has counted during `f`.
fn counted(f: impl FnOnce()) -> [(&'static str, u64); 8] {
    let before = here();
    f();
    let after = here();
    let count = |name, of: fn(&Stats) -> u64| (name, of(&after) - of(&before));
    [
        count("spawned", |stats| stats.spawned),
        count("ended", |stats| stats.ended),
        count("panicked", |stats| stats.panicked),
        count("cancelled", |stats| stats.cancelled),
        count("runs", |stats| stats.runs),
        count("timers_fired", |stats| stats.timers_fired),
        count("blocking_calls", |stats| stats.blocking_calls),
        count("budget_yields", |stats| stats.budget_yields),
    ]
}

/// [`counted`] without the counters that stay.
fn changed(f: impl FnOnce()) -> Vec<(&'static str, u64)> {
    let counted = counted(f).into_iter();
    counted.filter(|&(_, count)| count > 0).collect()
}

#[test]
#[cfg(feature = "sim")]
fn counts_of_a_known_program_are_exact() {
    let second = Duration::from_secs(1);
    for seed in 0..20 {
        let run = ethreads::sim::run(seed, move || {
            let counts = changed(|| {
                let sleepers = (0..10).map(|_| {
                    thread::spawn(move || {
                        thread::sleep(second);
                        thread::yield_now();
                    })
                });
                let sleepers: Vec<_> = sleepers.collect();
                thread::sleep(second * 2);
                sleepers.into_iter().for_each(|s| s.join().unwrap());
            });
            // Three runs of each sleeper, and one run of the root, which had begun before.
            let expected = [
                ("spawned", 10),
                ("ended", 10),
                ("runs", 31),
                ("timers_fired", 11),
            ];
            assert_eq!(counts, expected, "seed {seed}");

            let counts = changed(|| {
                let waits = thread::spawn(thread::park);
                thread::sleep(second);
                waits.cancel();
                assert!(waits.join().is_err());
                assert!(thread::spawn(|| panic!("for the join")).join().is_err());
                drop(thread::spawn(|| panic!("for the log")));
                assert!(time::timeout(second, thread::park).is_err());
            });
            let expected = [
                ("spawned", 3),
                ("ended", 3),
                ("panicked", 1),
                ("cancelled", 1),
                ("runs", 8),
                ("timers_fired", 2),
            ];
            assert_eq!(counts, expected, "seed {seed}");
        });
        assert!(matches!(run, Err(RunError::Panicked(1))), "{run:?}");
    }
}

#[test]
fn the_loop_and_the_driver_are_counted() {
    let run = Runtime::builder().run(|| {
        let before = here();
        thread::sleep(Duration::from_millis(1));
        let slept = here();
        let counts = [
            slept.turns - before.turns,
            slept.polls - before.polls,
            slept.waits - before.waits,
            slept.events - before.events,
            slept.remote_wakes - before.remote_wakes,
        ];
        // A timer of the kernel may fire too early by the rounding of its clock.
        assert!(
            counts[0] >= 1 && counts[1] >= 1 && counts[2] >= 1,
            "{counts:?}"
        );
        assert_eq!(counts[3..], [0, 0]);

        let (mut reader, writer) = ethreads::io::pipe().unwrap();
        let writer = thread::spawn(move || io::Write::write(&mut &writer, b"1"));
        assert_eq!(io::Read::read(&mut reader, &mut [0; 2]).unwrap(), 1);
        writer.join().unwrap().unwrap();
        assert!(here().events > slept.events);

        let me = thread::current().into_remote();
        let unparks = std::thread::spawn(move || me.unpark());
        thread::park();
        unparks.join().unwrap();
        let unparked = here();
        assert_eq!(unparked.remote_wakes - slept.remote_wakes, 1);
        bridge::blocking(|| ());
        let called = here();
        assert_eq!(called.remote_wakes - unparked.remote_wakes, 1);
        assert_eq!(called.blocking_calls - unparked.blocking_calls, 1);
    });
    run.unwrap();
}

#[test]
fn yields_that_the_budget_forces_are_counted() {
    let run = Runtime::builder().run(|| {
        thread::yield_now();
        let (sender, receiver) = channel::unbounded();
        let counts = changed(|| (0..300).for_each(|n| sender.send(n).unwrap()));
        assert_eq!(counts, [("runs", 2), ("budget_yields", 2)]);
        drop(receiver);
    });
    run.unwrap();
}

#[test]
fn batches_that_the_watchdog_ends_are_counted() {
    let run = Runtime::builder().run(|| {
        while here().overdue == 0 {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(1) {}
            thread::yield_now();
        }
    });
    run.unwrap();
}

#[test]
fn a_panic_whose_handle_is_dropped_elsewhere_is_counted() {
    collect_log();
    let shards = Runtime::builder().shards(1).start().unwrap();
    let handle = shards.spawn(|| panic!("too late for a join")).unwrap();
    let handle: runtime::RemoteJoinHandle<()> = handle;
    while !handle.is_finished() {
        std::thread::yield_now();
    }
    drop(handle);
    assert_eq!(shards.next().stats().unwrap().panicked, 1);
    assert_eq!(shards.shutdown().shards[0].panicked, 1);
}

#[test]
fn a_run_reports_each_panic_once_and_the_counter_stays() {
    fresh(|| {
        collect_log();
        for round in 1..=3 {
            drop(ethreads::spawn(|| panic!("once")));
            assert!(matches!(ethreads::run(), Err(RunError::Panicked(1))));
            assert_eq!(here().panicked, round);
        }
        ethreads::run().unwrap();
    });
}

/// Blocks a shard until the returned closure is called.
fn hold(shard: &Shard) -> impl FnOnce() + use<> {
    let (release, released) = mpsc::channel();
    drop(shard.spawn(move || released.recv().unwrap()).unwrap());
    move || release.send(()).unwrap()
}

#[test]
fn a_shard_is_read_from_an_os_thread_another_shard_and_itself() {
    let shards = Runtime::builder().shards(2).start().unwrap();
    let [asked, other] = shards.shards() else {
        panic!("there are two")
    };
    let parked = asked.spawn(thread::park).unwrap();
    // An ethread begins before later messages are taken.
    let of = |stats: io::Result<Stats>| stats.map(|stats| (stats.spawned, stats.ended)).unwrap();
    assert_eq!(of(asked.stats()), (1, 0), "from an OS thread");
    assert_eq!(of(asked.stats()), (1, 0), "a request is no ethread");
    let theirs = asked.clone();
    let from_there = other.spawn(move || {
        // The other ethreads run meanwhile, or the answer never comes.
        let release = hold(&theirs);
        thread::spawn(release);
        theirs.stats()
    });
    assert_eq!(of(from_there.unwrap().join().unwrap()).0, 2);
    let own = asked.spawn(|| {
        let others_run = thread::spawn(|| ());
        let given = Shard::current().stats();
        assert!(!others_run.is_finished(), "the caller has not suspended");
        given
    });
    assert_eq!(of(own.unwrap().join().unwrap()), (4, 1), "from itself");
    // The OS thread's own code of a shard.
    fresh(|| assert_eq!(Shard::current().stats().unwrap().spawned, 0));
    parked.cancel();
    assert!(parked.join().is_err());
    let after = asked.stats().unwrap();
    assert_eq!((after.spawned, after.ended, after.cancelled), (4, 4, 1));
}

#[test]
fn a_request_of_the_os_threads_own_code_drives_its_shard() {
    let shards = Runtime::builder().shards(1).start().unwrap();
    fresh(|| {
        let asked = shards.next();
        ethreads::spawn(hold(asked));
        assert_eq!(asked.stats().unwrap().spawned, 1);
    });
}

#[test]
fn an_ended_shard_is_an_error() {
    let shards = Runtime::builder().shards(1).start().unwrap();
    let shard = shards.next().clone();
    drop(shards.shutdown());
    let error = shard.stats().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    assert_eq!(error.to_string(), "the shard is shutting down");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || ethreads::run_main(move || tell.send(Shard::current())).unwrap())
        .join()
        .unwrap()
        .unwrap();
    let kind = told.recv().unwrap().stats().map_err(|error| error.kind());
    assert!(matches!(kind, Err(io::ErrorKind::NotConnected)), "{kind:?}");
}

#[test]
fn a_shard_that_ends_meanwhile_is_an_error() {
    let (tell, told) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let asked = std::thread::spawn(move || {
        // Between two runs, so it takes no message.
        tell.send(Shard::current()).unwrap();
        ends.recv().unwrap();
    });
    let shard = told.recv().unwrap();
    let shards = Runtime::builder().shards(1).start().unwrap();
    let theirs = shard.clone();
    let waits = shards.spawn(move || theirs.stats().map_err(|error| error.kind()));
    let waits = waits.unwrap();
    let blocks = std::thread::spawn(move || shard.stats().map_err(|error| error.kind()));
    // The request is in the inbox when the ethread has parked.
    while shards.next().stats().unwrap().runs == 0 {}
    assert!(!waits.is_finished());
    end.send(()).unwrap();
    asked.join().unwrap();
    for kind in [waits.join().unwrap(), blocks.join().unwrap()] {
        assert!(matches!(kind, Err(io::ErrorKind::NotConnected)), "{kind:?}");
    }
}

#[test]
fn a_shard_that_shuts_down_still_answers() {
    let shards = Runtime::builder().shards(1).start().unwrap();
    let shard = shards.next().clone();
    let (tell, told) = mpsc::channel();
    let (release, held) = remote::bounded(1);
    let lasts = shards.spawn(move || {
        thread::uncancellable(|| {
            let _parked = tell.send(()).map(|()| held.recv());
        });
    });
    told.recv().unwrap();
    let dies = shards.spawn(thread::park).unwrap();
    let reader = std::thread::spawn(move || {
        assert!(dies.join().is_err(), "the shutdown has begun");
        let stats = shard.stats();
        release.send(()).unwrap();
        stats.map(|stats| (stats.ethreads, stats.cancelled))
    });
    drop(shards.shutdown());
    assert_eq!(reader.join().unwrap().unwrap(), (1, 1));
    assert!(lasts.unwrap().join().is_ok());
}

#[test]
fn a_request_keeps_no_shard_alive_and_reports_no_work() {
    let (tell, told) = mpsc::channel();
    let deadlocks = std::thread::spawn(move || {
        ethreads::run_main(move || {
            tell.send(Shard::current()).unwrap();
            thread::park();
        })
    });
    let shard = told.recv().unwrap();
    // The run may have ended before the request, or after it.
    match shard.stats() {
        Ok(stats) => assert_eq!(stats.spawned, 1),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotConnected),
    }
    assert!(matches!(
        deadlocks.join().unwrap(),
        Err(RunError::Deadlock(_))
    ));
}

#[test]
fn many_readers_at_once_get_a_snapshot_each() {
    let shards = Runtime::builder().shards(3).start().unwrap();
    let [asked, others @ ..] = shards.shards() else {
        panic!("there are three")
    };
    let busy = asked.spawn(|| {
        loop {
            thread::yield_now();
        }
    });
    let read = |shard: Shard| {
        let mut last = shard.stats()?.runs;
        for _ in 0..100 {
            let next = shard.stats()?.runs;
            assert!(next >= last, "a counter only grows");
            last = next;
        }
        io::Result::Ok(())
    };
    let ethreads = others.iter().flat_map(|other| {
        (0..10).map(move |_| {
            let shard = asked.clone();
            other.spawn(move || read(shard)).unwrap()
        })
    });
    let ethreads: Vec<_> = ethreads.collect();
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let shard = asked.clone();
            std::thread::spawn(move || read(shard))
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap().unwrap());
    ethreads
        .into_iter()
        .for_each(|e| e.join().unwrap().unwrap());
    busy.unwrap().cancel();
    assert!(shards.shutdown().shards[0].panicked == 0);
}
