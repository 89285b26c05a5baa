//! `sync::Signal`: values go to the current waiters, and none is lost to an ethread that has left.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::Signal;
use ethreads::thread::{self, Cancelled, JoinHandle};

use crate::support::{OnDrop, leaving_nothing as check};

const HOUR: Duration = Duration::from_secs(3600);

fn waiter<T: 'static>(signal: &Rc<Signal<T>>) -> JoinHandle<T> {
    let signal = signal.clone();
    thread::spawn(move || signal.wait())
}

fn results<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<Option<T>> {
    let joined = handles.into_iter().map(JoinHandle::join);
    joined.map(Result::ok).collect()
}

#[test]
fn a_signal_is_for_the_first_and_a_broadcast_for_all() {
    check(|| {
        let signal = Rc::new(Signal::new());
        let waiters = [(); 4].map(|()| waiter(&signal));
        thread::yield_now();
        assert_eq!(signal.waiters(), 4);
        assert_eq!(signal.signal("first"), Ok(()));
        assert_eq!(signal.signal("second"), Ok(()));
        assert_eq!((signal.broadcast("all"), signal.waiters()), (2, 0));
        // The waits have been served, so a further value is for later waiters only.
        assert_eq!(signal.signal("unread"), Err("unread"));
        let seen = ["first", "second", "all", "all"].map(Some);
        assert_eq!(results(waiters), seen);
    });
}

#[test]
fn a_signal_without_a_waiter_is_gone_and_does_no_harm() {
    check(|| {
        let signal = Rc::new(Signal::new());
        assert_eq!(signal.signal(1), Err(1));
        assert_eq!(signal.broadcast(2), 0);
        let late = waiter(&signal);
        (0..3).for_each(|_| thread::yield_now());
        assert!(!late.is_finished(), "it is not kept for later waiters");
        assert_eq!(signal.signal(3), Ok(()));
        assert_eq!(late.join().unwrap(), 3);
    });
}

#[test]
fn a_wait_with_a_limit_ends_with_nothing_or_with_the_value() {
    check(|| {
        let signal = Rc::new(Signal::<u32>::new());
        assert_eq!(signal.wait_timeout(Duration::from_millis(1)), None);
        assert_eq!(signal.wait_timeout(Duration::ZERO), None);
        assert_eq!(signal.waiters(), 0);
        let theirs = signal.clone();
        let waits = thread::spawn(move || theirs.wait_timeout(HOUR));
        thread::yield_now();
        assert_eq!(signal.signal(4), Ok(()));
        assert_eq!(waits.join().unwrap(), Some(4));
    });
}

#[test]
fn no_value_is_lost_to_a_cancelled_waiter() {
    check(|| {
        let signal = Rc::new(Signal::new());
        let (gone, next) = (waiter(&signal), waiter(&signal));
        thread::yield_now();
        gone.cancel();
        // In this turn the cancelled waiter has not run, and is still in the wait queue.
        assert_eq!(signal.signal(5), Ok(()));
        assert!(gone.join().unwrap_err().is::<Cancelled>());
        assert_eq!(next.join().unwrap(), 5);
    });
}

#[cfg(feature = "sim")]
#[test]
fn no_value_is_lost_to_a_waiter_whose_time_is_over() {
    for seed in 0..50 {
        let run = ethreads::sim::run(seed, || {
            let limit = Duration::from_millis(5);
            let signal = Rc::new(Signal::new());
            let [first, second] = [signal.clone(), signal.clone()];
            // The seed decides which waiter comes first.
            let limited = thread::spawn(move || first.wait_timeout(limit));
            let within = thread::spawn(move || ethreads::time::timeout(limit, || second.wait()));
            // At the moment of the deadlines, before or after the waiters run.
            thread::sleep(limit);
            let told = [signal.signal(1), signal.signal(2)];
            let last = waiter(&signal);
            thread::yield_now();
            let got = [limited.join().unwrap(), within.join().unwrap().ok()];
            for value in 1..=2 {
                let refused = told.contains(&Err(value));
                let received = got.contains(&Some(value));
                assert!(refused != received, "{told:?} {got:?}");
            }
            while signal.waiters() == 0 {
                thread::yield_now();
            }
            assert_eq!(signal.broadcast(3), 1);
            assert_eq!(last.join().unwrap(), 3);
        });
        run.unwrap();
    }
}

#[test]
fn a_value_that_was_handed_over_survives_a_cancel() {
    check(|| {
        let signal = Rc::new(Signal::new());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (theirs, log) = (signal.clone(), seen.clone());
        let waiter = thread::spawn(move || {
            log.borrow_mut().push(theirs.wait());
            thread::yield_now();
            unreachable!("the cancel takes effect here");
        });
        thread::yield_now();
        assert_eq!(signal.signal(7), Ok(()));
        waiter.cancel();
        assert!(waiter.join().unwrap_err().is::<Cancelled>());
        assert_eq!(*seen.borrow(), [7]);
    });
}

/// Calls a closure when it is cloned for the first time, and lets other ethreads run.
struct Slow(Rc<RefCell<Option<Meanwhile>>>);

type Meanwhile = Box<dyn FnOnce()>;

impl Clone for Slow {
    fn clone(&self) -> Self {
        let meanwhile = self.0.take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
            (0..3).for_each(|_| thread::yield_now());
        }
        Self(self.0.clone())
    }
}

#[test]
fn a_broadcast_is_not_for_waiters_that_come_while_it_is_cloned() {
    check(|| {
        let signal = Rc::new(Signal::<Slow>::new());
        let [leaves, stays] = [(); 2].map(|()| Rc::new(waiter(&signal)));
        thread::yield_now();
        let late = Rc::new(RefCell::new(None));
        let (theirs, to_cancel, place) = (signal.clone(), leaves.clone(), late.clone());
        let value = Slow(Rc::new(RefCell::new(Some(Box::new(move || {
            // One of the two waiters leaves, and another waiter arrives.
            to_cancel.cancel();
            *place.borrow_mut() = Some(waiter(&theirs));
        })))));
        assert_eq!(signal.broadcast(value), 1);
        assert_eq!(
            signal.waiters(),
            1,
            "a waiter that has come meanwhile waits on"
        );
        assert!(signal.signal(Slow(Rc::default())).is_ok());
        let late = late.take().unwrap();
        for (waiter, told) in [
            (Rc::into_inner(leaves), false),
            (Rc::into_inner(stays), true),
        ] {
            assert_eq!(waiter.unwrap().join().is_ok(), told);
        }
        assert!(late.join().is_ok());
    });
}

#[test]
fn a_destructor_of_a_value_may_signal() {
    check(|| {
        let signal = Rc::new(Signal::new());
        let again = signal.clone();
        let theirs = signal.clone();
        let told = thread::spawn(move || {
            let first: Option<OnDrop<Box<dyn FnMut()>>> = theirs.wait();
            drop(first);
        });
        let next = waiter(&signal);
        thread::yield_now();
        let value = OnDrop(Box::new(move || {
            assert!(again.signal(None).is_ok());
        }) as Box<dyn FnMut()>);
        assert!(signal.signal(Some(value)).is_ok());
        told.join().unwrap();
        assert!(next.join().unwrap().is_none());
    });
}
