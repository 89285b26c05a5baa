//! `sync::Condvar` and `sync::Barrier` where a waiter leaves at a bad moment, and limits.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::{Barrier, Condvar, Mutex, WaitGroup};
use ethreads::thread::{self, Cancelled};
use ethreads::time;

use crate::support::{OnDrop, leaving_nothing as check};

const HOUR: Duration = Duration::from_secs(3600);

type Queue = Rc<(Mutex<Vec<u32>>, Condvar)>;

/// Waits for an item in the queue, takes it out and returns it.
fn take((queue, changed): &(Mutex<Vec<u32>>, Condvar)) -> u32 {
    let queue = queue.lock().unwrap();
    let mut queue = changed.wait_while(queue, |queue| queue.is_empty()).unwrap();
    queue.remove(0)
}

#[test]
fn a_notification_is_not_lost_to_a_waiter_cancelled_while_the_lock_is_held() {
    check(|| {
        for cancelled in [true, false] {
            let (queue, taken) = (Queue::default(), Rc::new(RefCell::new(Vec::new())));
            let (theirs, log) = (queue.clone(), taken.clone());
            let first = thread::spawn(move || {
                let limit = Duration::from_millis(if cancelled { 3_600_000 } else { 1 });
                let _ = time::timeout(limit, || {
                    let one = take(&theirs);
                    log.borrow_mut().push(one);
                    thread::sleep(HOUR);
                });
            });
            thread::yield_now();
            // As usual, the notifier holds the lock.
            let mut items = queue.0.lock().unwrap();
            items.push(1);
            queue.1.notify_one();
            thread::yield_now();
            // The waiter has been notified, and waits for the lock.
            if cancelled {
                first.cancel();
            }
            thread::sleep(Duration::from_millis(3));
            drop(items);
            assert_eq!(first.join().is_err(), cancelled);
            assert_eq!(
                *taken.borrow(),
                [1],
                "it was notified, and has what it was told of"
            );
            assert!(!queue.0.is_poisoned());
        }
    });
}

#[test]
fn a_notification_passes_a_waiter_that_has_left() {
    check(|| {
        let queue = Queue::default();
        let [gone, next] = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || take(&queue))
        });
        thread::yield_now();
        gone.cancel();
        queue.0.lock().unwrap().push(7);
        queue.1.notify_one();
        assert!(gone.join().unwrap_err().is::<Cancelled>());
        assert_eq!(next.join().unwrap(), 7);
    });
}

#[test]
fn a_wait_with_a_limit_says_whether_it_was_notified() {
    check(|| {
        let queue = Queue::default();
        let waits = |limit| {
            let queue = queue.clone();
            thread::spawn(move || {
                let guard = queue.0.lock().unwrap();
                let (guard, result) = queue.1.wait_timeout(guard, limit).unwrap();
                (guard.len(), result.timed_out())
            })
        };
        let (late, told) = (waits(Duration::from_millis(1)), waits(HOUR));
        thread::yield_now();
        assert_eq!(late.join().unwrap(), (0, true));
        queue.0.lock().unwrap().push(1);
        queue.1.notify_all();
        assert_eq!(told.join().unwrap(), (1, false));
    });
}

#[test]
fn a_waiter_is_told_that_the_lock_was_poisoned_meanwhile() {
    check(|| {
        let queue = Queue::default();
        let theirs = queue.clone();
        let waits = thread::spawn(move || {
            let guard = theirs.0.lock().unwrap();
            let error = theirs.1.wait(guard).unwrap_err();
            error.get_ref().len()
        });
        thread::yield_now();
        let theirs = queue.clone();
        let poisons = thread::spawn(move || {
            let mut guard = theirs.0.lock().unwrap();
            guard.extend([1, 2]);
            theirs.1.notify_one();
            panic!("on purpose");
        });
        assert!(poisons.join().is_err());
        assert_eq!(waits.join().unwrap(), 2);
    });
}

#[test]
fn an_ethread_that_unwinds_does_not_wait_for_a_notification_nor_for_others() {
    check(|| {
        let queue = Queue::default();
        let reached = Rc::new(RefCell::new(Vec::new()));
        let (theirs, log) = (queue.clone(), reached.clone());
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| {
                let guard = theirs.0.lock().unwrap();
                let guard = theirs.1.wait(guard).unwrap();
                let (guard, result) = theirs.1.wait_timeout(guard, HOUR).unwrap();
                log.borrow_mut().push(result.timed_out());
                drop(theirs.1.wait_while(guard, |_| true).unwrap());
                log.borrow_mut().push(Barrier::new(2).wait().is_leader());
                WaitGroup::new().wait();
            });
            panic!("on the way");
        });
        assert!(unwinds.join().is_err());
        assert_eq!(*reached.borrow(), [true, false]);
        assert!(queue.0.try_lock().is_ok());
    });
}

#[test]
fn a_barrier_does_not_count_one_whose_time_is_over() {
    check(|| {
        let barrier = Rc::new(Barrier::new(2));
        let late = time::timeout(Duration::from_millis(1), || barrier.wait().is_leader());
        assert!(late.is_err());
        let theirs = barrier.clone();
        let first = thread::spawn(move || theirs.wait().is_leader());
        (0..3).for_each(|_| thread::yield_now());
        assert!(!first.is_finished(), "there is one, and not two");
        assert!(barrier.wait().is_leader());
        assert!(!first.join().unwrap());
    });
}

#[test]
fn a_moment_without_members_is_enough_for_the_waiters() {
    check(|| {
        let group = WaitGroup::new();
        let member = group.join();
        let theirs = group.clone();
        let waits = thread::spawn(move || theirs.wait());
        let theirs = group.clone();
        let late = thread::spawn(move || time::timeout(Duration::ZERO, || theirs.wait()));
        thread::yield_now();
        drop(member);
        // The group has a member again before the waiter runs.
        let _again = group.join();
        waits.join().unwrap();
        assert!(
            late.join().unwrap().is_ok(),
            "there was a moment for it too"
        );
    });
}
