//! The interleavings of shards that go on and rest, lines for the log, and the watchdog that falls
//! asleep or ends their batches meanwhile. A lost wake-up leaves the watchdog asleep, which is a
//! deadlock.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::runtime::base::primitives::bounded_model;

/// The work of the watchdog, as in `WatchdogState`.
struct Duty {
    shards: Vec<Arc<Heartbeat>>,
    lines: usize,
}

impl Duty {
    fn is_idle(&self) -> bool {
        self.lines == 0 && self.shards.iter().all(|shard| shard.rests())
    }
}

fn sleeper(shards: &[Arc<Heartbeat>]) -> Arc<Sleeper<Duty>> {
    Arc::new(Sleeper::new(Duty {
        shards: shards.to_vec(),
        lines: 0,
    }))
}

/// Sleeps whenever it may, until `lines` lines are logged and `is_over` holds. The pause before a
/// sample is a yield.
fn patrol(sleeper: &Sleeper<Duty>, lines: usize, is_over: impl Fn(&Duty) -> bool) {
    let mut logged = 0;
    let mut state = sleeper.lock();
    while logged < lines || !is_over(&state) {
        if sleeper.falls_asleep(&state, Duty::is_idle) {
            state = sleeper.wait_until_notified(state);
        }
        drop(state);
        thread::yield_now();
        state = sleeper.lock();
        if state.lines > 0 {
            logged += std::mem::take(&mut state.lines);
            // The lines are logged while the lock is free.
            drop(state);
            state = sleeper.lock();
        }
    }
}

#[test]
fn a_shard_that_goes_on_is_watched() {
    loom::model(|| {
        let shard = Arc::new(Heartbeat::new());
        let sleeper = sleeper(&[shard.clone()]);
        let theirs = sleeper.clone();
        let goes_on = thread::spawn(move || shard.rise_beside(&theirs));
        patrol(&sleeper, 0, |duty| !duty.shards[0].rests());
        goes_on.join().unwrap();
    });
}

#[test]
fn a_shard_that_rests_in_between_is_watched_again() {
    bounded_model(3, || {
        let shard = Arc::new(Heartbeat::new());
        let sleeper = sleeper(&[shard.clone()]);
        let theirs = sleeper.clone();
        let goes_on = thread::spawn(move || {
            shard.rise_beside(&theirs);
            shard.rest();
            shard.rise_beside(&theirs);
            shard.begin_run(1, Location::caller());
        });
        patrol(&sleeper, 0, |duty| duty.shards[0].read() == (0, 1));
        goes_on.join().unwrap();
    });
}

#[test]
fn two_shards_that_go_on_are_watched() {
    bounded_model(3, || {
        let shards = [(); 2].map(|()| Arc::new(Heartbeat::new()));
        let sleeper = sleeper(&shards);
        let go_on = shards.map(|shard| {
            let theirs = sleeper.clone();
            thread::spawn(move || shard.rise_beside(&theirs))
        });
        for which in [0, 1] {
            patrol(&sleeper, 0, |duty| !duty.shards[which].rests());
        }
        go_on.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_line_for_the_log_ends_the_sleep() {
    bounded_model(3, || {
        let sleeper = sleeper(&[]);
        let ends = [(); 2].map(|()| {
            let theirs = sleeper.clone();
            thread::spawn(move || {
                let mut duty = theirs.lock();
                duty.lines += 1;
                theirs.notify(&duty);
            })
        });
        patrol(&sleeper, 2, |_| true);
        ends.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The shard begins its batch while the watchdog ends it, so the end may be lost. The end by the
/// next sample is not lost.
#[test]
fn a_batch_of_many_runs_ends_with_the_second_sample() {
    let seen = [(); 2].map(|()| std::sync::atomic::AtomicBool::new(false));
    let all_seen = std::sync::Arc::new(seen);
    let seen = all_seen.clone();
    loom::model(move || {
        let shard = Arc::new(Heartbeat::new());
        shard.begin_run(1, Location::caller());
        let theirs = shard.clone();
        let sample = thread::spawn(move || theirs.hurry(0));
        shard.begin_batch(usize::MAX);
        let ended = shard.end_run();
        let looks = sample.join().unwrap();
        if !ended {
            shard.hurry(looks);
            assert!(shard.end_run());
        }
        shard.look();
        shard.begin_batch(usize::MAX);
        shard.hurry(looks);
        assert!(!shard.end_run());
        seen[usize::from(ended)].store(true, Ordering::Relaxed);
    });
    assert!(all_seen.iter().all(|seen| seen.load(Ordering::Relaxed)));
}
