//! Uses real OS threads and switches no stacks, so it also runs under ThreadSanitizer.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::Queue;

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    waiting: Condvar,
    rings: AtomicUsize,
}

impl Bell {
    fn notify_once(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        *self.rung.lock().expect("no holder panics") = true;
        self.waiting.notify_one();
    }

    fn wait(&self) {
        let rung = self.rung.lock().expect("no holder panics");
        *self
            .waiting
            .wait_while(rung, |rung| !*rung)
            .expect("no holder panics") = false;
    }
}

#[test]
fn each_letter_of_many_senders_arrives_once_or_comes_back() {
    const SENDERS: usize = 4;
    const LETTERS: usize = 20_000;
    let shared = Arc::new((Queue::new(), Bell::default()));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            shared.0.add_handle();
            let shared = shared.clone();
            thread::spawn(move || {
                let (queue, notify) = &*shared;
                let messages = (0..LETTERS).map(|n| (sender, n));
                let back: Vec<_> = messages
                    .filter_map(|message| queue.send(message, || notify.notify_once()).err())
                    .collect();
                queue.remove_handle(|| notify.notify_once());
                back
            })
        })
        .collect();
    let (queue, notify) = &*shared;
    let (mut seen, mut room, mut looks) = (Vec::new(), Vec::new(), 0);
    // Takes half of the messages, then closes the queue while the senders still send.
    while seen.len() < SENDERS * LETTERS / 2 {
        if queue.is_pending() {
            looks += 1;
            queue.take(&mut room);
            seen.append(&mut room);
        } else {
            notify.wait();
        }
    }
    seen.extend(queue.close());
    let back = senders.into_iter().map(|sender| sender.join().unwrap());
    seen.extend(back.flatten());
    let unique: HashSet<_> = seen.iter().copied().collect();
    assert_eq!(
        (seen.len(), unique.len()),
        (SENDERS * LETTERS, SENDERS * LETTERS)
    );
    let rings = notify.rings.load(Ordering::Relaxed);
    assert!(rings <= looks + 2, "{rings} rings for {looks} looks");
    assert!(!queue.has_handles());
}

#[test]
fn a_batch_costs_one_ring() {
    let (queue, mut rings) = (Queue::new(), 0);
    for message in 0..100 {
        queue.send(message, || rings += 1).unwrap();
    }
    let mut room = Vec::new();
    queue.take(&mut room);
    assert_eq!((room.len(), rings), (100, 1));
    queue.send(100, || rings += 1).unwrap();
    assert_eq!(rings, 2);
}

#[test]
fn what_is_sent_after_the_end_comes_back() {
    let queue = Queue::new();
    queue.send("in time", || {}).unwrap();
    assert_eq!(queue.close(), ["in time"]);
    assert!(queue.is_closed());
    assert_eq!(queue.send("late", || {}), Err("late"));
    assert_eq!(queue.close(), [""; 0]);
}

#[test]
fn a_taker_that_wants_to_end_is_sent_nothing_new() {
    let queue = Queue::new();
    queue.set_ending(true);
    assert_eq!(queue.send_new("new", || {}), Err("new"));
    queue.send("old", || {}).unwrap();
    // The receiver does not end after all.
    queue.set_ending(false);
    queue.send_new("next", || {}).unwrap();
    assert_eq!(queue.close(), ["old", "next"]);
    queue.set_ending(false);
    assert_eq!(queue.send_new("late", || {}), Err("late"));
}
