//! The interleavings of a few OS threads, as loom finds them: all of them for two threads, and for
//! three threads all with at most three preemptions, beyond which their number explodes. What an
//! ethread does in place of blocking is the scheduler's part. Which waiter is woken, and what
//! becomes of that, is the same for ethreads and OS threads.

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::{model, thread};

use super::{Notifier, Promise, Semaphore, channel};
use crate::runtime::base::primitives::bounded_model;

/// A timeout that has passed if the waiter is not woken by the time it looks.
const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn a_promise_reaches_all_waiters() {
    bounded_model(3, || {
        let (promise, resolver) = Promise::<_, ()>::new();
        let other = promise.clone();
        let waiter = thread::spawn(move || other.wait());
        let resolves = thread::spawn(move || resolver.resolve(7));
        assert_eq!(promise.wait(), Ok(7));
        assert_eq!(waiter.join().unwrap(), Ok(7));
        resolves.join().unwrap();
    });
}

#[test]
fn a_promise_that_is_broken_leaves_no_waiter() {
    model(|| {
        let (promise, resolver) = Promise::<u8, ()>::new();
        let breaks = thread::spawn(move || drop(resolver));
        assert!(promise.wait().is_err());
        breaks.join().unwrap();
    });
}

#[test]
fn a_notification_is_not_lost() {
    model(|| {
        let notifier = Arc::new(Notifier::new());
        let theirs = notifier.clone();
        let notifies = thread::spawn(move || theirs.notify_one());
        notifier.wait();
        notifies.join().unwrap();
    });
}

#[test]
fn a_notification_whose_waiter_gave_up_goes_to_the_next() {
    bounded_model(3, || {
        let notifier = Arc::new(Notifier::new());
        let impatient = notifier.clone();
        let impatient = thread::spawn(move || impatient.wait_timeout(AT_ONCE));
        let patient = notifier.clone();
        let patient = thread::spawn(move || patient.wait());
        notifier.notify_one();
        if impatient.join().unwrap() {
            notifier.notify_one();
        }
        patient.join().unwrap();
    });
}

#[test]
fn permits_exclude_each_other_and_are_not_lost() {
    bounded_model(3, || {
        let shared = Arc::new((Semaphore::new(1), AtomicUsize::new(0)));
        let work = |shared: &(Semaphore, AtomicUsize)| {
            let _permit = shared.0.acquire();
            assert_eq!(shared.1.fetch_add(1, Ordering::Relaxed), 0);
            shared.1.fetch_sub(1, Ordering::Relaxed);
        };
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || work(&shared))
            })
            .collect();
        workers
            .into_iter()
            .for_each(|worker| worker.join().unwrap());
        assert_eq!(shared.0.available_permits(), 1);
    });
}

#[test]
fn a_waiter_that_gives_up_lets_the_later_ones_in() {
    bounded_model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let theirs = semaphore.clone();
        let gives_up = thread::spawn(move || theirs.acquire_timeout(AT_ONCE).is_ok());
        let theirs = semaphore.clone();
        let waits = thread::spawn(move || drop(theirs.acquire()));
        drop(semaphore.acquire());
        gives_up.join().unwrap();
        waits.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
    });
}

/// Each message of two senders arrives exactly once.
fn two_senders(capacity: usize) {
    bounded_model(3, move || {
        let (sender, receiver) = channel::bounded(capacity);
        let senders: Vec<_> = [1, 2]
            .map(|message| {
                let sender = sender.clone();
                thread::spawn(move || sender.send(message).unwrap())
            })
            .into();
        drop(sender);
        let mut received: Vec<_> = receiver.iter().collect();
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn messages_arrive_once_where_ends_meet() {
    two_senders(0);
}

#[test]
fn messages_arrive_once_through_a_place() {
    two_senders(1);
}

#[test]
fn a_message_that_is_not_taken_in_time_comes_back() {
    for capacity in [0, 1] {
        model(move || {
            let (sender, receiver) = channel::bounded(capacity);
            let sends = thread::spawn(move || sender.send_timeout(1, AT_ONCE).is_ok());
            let received = receiver.recv_timeout(AT_ONCE);
            let was_sent = sends.join().unwrap();
            // A message that was sent is at least in the channel.
            let is_here = received.is_ok() || receiver.try_recv().is_ok();
            assert_eq!(was_sent, is_here);
        });
    }
}

#[test]
fn the_end_of_the_receivers_gives_a_message_back() {
    model(|| {
        let (sender, receiver) = channel::bounded(0);
        let ends = thread::spawn(move || drop(receiver));
        assert_eq!(sender.send(1).unwrap_err().0, 1);
        ends.join().unwrap();
    });
}

#[test]
fn the_end_of_the_senders_is_noticed_after_their_messages() {
    model(|| {
        let (sender, receiver) = channel::unbounded();
        let sends = thread::spawn(move || sender.send(1).unwrap());
        assert_eq!(receiver.recv(), Ok(1));
        assert!(receiver.recv().is_err());
        sends.join().unwrap();
    });
}
