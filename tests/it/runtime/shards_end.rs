//! What may still run when a shard ends, and what must not be destroyed.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use ethreads::runtime::{RemoteJoinHandle, Shard};
use ethreads::sync::channel;
use ethreads::{Runtime, bridge, thread};

use crate::support::{collect_log, fresh, on_log, wait_for_log};

#[test]
fn closures_that_do_not_begin_may_wait_when_they_are_dropped() {
    /// Waits in its destructor as `fs::remove_file` does.
    struct Offloads(Arc<AtomicUsize>);
    impl Drop for Offloads {
        fn drop(&mut self) {
            let dropped = self.0.clone();
            // A cancelled ethread would not begin the call without this mask.
            thread::uncancellable(|| {
                bridge::blocking(move || dropped.fetch_add(1, Ordering::SeqCst));
            });
        }
    }
    // Without a grace, accepted closures do not begin any more.
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
                // Limits the rate, so that the closures do not take all memory.
                while made > 5_000 + drops.load(Ordering::SeqCst) && !shard.has_ended() {
                    std::thread::yield_now();
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
        // An ethread that is left behind in a destructor has not counted its drop.
        let left = report.shards[0].left.iter();
        let left = left.filter(|label| !label.contains("holds on")).count();
        let lost = made - dropped.load(Ordering::SeqCst);
        assert!(lost <= left, "{lost} were lost, {left} are left");
    }
}

/// An ethread that is left behind may have lent the value of a thread-local to another OS thread.
/// The value outlives the ethread.
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

    // `Shards::run` does not wait for the OS thread either.
    let shards = Runtime::builder().grace(Duration::ZERO).shards(2);
    let ends = shards.run(|shard| {
        drop(thread::spawn(|| thread::uncancellable(thread::park)));
        thread::yield_now();
        shard
    });
    let ends: Vec<_> = ends.into_iter().map(Result::unwrap).collect();
    assert_eq!(ends, [0, 1]);
}

/// The handle of an ethread, for a destructor or a waker that runs at the end of the ethread's
/// shard.
type Slot = Arc<Mutex<Option<RemoteJoinHandle<()>>>>;

/// Cancels and joins an ethread when it is dropped, or used as a waker.
struct Joins(Slot);

impl Joins {
    fn join(&self) {
        let handle = self.0.lock().unwrap().take();
        if let Some(handle) = handle {
            handle.cancel();
            drop(handle.join());
        }
    }
}

impl Drop for Joins {
    fn drop(&mut self) {
        self.join();
    }
}

impl Wake for Joins {
    fn wake(self: Arc<Self>) {
        self.join();
    }
}

#[test]
fn a_closure_that_does_not_begin_may_join_another_one() {
    let shards = Runtime::builder().grace(Duration::ZERO);
    let shards = shards.shards(1).start().unwrap();
    let shard = shards.shards()[0].clone();
    let (begins, has_begun) = mpsc::channel();
    let floods = std::thread::spawn(move || {
        for round in 0.. {
            let slot = Slot::default();
            let joins = Joins(slot.clone());
            let first = shard.spawn(move || drop(joins));
            if first.is_err() {
                return;
            }
            if let Ok(second) = shard.spawn(|| ()) {
                *slot.lock().unwrap() = Some(second);
            }
            if round == 100 {
                begins.send(()).unwrap();
            }
        }
    });
    has_begun.recv().unwrap();
    assert_eq!(shards.shutdown().shards.len(), 1);
    floods.join().unwrap();
}

#[test]
fn a_waker_at_the_end_may_join_another_one_that_is_left_behind() {
    let shards = Runtime::builder().grace(Duration::ZERO);
    let shards = shards.shards(1).start().unwrap();
    let stays = || thread::uncancellable(thread::park);
    let mut first = shards.spawn(stays).unwrap();
    let second = shards.spawn(stays).unwrap();
    shards.spawn(|| ()).unwrap().join().unwrap();
    let waker = Waker::from(Arc::new(Joins(Arc::new(Mutex::new(Some(second))))));
    let poll = Pin::new(&mut first).poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    assert_eq!(shards.shutdown().shards[0].left.len(), 2);
}

#[test]
fn what_a_waker_spawns_at_the_end_of_a_run_is_the_next_ones() {
    static RAN: AtomicBool = AtomicBool::new(false);
    struct Spawns;
    impl Wake for Spawns {
        fn wake(self: Arc<Self>) {
            drop(thread::spawn(|| RAN.store(true, Ordering::SeqCst)));
        }
    }
    fresh(|| {
        let run = Runtime::builder().grace(Duration::ZERO).run(|| {
            let (begins, has_begun) = channel::bounded(1);
            let stays = thread::Builder::new().spawn_on(&Shard::current(), move || {
                BEGUN.with_borrow(|begun| begun.as_ref().unwrap().send(()).unwrap());
                thread::uncancellable(thread::park);
            });
            BEGUN.set(Some(begins));
            let mut left = stays.unwrap();
            has_begun.recv().unwrap();
            let waker = Waker::from(Arc::new(Spawns));
            let poll = Pin::new(&mut left).poll(&mut Context::from_waker(&waker));
            assert!(poll.is_pending());
            std::mem::forget(left);
        });
        run.unwrap();
        ethreads::run().unwrap();
    });
    assert!(RAN.load(Ordering::SeqCst));
}

thread_local! {
    static BEGUN: RefCell<Option<channel::Sender<()>>> = const { RefCell::new(None) };
}

#[test]
fn what_was_accepted_and_did_not_run_is_reported() {
    for _ in 0..50 {
        let shards = Runtime::builder().shards(1).start().unwrap();
        let shard = shards.shards()[0].clone();
        let ran = Arc::new(AtomicUsize::new(0));
        let runs = ran.clone();
        let (begins, has_begun) = mpsc::channel();
        let floods = std::thread::spawn(move || {
            let mut accepted = 0;
            loop {
                let mut last = None;
                for _ in 0..4 {
                    let ran = runs.clone();
                    match shard.spawn(move || ran.fetch_add(1, Ordering::SeqCst)) {
                        Ok(handle) => last = Some(handle),
                        Err(_) => return accepted,
                    }
                    accepted += 1;
                }
                let _ = begins.send(());
                drop(last.unwrap().join());
            }
        });
        has_begun.recv().unwrap();
        let report = shards.shutdown();
        let lost = floods.join().unwrap() - ran.load(Ordering::SeqCst);
        let told = report.shards[0].alive.len() + report.shards[0].unstarted;
        assert!(lost <= told, "{lost} did not run, {told} are reported");
    }
}

#[test]
fn a_handle_in_a_thread_local_logs_on_another_os_thread() {
    fn logs_nothing() {
        panic!("a logger is called while thread-locals are destroyed");
    }
    thread_local! {
        static KEEPS: RefCell<Option<thread::JoinHandle<()>>> = const { RefCell::new(None) };
    }
    collect_log();
    fresh(|| {
        // Registered before the scheduler, so this thread-local is destroyed after it.
        KEEPS.with(|_| ());
        let panics = thread::spawn(|| panic!("kept in a thread-local"));
        ethreads::run().unwrap();
        KEEPS.set(Some(panics));
        on_log(Some(logs_nothing));
    });
    let line = wait_for_log("kept in a thread-local");
    assert!(line.starts_with("ERROR: detached ethread"), "{line}");
}

#[test]
fn an_os_thread_that_never_ran_its_ethreads_is_told_of() {
    collect_log();
    fresh(|| drop(thread::Builder::new().name("never-run").spawn(|| ())));
    let line = wait_for_log("never-run");
    assert!(line.contains("1 ethreads are leaked"), "{line}");
}
