//! `sync::watch`, by what tokio documents of its own: the last value, and which receiver has seen
//! it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::watch;
use ethreads::thread::{self, Cancelled};
use ethreads::time;

use crate::support::{OnDrop, leaving_nothing as check};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_is_seen_and_what_is_not() {
    check(|| {
        let (sender, mut first) = watch::channel(0);
        assert_eq!(first.has_changed(), Ok(false), "the first value is seen");
        sender.send(1).unwrap();
        assert_eq!(first.has_changed(), Ok(true));
        // `get` does not mark a value as seen. A clone has seen what its original has seen, and a
        // subscriber has seen the current value.
        assert_eq!(*first.get(), 1);
        let (mut clone, subscriber) = (first.clone(), sender.subscribe());
        assert_eq!(clone.has_changed(), Ok(true));
        assert_eq!(subscriber.has_changed(), Ok(false));
        assert_eq!(*first.get_and_update(), 1);
        assert_eq!(first.has_changed(), Ok(false));
        assert_eq!(clone.changed(), Ok(()), "it sees for itself");
        assert_eq!(clone.has_changed(), Ok(false));
        // A value that is sent counts as a change, even if it is equal to the last.
        sender.send(1).unwrap();
        assert_eq!(first.has_changed(), Ok(true));
        assert_eq!(sender.receiver_count(), 3);
    });
}

#[test]
fn a_slow_receiver_misses_what_was_in_between() {
    check(|| {
        let (sender, mut receiver) = watch::channel(0);
        let reader = thread::spawn(move || {
            let mut seen = Vec::new();
            while receiver.changed().is_ok() {
                seen.push(*receiver.get());
            }
            seen
        });
        thread::yield_now();
        for value in 1..=3 {
            sender.send(value).unwrap();
        }
        thread::yield_now();
        sender.send(4).unwrap();
        drop(sender);
        assert_eq!(
            reader.join().unwrap(),
            [3, 4],
            "the last one is seen after the end"
        );
    });
}

#[test]
fn all_waiters_are_told_of_each_change_and_of_the_end() {
    check(|| {
        let (sender, receiver) = watch::channel("a");
        let readers = [(); 3].map(|()| {
            let mut receiver = receiver.clone();
            thread::spawn(move || {
                receiver.changed().unwrap();
                (*receiver.get(), receiver.changed().is_err())
            })
        });
        thread::yield_now();
        let second = sender.clone();
        sender.send("b").unwrap();
        thread::yield_now();
        drop(sender);
        (0..3).for_each(|_| thread::yield_now());
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        drop(second);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), ("b", true));
        }
        // The value stays.
        assert_eq!(*receiver.get(), "b");
        assert_eq!(receiver.has_changed(), Ok(true), "this one has not seen it");
    });
}

#[test]
fn after_the_end_only_what_was_not_seen_can_be() {
    check(|| {
        let (sender, mut receiver) = watch::channel(1);
        sender.send(2).unwrap();
        drop(sender);
        assert_eq!(receiver.has_changed(), Ok(true));
        assert_eq!(receiver.changed(), Ok(()));
        assert!(receiver.has_changed().is_err() && receiver.changed().is_err());
        assert_eq!(receiver.wait_for(|value| *value == 2).as_deref(), Ok(&2));
        assert!(receiver.wait_for(|value| *value == 3).is_err());
    });
}

#[test]
fn a_wait_for_a_condition_looks_at_what_there_is_first() {
    check(|| {
        let (sender, mut receiver) = watch::channel(5);
        assert_eq!(receiver.wait_for(|value| *value > 4).as_deref(), Ok(&5));
        let reader = thread::spawn(move || {
            let mut tried = Vec::new();
            let value = receiver.wait_for(|value| {
                tried.push(*value);
                *value > 7
            });
            (value.map(|value| *value), tried, receiver.has_changed())
        });
        for value in 6..=8 {
            thread::yield_now();
            sender.send(value).unwrap();
        }
        let (value, tried, changed) = reader.join().unwrap();
        assert_eq!((value, tried), (Ok(8), vec![5, 6, 7, 8]));
        assert_eq!(changed, Ok(false), "what it has returned it has seen");
    });
}

#[test]
fn without_receivers_a_value_is_given_back_or_put_in_place() {
    check(|| {
        let (sender, receiver) = watch::channel(1);
        drop(receiver);
        assert_eq!(sender.receiver_count(), 0);
        assert_eq!(sender.send(2).unwrap_err().0, 2);
        assert_eq!(*sender.get(), 1);
        assert_eq!(*sender.send_replace(3), 1);
        sender.send_modify(|value| *value += 1);
        let receiver = sender.subscribe();
        assert_eq!((*receiver.get(), receiver.has_changed()), (4, Ok(false)));
        sender.send(5).unwrap();
        assert_eq!(*receiver.get(), 5);
    });
}

#[test]
fn a_change_that_panics_is_none() {
    check(|| {
        let (sender, receiver) = watch::channel(vec![1]);
        let changes = thread::spawn({
            let sender = sender.clone();
            move || {
                sender.send_modify(|value| {
                    value.push(2);
                    panic!("half way");
                });
            }
        });
        assert!(changes.join().is_err());
        assert_eq!(*receiver.get(), [1]);
        assert_eq!(receiver.has_changed(), Ok(false));
    });
}

#[test]
fn a_receiver_that_goes_has_seen_nothing_and_does_no_harm() {
    check(|| {
        let (sender, receiver) = watch::channel(0);
        let waits = |limit| {
            let mut receiver = receiver.clone();
            thread::spawn(move || {
                let changed = time::timeout(limit, || receiver.changed());
                (changed.is_ok(), receiver)
            })
        };
        let (gone, late, stays) = (waits(HOUR), waits(Duration::from_millis(1)), waits(HOUR));
        thread::yield_now();
        gone.cancel();
        assert!(gone.join().unwrap_err().is::<Cancelled>());
        let (changed, mut late) = late.join().unwrap();
        assert!(!changed);
        sender.send(1).unwrap();
        assert_eq!(late.changed(), Ok(()), "it has missed nothing");
        assert!(stays.join().unwrap().0);
        assert_eq!(sender.receiver_count(), 2);
    });
}

#[test]
fn a_value_may_use_its_own_channel_when_it_is_dropped() {
    check(|| {
        type Value = Option<OnDrop<Box<dyn FnMut()>>>;
        let (sender, mut receiver) = watch::channel::<Value>(None);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (theirs, log) = (sender.clone(), seen.clone());
        let value = OnDrop(Box::new(move || {
            // In the middle of `send`, the new value is there to be looked at, and to be replaced.
            log.borrow_mut().push(theirs.get().is_none());
            log.borrow_mut().push(theirs.send(None).is_ok());
        }) as Box<dyn FnMut()>);
        sender.send(Some(value)).unwrap();
        assert_eq!(receiver.changed(), Ok(()));
        assert!(receiver.get().is_some());
        sender.send(None).unwrap();
        assert_eq!(*seen.borrow(), [true, true]);
        assert_eq!(receiver.has_changed(), Ok(true));
    });
}

#[test]
fn what_is_looked_at_stays_as_it_was() {
    check(|| {
        let (sender, receiver) = watch::channel(String::from("old"));
        let looked_at = receiver.get();
        sender.send("new".into()).unwrap();
        assert_eq!(
            (looked_at.as_str(), receiver.get().as_str()),
            ("old", "new")
        );
    });
}
