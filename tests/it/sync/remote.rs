//! `sync::remote`: ethreads of different shards, and OS threads without ethreads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ethreads::sync::PromiseError;
use ethreads::sync::remote::channel::{RecvTimeoutError, SendTimeoutError, TryRecvError};
use ethreads::sync::remote::{Notifier, Promise, Semaphore, bounded, unbounded};
use ethreads::{thread, time};

use crate::support::{OnDrop, fresh};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(1);

/// Starts a shard on an OS thread of its own.
fn shard<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(|| ethreads::run_main(f).unwrap())
}

#[test]
fn messages_cross_in_all_directions_and_arrive_once() {
    const EACH: u64 = 2_000;
    for capacity in [Some(0), Some(1), Some(64), None] {
        let (sender, receiver) = match capacity {
            Some(capacity) => bounded(capacity),
            None => unbounded(),
        };
        let send = move |from: u64, sender: &ethreads::sync::remote::channel::Sender<u64>| {
            (0..EACH).for_each(|n| sender.send(from * EACH + n).unwrap());
        };
        let ends: Vec<_> = (0..4).map(|_| (sender.clone(), receiver.clone())).collect();
        drop((sender, receiver));
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for (from, (sender, receiver)) in (0..).zip(ends) {
            // Two of each kind: shards and plain OS threads.
            if from % 2 == 0 {
                senders.push(shard(move || send(from, &sender)));
                receivers.push(shard(move || receiver.iter().collect::<Vec<_>>()));
            } else {
                senders.push(std::thread::spawn(move || send(from, &sender)));
                receivers.push(std::thread::spawn(move || receiver.iter().collect()));
            }
        }
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
        let mut all = Vec::new();
        for receiver in receivers {
            let received = receiver.join().unwrap();
            // The messages of one sender stay in order for each receiver.
            for from in 0..4 {
                let of_one = received.iter().filter(|&&n| n / EACH == from);
                assert!(of_one.is_sorted());
            }
            all.extend(received);
        }
        all.sort_unstable();
        assert_eq!(all, (0..4 * EACH).collect::<Vec<_>>(), "{capacity:?}");
    }
}

#[test]
fn others_of_the_shard_go_on_while_one_waits() {
    let (sender, receiver) = unbounded();
    let others = Arc::new(AtomicBool::new(false));
    let seen = others.clone();
    let waits = shard(move || {
        let waiter = thread::spawn(move || receiver.recv().unwrap());
        thread::yield_now();
        seen.store(true, Ordering::Release);
        waiter.join().unwrap()
    });
    while !others.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    sender.send(7).unwrap();
    assert_eq!(waits.join().unwrap(), 7);
}

#[test]
fn an_os_thread_that_has_ethreads_drives_them_while_it_waits() {
    fresh(|| {
        let (sender, receiver) = unbounded();
        drop(thread::spawn(move || sender.send(3).unwrap()));
        assert_eq!(receiver.recv(), Ok(3));
    });
}

#[test]
fn within_a_shard_it_works_as_well() {
    ethreads::run_main(|| {
        let (sender, receiver) = bounded(0);
        let theirs = sender.clone();
        let sends = thread::spawn(move || theirs.send(1).unwrap());
        assert_eq!(receiver.recv(), Ok(1));
        sends.join().unwrap();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        drop(sender);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    })
    .unwrap();
}

#[test]
fn waits_end_at_their_timeouts_on_either_side() {
    let check = || {
        let (sender, receiver) = bounded(1);
        assert_eq!(receiver.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
        sender.send(1).unwrap();
        let late = sender.send_timeout(2, SOON);
        assert!(matches!(late, Err(SendTimeoutError::Timeout(2))));
        assert_eq!(receiver.recv_timeout(HOUR), Ok(1));
        drop(receiver);
        let closed = sender.send_timeout(3, HOUR);
        assert!(matches!(closed, Err(SendTimeoutError::Disconnected(3))));
        assert!(!Notifier::new().wait_timeout(SOON));
        assert!(Semaphore::new(0).acquire_timeout(SOON).is_err());
        let (promise, resolver) = Promise::<u8, u8>::new();
        assert_eq!(promise.wait_timeout(SOON), None);
        resolver.reject(4);
        assert_eq!(
            promise.wait_timeout(HOUR),
            Some(Err(PromiseError::Rejected(4)))
        );
    };
    std::thread::spawn(check).join().unwrap();
    ethreads::run_main(check).unwrap();
}

#[test]
fn a_waiter_that_was_cancelled_is_handed_nothing() {
    ethreads::run_main(|| {
        let (sender, receiver) = unbounded::<u8>();
        let theirs = receiver.clone();
        let waiter = thread::spawn(move || theirs.recv());
        thread::yield_now();
        waiter.cancel();
        let end = waiter.join().unwrap_err();
        assert!(end.is::<thread::Cancelled>());
        sender.send(1).unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
    })
    .unwrap();
}

#[test]
fn what_was_handed_over_before_the_cancel_is_kept() {
    ethreads::run_main(|| {
        let (sender, receiver) = unbounded::<u8>();
        let waiter = thread::spawn(move || {
            let message = receiver.recv().unwrap();
            let _leaves = OnDrop(move || assert_eq!(message, 1));
            thread::yield_now();
            unreachable!("it was cancelled");
        });
        thread::yield_now();
        sender.send(1).unwrap();
        waiter.cancel();
        assert!(waiter.join().is_err());
    })
    .unwrap();
}

#[test]
fn a_deadline_of_a_scope_ends_the_wait() {
    ethreads::run_main(|| {
        let semaphore = Semaphore::new(1);
        let held = semaphore.acquire();
        let waited = time::timeout(SOON, || drop(semaphore.acquire()));
        assert!(waited.is_err());
        drop(held);
        assert_eq!(semaphore.available_permits(), 1);
    })
    .unwrap();
}

#[test]
fn a_waiter_that_leaves_lets_the_later_ones_in() {
    ethreads::run_main(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let held = semaphore.acquire();
        let theirs = semaphore.clone();
        let wants_two = thread::spawn(move || drop(theirs.acquire_many(2)));
        thread::yield_now();
        let theirs = semaphore.clone();
        let wants_one = thread::spawn(move || drop(theirs.acquire()));
        thread::yield_now();
        assert!(!wants_one.is_finished(), "it is fair");
        wants_two.cancel();
        wants_one.join().unwrap();
        drop(held);
        assert!(wants_two.join().is_err());
        assert_eq!(semaphore.available_permits(), 2);
    })
    .unwrap();
}

#[test]
fn permits_hold_for_shards_and_os_threads_together() {
    let shared = Arc::new((Semaphore::new(3), AtomicUsize::new(0), AtomicUsize::new(0)));
    let work = |shared: &(Semaphore, AtomicUsize, AtomicUsize)| {
        for _ in 0..200 {
            let _permit = shared.0.acquire();
            let busy = shared.1.fetch_add(1, Ordering::AcqRel) + 1;
            shared.2.fetch_max(busy, Ordering::AcqRel);
            thread::yield_now();
            shared.1.fetch_sub(1, Ordering::AcqRel);
        }
    };
    let workers: Vec<_> = (0..4)
        .map(|number| {
            let shared = shared.clone();
            if number % 2 == 0 {
                return std::thread::spawn(move || work(&shared));
            }
            shard(move || {
                let ethreads: Vec<_> = (0..4)
                    .map(|_| {
                        let shared = shared.clone();
                        thread::spawn(move || work(&shared))
                    })
                    .collect();
                ethreads
                    .into_iter()
                    .for_each(|ethread| ethread.join().unwrap());
            })
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    assert!(shared.2.load(Ordering::Acquire) <= 3);
    assert_eq!(shared.0.available_permits(), 3);
}

#[test]
fn a_notification_is_kept_for_the_next_and_only_one() {
    ethreads::run_main(|| {
        let notifier = Arc::new(Notifier::new());
        (0..3).for_each(|_| notifier.notify_one());
        notifier.wait();
        assert!(!notifier.wait_timeout(Duration::ZERO));
        notifier.notify_all();
        assert!(
            !notifier.wait_timeout(Duration::ZERO),
            "no ethread has waited"
        );
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let notifier = notifier.clone();
                thread::spawn(move || notifier.wait())
            })
            .collect();
        thread::yield_now();
        notifier.notify_all();
        waiters
            .into_iter()
            .for_each(|waiter| waiter.join().unwrap());
    })
    .unwrap();
}

#[test]
fn a_promise_is_kept_for_all_waiters_everywhere() {
    let (promise, resolver) = Promise::<String, ()>::new();
    let waiters: Vec<_> = (0..4)
        .map(|number| {
            let promise = promise.clone();
            if number % 2 == 0 {
                std::thread::spawn(move || promise.wait())
            } else {
                shard(move || promise.wait())
            }
        })
        .collect();
    resolver.resolve("kept".to_owned());
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap().as_deref(), Ok("kept"));
    }
    assert_eq!(promise.get().unwrap().as_deref(), Ok("kept"));
}

#[test]
fn a_promise_whose_keeper_panics_is_broken() {
    let (promise, resolver) = Promise::<u8, ()>::new();
    let keeper = std::thread::spawn(move || {
        let _resolver = resolver;
        std::panic::resume_unwind(Box::new("it did not go well"));
    });
    assert!(keeper.join().is_err());
    assert_eq!(promise.wait(), Err(PromiseError::Broken));
}

#[test]
fn a_shard_that_ends_with_a_waiter_takes_nothing_along() {
    let (sender, receiver) = unbounded::<u8>();
    let theirs = receiver.clone();
    // The waiter is cancelled when the root has ended.
    shard(move || {
        drop(thread::spawn(move || theirs.recv()));
        thread::yield_now();
    })
    .join()
    .unwrap();
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
}

#[test]
fn an_os_thread_that_unwinds_still_waits() {
    let (sender, receiver) = unbounded();
    let unwinds = std::thread::spawn(move || {
        let _late = OnDrop(|| assert_eq!(receiver.recv(), Ok(1)));
        std::panic::resume_unwind(Box::new("on the way"));
    });
    sender.send(1).unwrap();
    assert!(unwinds.join().is_err());
}

#[test]
fn messages_may_use_the_channel_when_they_are_dropped() {
    struct Message(Option<ethreads::sync::remote::channel::Sender<Self>>);

    impl Drop for Message {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                assert!(sender.try_send(Self(None)).is_err());
            }
        }
    }

    let (sender, receiver) = unbounded();
    sender.send(Message(Some(sender.clone()))).unwrap();
    drop(receiver);
    assert!(sender.is_empty());
}

/// Runs `wait` in an ethread of an OS thread that ends before its ethreads do.
fn left_behind(wait: impl FnOnce() + Send + 'static) {
    let ends = std::thread::spawn(move || {
        drop(thread::spawn(wait));
        thread::yield_now();
    });
    ends.join().unwrap();
}

#[test]
fn a_waiter_left_behind_by_its_shard_is_handed_nothing() {
    fresh(|| {
        let (sender, receiver) = bounded(1);
        let theirs = receiver.clone();
        left_behind(move || assert!(theirs.recv().is_err()));
        sender.send(1).unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));

        let semaphore = Arc::new(Semaphore::new(0));
        let theirs = semaphore.clone();
        left_behind(move || drop(theirs.acquire()));
        semaphore.add_permits(1);
        assert_eq!(semaphore.available_permits(), 1);
        assert!(semaphore.try_acquire().is_ok(), "no waiter is in front");

        let notifier = Arc::new(Notifier::new());
        let theirs = notifier.clone();
        left_behind(move || theirs.wait());
        notifier.notify_one();
        assert!(notifier.wait_timeout(SOON));
    });
}
