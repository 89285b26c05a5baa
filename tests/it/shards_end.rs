//! What may still run when a shard ends, and what has to stay.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ethreads::{Runtime, bridge, thread};

use crate::support::fresh;

#[test]
fn closures_that_do_not_begin_may_wait_when_they_are_dropped() {
    /// Waits in its destructor as `fs::remove_file` does.
    struct Offloads(Arc<AtomicUsize>);
    impl Drop for Offloads {
        fn drop(&mut self) {
            let dropped = self.0.clone();
            bridge::blocking(move || dropped.fetch_add(1, Ordering::SeqCst));
        }
    }
    // Without a grace, closures that were accepted do not begin any more.
    for grace in [20, 0, 20, 0].map(Duration::from_millis) {
        let shards = Runtime::builder().grace(grace).shards(1).start().unwrap();
        let shard = shards.shards()[0].clone();
        for _ in 0..2_000 {
            let holds_on = thread::Builder::new().name("holds on");
            drop(holds_on.spawn_on(&shard, || thread::uncancellable(thread::park)));
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let drops = dropped.clone();
        let (begins, has_begun) = mpsc::channel();
        let floods = std::thread::spawn(move || {
            let mut made = 0;
            loop {
                let offloads = Offloads(drops.clone());
                made += 1;
                drop(shard.spawn(move || drop(offloads)));
                if made == 10 {
                    begins.send(()).unwrap();
                }
                if shard.has_ended() {
                    return made;
                }
            }
        });
        has_begun.recv().unwrap();
        let report = shards.shutdown();
        assert_eq!(report.shards.len(), 1);
        let made = floods.join().unwrap();
        // Those that are left behind in their destructors have not counted.
        let left = report.shards[0].left.iter();
        let left = left.filter(|label| !label.contains("holds on")).count();
        let lost = made - dropped.load(Ordering::SeqCst);
        assert!(lost <= left, "{lost} were lost, {left} are left");
    }
}

/// The value of a thread-local that an ethread has lent to another OS thread outlives the ethread
/// that is left behind.
#[test]
fn an_os_thread_that_leaves_ethreads_behind_keeps_its_thread_locals() {
    struct Lent(AtomicBool);
    impl Drop for Lent {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    thread_local! {
        static LENT: Lent = const { Lent(AtomicBool::new(true)) };
    }
    let (lends, is_lent) = mpsc::channel();
    let (looks, look) = mpsc::channel();
    let (tells, told) = mpsc::channel();
    let lend = move || {
        LENT.with(|lent| {
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    lends.send(()).unwrap();
                    let () = look.recv().unwrap();
                    tells.send(lent.0.load(Ordering::SeqCst)).unwrap();
                });
                thread::uncancellable(thread::park);
            });
        });
    };
    let shards = Runtime::builder().grace(Duration::ZERO);
    let shards = shards.shards(1).start().unwrap();
    drop(shards.spawn(lend).unwrap());
    is_lent.recv().unwrap();
    assert_eq!(shards.shutdown().shards[0].left.len(), 1);
    // Time for the OS thread to end, if it does.
    fresh(|| fresh(|| ()));
    looks.send(()).unwrap();
    assert!(told.recv().unwrap(), "its destructor has run");

    // Nor does `Shards::run` wait for the OS thread.
    let shards = Runtime::builder().grace(Duration::ZERO).shards(2);
    let ends = shards.run(|shard| {
        drop(thread::spawn(|| thread::uncancellable(thread::park)));
        thread::yield_now();
        shard
    });
    let ends: Vec<_> = ends.into_iter().map(Result::unwrap).collect();
    assert_eq!(ends, [0, 1]);
}
