//! With real OS threads, and no stacks switched: also for ThreadSanitizer.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::Mailbox;

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    waiting: Condvar,
    rings: AtomicUsize,
}

impl Bell {
    fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        *self.rung.lock().expect("nobody panics") = true;
        self.waiting.notify_one();
    }

    fn wait(&self) {
        let rung = self.rung.lock().expect("nobody panics");
        *self
            .waiting
            .wait_while(rung, |rung| !*rung)
            .expect("nobody panics") = false;
    }
}

#[test]
fn each_letter_of_many_senders_arrives_once_or_comes_back() {
    const SENDERS: usize = 4;
    const LETTERS: usize = 20_000;
    let shared = Arc::new((Mailbox::new(), Bell::default()));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            shared.0.add_handle();
            let shared = shared.clone();
            thread::spawn(move || {
                let (mailbox, bell) = &*shared;
                let letters = (0..LETTERS).map(|n| (sender, n));
                let back: Vec<_> = letters
                    .filter_map(|letter| mailbox.send(letter, || bell.ring()).err())
                    .collect();
                mailbox.remove_handle(|| bell.ring());
                back
            })
        })
        .collect();
    let (mailbox, bell) = &*shared;
    let (mut seen, mut room, mut looks) = (Vec::new(), Vec::new(), 0);
    // Half of them, and then it is closed under the senders' feet.
    while seen.len() < SENDERS * LETTERS / 2 {
        if mailbox.is_pending() {
            looks += 1;
            mailbox.take(&mut room);
            seen.append(&mut room);
        } else {
            bell.wait();
        }
    }
    seen.extend(mailbox.close());
    let back = senders.into_iter().map(|sender| sender.join().unwrap());
    seen.extend(back.flatten());
    let unique: HashSet<_> = seen.iter().copied().collect();
    assert_eq!(
        (seen.len(), unique.len()),
        (SENDERS * LETTERS, SENDERS * LETTERS)
    );
    let rings = bell.rings.load(Ordering::Relaxed);
    assert!(rings <= looks + 2, "{rings} rings for {looks} looks");
    assert!(!mailbox.has_handles());
}

#[test]
fn a_batch_costs_one_ring() {
    let (mailbox, mut rings) = (Mailbox::new(), 0);
    for letter in 0..100 {
        mailbox.send(letter, || rings += 1).unwrap();
    }
    let mut room = Vec::new();
    mailbox.take(&mut room);
    assert_eq!((room.len(), rings), (100, 1));
    mailbox.send(100, || rings += 1).unwrap();
    assert_eq!(rings, 2);
}

#[test]
fn what_is_sent_after_the_end_comes_back() {
    let mailbox = Mailbox::new();
    mailbox.send("in time", || {}).unwrap();
    assert_eq!(mailbox.close(), ["in time"]);
    assert!(mailbox.is_closed());
    assert_eq!(mailbox.send("late", || {}), Err("late"));
    assert_eq!(mailbox.close(), [""; 0]);
}

#[test]
fn a_taker_that_wants_to_end_is_sent_nothing_new() {
    let mailbox = Mailbox::new();
    mailbox.set_ending(true);
    assert_eq!(mailbox.send_new("new", || {}), Err("new"));
    mailbox.send("old", || {}).unwrap();
    // It goes on after all.
    mailbox.set_ending(false);
    mailbox.send_new("next", || {}).unwrap();
    assert_eq!(mailbox.close(), ["old", "next"]);
    mailbox.set_ending(false);
    assert_eq!(mailbox.send_new("late", || {}), Err("late"));
}
