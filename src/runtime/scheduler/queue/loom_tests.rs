//! The interleavings of senders and a receiver that waits for the bell as a scheduler does.

use std::sync::atomic::Ordering;

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Arc, Condvar, Mutex};
use loom::{model, thread};

use super::Queue;
use crate::runtime::base::primitives::bounded_model;

/// Like a driver's notification: ends the current wait, or else the next one.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    waiting: Condvar,
    rings: AtomicUsize,
}

impl Bell {
    fn notify_once(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        *self.rung.lock().unwrap() = true;
        self.waiting.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.waiting.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct Shard {
    queue: Queue<u32>,
    notify: Bell,
}

impl Shard {
    /// A shard with this many handles.
    fn new(handles: usize) -> Arc<Self> {
        let shard = Self {
            queue: Queue::new(),
            notify: Bell::default(),
        };
        (0..handles).for_each(|_| shard.queue.add_handle());
        Arc::new(shard)
    }

    fn send(&self, message: u32) -> Result<(), u32> {
        self.queue.send(message, || self.notify.notify_once())
    }

    fn drop_handle(&self) {
        self.queue.remove_handle(|| self.notify.notify_once());
    }

    /// The loop of a scheduler: takes messages until no handle is left that could send. Returns the
    /// messages, and how often it looked.
    fn run(&self) -> (Vec<u32>, usize) {
        let (mut received, mut room, mut looks) = (Vec::new(), Vec::new(), 0);
        loop {
            if self.queue.is_pending() {
                looks += 1;
                self.queue.take(&mut room);
                received.append(&mut room);
            }
            let external = self.queue.has_handles();
            if self.queue.is_pending() {
                continue;
            }
            if !external {
                return (received, looks);
            }
            self.notify.wait();
        }
    }
}

#[test]
fn no_letter_is_lost_and_the_taker_ends() {
    bounded_model(3, || {
        let shard = Shard::new(2);
        let senders: Vec<_> = [1, 2]
            .map(|message| {
                let shard = shard.clone();
                thread::spawn(move || {
                    shard.send(message).unwrap();
                    shard.drop_handle();
                })
            })
            .into();
        let (mut received, looks) = shard.run();
        senders.into_iter().for_each(|s| s.join().unwrap());
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        // One ring for all messages between two looks.
        assert!(shard.notify.rings.load(Ordering::Relaxed) <= looks + 1);
    });
}

#[test]
fn letters_of_one_sender_keep_their_order() {
    bounded_model(3, || {
        let shard = Shard::new(1);
        let theirs = shard.clone();
        let sender = thread::spawn(move || {
            theirs.send(1).unwrap();
            theirs.send(2).unwrap();
            theirs.drop_handle();
        });
        assert_eq!(shard.run().0, [1, 2]);
        sender.join().unwrap();
    });
}

#[test]
fn a_letter_is_taken_or_left_over_or_comes_back() {
    bounded_model(3, || {
        let shard = Shard::new(0);
        let senders: Vec<_> = [1, 2]
            .map(|message| {
                let shard = shard.clone();
                thread::spawn(move || shard.send(message))
            })
            .into();
        let mut ends = Vec::new();
        if shard.queue.is_pending() {
            shard.queue.take(&mut ends);
        }
        ends.extend(shard.queue.close());
        let sent = senders.into_iter().map(|s| s.join().unwrap());
        ends.extend(sent.filter_map(Result::err));
        ends.sort_unstable();
        assert_eq!(ends, [1, 2]);
    });
}

#[test]
fn the_end_of_the_last_handle_is_noticed() {
    model(|| {
        let shard = Shard::new(1);
        let theirs = shard.clone();
        let holder = thread::spawn(move || theirs.drop_handle());
        assert!(shard.run().0.is_empty());
        holder.join().unwrap();
    });
}

/// The receiver stops and ends, as a shard does, while a spawn, a wake and the drop of the last
/// handle come from other OS threads.
#[test]
fn the_end_of_a_shard_loses_no_letter() {
    const STOP: u32 = 0;
    const SPAWN: u32 = 1;
    const WAKE: u32 = 2;
    bounded_model(2, || {
        let shard = Shard::new(1);
        let [spawns, wakes] = [shard.clone(), shard.clone()];
        let spawns = thread::spawn(move || {
            let spawned = spawns.queue.send_new(SPAWN, || spawns.notify.notify_once());
            spawned.is_ok()
        });
        let wakes = thread::spawn(move || {
            let stopped = wakes.send(STOP).is_ok();
            let woken = wakes.send(WAKE).is_ok();
            wakes.drop_handle();
            (stopped, woken)
        });
        let (mut received, mut room) = (Vec::new(), Vec::new());
        while !received.contains(&STOP) {
            while !shard.queue.is_pending() {
                shard.notify.wait();
            }
            shard.queue.take(&mut room);
            received.append(&mut room);
        }
        shard.queue.set_ending(true);
        // The grace period: messages accepted before are taken.
        if shard.queue.is_pending() {
            shard.queue.take(&mut room);
            received.append(&mut room);
        }
        let left = shard.queue.close();
        let (spawned, (stopped, woken)) = (spawns.join().unwrap(), wakes.join().unwrap());
        assert!(stopped);
        let count = |message| {
            let all = received.iter().chain(&left);
            all.filter(|&&other| other == message).count()
        };
        assert_eq!(count(SPAWN), usize::from(spawned));
        assert_eq!(count(WAKE), usize::from(woken));
        // A closed queue does not open again.
        assert_eq!(shard.send(WAKE), Err(WAKE));
        assert_eq!(shard.queue.send_new(SPAWN, || ()), Err(SPAWN));
    });
}
