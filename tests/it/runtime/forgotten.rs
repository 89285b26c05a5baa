//! Forgotten handles and guards: what they stand for stays as it is, and nothing else is lost.

use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;
use std::sync::TryLockError;
use std::time::Duration;

use ethreads::net::UnixStream;
use ethreads::sync::{Condvar, Mutex, Promise, RwLock, Semaphore, WaitGroup, channel};
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::{Runtime, bridge, runtime, time};

use crate::support::{OnDrop, deadlock, fresh, leaving_nothing as check};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(2);

/// Waits twice for what never comes: the wait of an ethread is cancelled, and a second wait meets a
/// deadline.
#[track_caller]
fn assert_waits_in_vain(wait: impl Fn() + Clone + 'static) {
    let waits: JoinHandle<()> = thread::spawn(wait.clone());
    thread::yield_now();
    assert!(!waits.is_finished());
    waits.cancel();
    assert!(waits.join().unwrap_err().is::<Cancelled>());
    assert!(time::timeout(SOON, wait).is_err());
}

#[test]
fn a_guard_leaves_its_mutex_locked() {
    check(|| {
        let mutex = Rc::new(Mutex::new(0));
        let theirs = mutex.clone();
        let holder = thread::spawn(move || mem::forget(theirs.lock().unwrap()));
        holder.join().unwrap();
        let theirs = mutex.clone();
        assert_waits_in_vain(move || drop(theirs.lock()));
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(!mutex.is_poisoned(), "no ethread has unwound with it");
        // The sole owner of the mutex can still use it.
        let mut mutex = Rc::into_inner(mutex).expect("no ethread waits any more");
        *mutex.get_mut().unwrap() = 1;
        assert_eq!(mutex.into_inner().unwrap(), 1);
    });
}

#[test]
fn a_forgotten_guard_is_named_in_a_deadlock_by_its_owner() {
    fresh(|| {
        let mutex = Rc::new(Mutex::new(()));
        let theirs = mutex.clone();
        let holder = thread::spawn(move || mem::forget(theirs.lock().unwrap()));
        let id = holder.thread().id();
        let waits = thread::spawn(move || drop(mutex.lock()));
        let deadlock = deadlock(ethreads::run());
        let waits_for = format!("a lock that ethread {id} holds");
        assert!(deadlock.to_string().contains(&waits_for), "{deadlock}");
        deadlock.cancel_all();
        ethreads::run().unwrap();
        assert!(waits.join().is_err());
    });
}

#[test]
fn a_guard_that_a_condition_has_given_back_is_as_good() {
    check(|| {
        let shared = Rc::new((Mutex::new(()), Condvar::new()));
        let theirs = shared.clone();
        let waiter = thread::spawn(move || {
            let guard = theirs.1.wait(theirs.0.lock().unwrap()).unwrap();
            mem::forget(guard);
        });
        thread::yield_now();
        shared.1.notify_all();
        waiter.join().unwrap();
        let theirs = shared.clone();
        assert_waits_in_vain(move || drop(theirs.0.lock()));
    });
}

#[test]
fn a_permit_is_gone_until_another_one_is_added() {
    check(|| {
        let semaphore = Rc::new(Semaphore::new(2));
        let theirs = semaphore.clone();
        thread::spawn(move || mem::forget(theirs.acquire_many(2)))
            .join()
            .unwrap();
        let theirs = semaphore.clone();
        assert_waits_in_vain(move || drop(theirs.acquire()));
        semaphore.add_permits(1);
        drop(semaphore.acquire());
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn a_member_keeps_its_group_waiting() {
    check(|| {
        let group = WaitGroup::new();
        let (first, second) = (group.join(), group.join());
        mem::forget(first);
        drop(second);
        let theirs = group.clone();
        assert_waits_in_vain(move || theirs.wait());
        assert_eq!(group.members(), 1);
    });
}

#[test]
fn guards_of_a_shared_lock_leave_it_as_it_is() {
    check(|| {
        let lock = Rc::new(RwLock::new(0));
        mem::forget(lock.read().unwrap());
        drop(lock.read().unwrap());
        let theirs = lock.clone();
        assert_waits_in_vain(move || drop(theirs.write()));
        // No waiting writer is left that would keep readers out.
        drop(lock.read().unwrap());
        drop(lock);
        let lock = Rc::new(RwLock::new(0));
        mem::forget(lock.write().unwrap());
        let theirs = lock.clone();
        assert_waits_in_vain(move || drop(theirs.read()));
        let theirs = lock.clone();
        assert_waits_in_vain(move || drop(theirs.write()));
        assert!(!lock.is_poisoned());
    });
}

#[test]
fn ends_of_channels_and_promises_are_waited_for() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).unwrap();
        mem::forget(receiver);
        let sender = Rc::new(sender);
        let theirs = sender.clone();
        assert_waits_in_vain(move || assert!(theirs.send(2).is_err()));
        assert_eq!((sender.len(), sender.is_disconnected()), (1, false));

        let (sender, receiver) = channel::unbounded();
        sender.send(1).unwrap();
        mem::forget(sender);
        assert_eq!(receiver.recv(), Ok(1));
        assert_waits_in_vain(move || assert!(receiver.recv().is_err()));

        let (promise, resolver) = Promise::<(), ()>::new();
        mem::forget(resolver);
        let theirs = promise.clone();
        assert_waits_in_vain(move || assert!(theirs.wait().is_err()));
        assert!(!promise.is_settled());
    });
}

#[test]
fn a_handle_that_would_cancel_does_not() {
    check(|| {
        let done = Rc::new(Cell::new(false));
        let theirs = done.clone();
        let goes_on = thread::spawn(move || {
            thread::yield_now();
            theirs.set(true);
        });
        mem::forget(goes_on.cancel_on_drop());
        (0..3).for_each(|_| thread::yield_now());
        assert!(done.get());
    });
}

#[test]
fn a_suspended_ethread_can_be_cancelled_and_is_found_in_a_deadlock() {
    check(|| {
        assert_waits_in_vain(|| bridge::suspend(|me: bridge::Suspended<()>| mem::forget(me)));
    });
    fresh(|| {
        let suspended = thread::spawn(|| {
            bridge::suspend(|me: bridge::Suspended<()>| mem::forget(me));
        });
        let deadlock = deadlock(ethreads::run());
        assert_eq!(deadlock.parked()[0].waits_for, "resume");
        deadlock.cancel_all();
        ethreads::run().unwrap();
        assert!(suspended.join().is_err());
    });
}

#[test]
fn handles_for_other_os_threads_keep_a_run_waiting_but_not_its_end() {
    check(|| {
        assert_waits_in_vain(|| {
            bridge::suspend(|me: bridge::Suspended<()>| mem::forget(me.into_remote()));
        });
    });
    // The scheduler must assume that the handle may still be used. So there is no deadlock, and the
    // run ends when the root ends.
    fresh(|| {
        let ended = Rc::new(Cell::new(false));
        let theirs = ended.clone();
        let result = Runtime::builder().run(move || {
            drop(thread::spawn(move || {
                let _ended = OnDrop(|| theirs.set(true));
                mem::forget(thread::current().into_remote());
                thread::park();
            }));
            thread::sleep(SOON);
        });
        result.unwrap();
        assert!(ended.get());
    });
}

#[test]
fn an_exit_is_missed_by_its_run_only() {
    fresh(|| {
        let result = bridge::run_until::<()>(|exit| {
            mem::forget(exit);
            drop(thread::spawn(thread::park));
        });
        let deadlock = deadlock(result);
        deadlock.cancel_all();
        ethreads::run().unwrap();
        assert_eq!(bridge::run_until(|exit| exit.finish(7)).unwrap(), 7);
    });
}

#[test]
#[expect(
    clippy::forget_non_drop,
    reason = "whether it has a destructor is its own affair"
)]
fn intervals_and_ends_of_sockets_hold_nothing_up() {
    check(|| {
        let mut interval = time::interval(SOON);
        interval.tick();
        interval.tick();
        mem::forget(interval);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let read = time::timeout_io(SOON, || std::io::Read::read(&mut ours, &mut [0]));
        assert!(read.is_err());
        mem::forget(ours);
        let stats = runtime::stats().unwrap();
        // The driver still knows the socket, but no I/O wait and no timer is left.
        assert_eq!((stats.timers, stats.io_waits, stats.sources), (0, 0, 1));
        drop(theirs);
    });
}

#[test]
fn starters_begin_without_their_handle() {
    check(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let begun = Rc::new(RefCell::new(None));
        let slot = begun.clone();
        let readable = bridge::Interest::Readable;
        let waits = bridge::on_ready(&ours, readable, None, move |wakeup| {
            *slot.borrow_mut() = Some(wakeup);
        });
        mem::forget(waits.unwrap());
        drop(theirs);
        while begun.borrow().is_none() {
            thread::yield_now();
        }
        assert_eq!(begun.take(), Some(bridge::Wakeup::Ready));
    });
}

#[test]
fn a_payload_that_is_forgotten_was_caught_all_the_same() {
    check(|| {
        let caught = std::panic::catch_unwind(|| {
            let _ = time::timeout(HOUR, || {
                thread::scope(|scope| {
                    scope.spawn(|| panic!("of a child"));
                    thread::sleep(HOUR);
                });
            });
        });
        mem::forget(caught.unwrap_err());
        let caught = time::timeout(Duration::ZERO, || {
            mem::forget(std::panic::catch_unwind(|| thread::sleep(HOUR)));
        });
        assert_eq!(caught, Ok(()));
        thread::yield_now();
    });
}
