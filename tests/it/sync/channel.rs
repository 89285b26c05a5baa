//! `sync::channel`: each message is received once and in order, whichever senders and receivers
//! come and go meanwhile.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::channel::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError,
};
use ethreads::thread::{self, Cancelled};
use ethreads::time;

use crate::support::{join_all, leaving_nothing as check};

const HOUR: Duration = Duration::from_secs(3600);
const CAPACITIES: [Option<usize>; 5] = [Some(0), Some(1), Some(2), Some(64), None];

fn open<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    capacity.map_or_else(channel::unbounded, channel::bounded)
}

/// A message that counts how many of its kind are alive.
#[derive(Debug)]
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(alive: &Rc<Cell<usize>>) -> Self {
        alive.set(alive.get() + 1);
        Self(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn messages_come_in_the_order_in_which_they_were_sent() {
    for capacity in CAPACITIES {
        check(move || {
            let (sender, receiver) = open(capacity);
            let producer = thread::spawn(move || {
                for n in 0..200 {
                    sender.send(n).unwrap();
                }
            });
            let received: Vec<u32> = receiver.iter().collect();
            assert_eq!(received, Vec::from_iter(0..200), "{capacity:?}");
            producer.join().unwrap();
        });
    }
}

#[test]
fn a_channel_holds_as_many_messages_as_it_says() {
    check(|| {
        let (sender, receiver) = channel::bounded(2);
        assert_eq!((sender.capacity(), receiver.capacity()), (Some(2), Some(2)));
        let state = || (sender.len(), sender.is_empty(), sender.is_full());
        assert_eq!(state(), (0, true, false));
        sender.send(1).unwrap();
        assert_eq!(state(), (1, false, false));
        sender.try_send(2).unwrap();
        assert_eq!(state(), (2, false, true));
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
        let theirs = sender.clone();
        let waiting = thread::spawn(move || theirs.send(4));
        thread::yield_now();
        // The message of a waiting sender is not in the channel.
        assert_eq!(state(), (2, false, true));
        assert_eq!(receiver.recv(), Ok(1));
        // Now the waiting sender's message is in the channel, before any later one, though the
        // sender has not run yet.
        assert!(!waiting.is_finished());
        assert_eq!(state(), (2, false, true));
        assert_eq!(sender.try_send(5), Err(TrySendError::Full(5)));
        assert_eq!(waiting.join().unwrap(), Ok(()));
        assert_eq!(Vec::from_iter(receiver.try_iter()), [2, 4]);
        assert_eq!((receiver.len(), receiver.is_empty()), (0, true));

        let (sender, receiver) = channel::bounded::<()>(0);
        assert_eq!(
            (sender.is_full(), sender.is_empty(), receiver.capacity()),
            (true, true, Some(0))
        );
        let (sender, receiver) = channel::unbounded();
        assert_eq!((sender.capacity(), receiver.capacity()), (None, None));
        for n in 0..10_000 {
            sender.try_send(n).unwrap();
        }
        assert_eq!((sender.is_full(), receiver.len()), (false, 10_000));
        assert!(receiver.try_iter().eq(0..10_000));
    });
}

#[test]
fn without_room_a_sender_and_a_receiver_meet() {
    check(|| {
        let (sender, receiver) = channel::bounded(0);
        assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        let log = Rc::new(RefCell::new(Vec::new()));
        let (theirs, their_log) = (sender.clone(), log.clone());
        let first = thread::spawn(move || {
            theirs.send(1).unwrap();
            their_log.borrow_mut().push("sent");
        });
        (0..3).for_each(|_| thread::yield_now());
        log.borrow_mut().push("not taken yet");
        assert_eq!(receiver.try_recv(), Ok(1));
        first.join().unwrap();
        assert_eq!(*log.borrow(), ["not taken yet", "sent"]);
        // The receiver comes first.
        let other = thread::spawn(move || receiver.recv());
        thread::yield_now();
        assert_eq!(sender.try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(other.join().unwrap(), Ok(2));
    });
}

#[test]
fn receivers_are_served_in_the_order_in_which_they_came() {
    for capacity in CAPACITIES {
        check(move || {
            let (sender, receiver) = open(capacity);
            let receivers: Vec<_> = (0..4)
                .map(|_| {
                    let receiver = receiver.clone();
                    thread::spawn(move || receiver.recv())
                })
                .collect();
            thread::yield_now();
            for n in 0..4 {
                sender.try_send(n).unwrap();
            }
            // Each message already belongs to a waiter.
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(join_all(receivers), [Ok(0), Ok(1), Ok(2), Ok(3)]);
        });
    }
}

#[test]
fn senders_are_served_in_the_order_in_which_they_came() {
    for capacity in [0, 1, 2] {
        check(move || {
            let (sender, receiver) = channel::bounded(capacity);
            let senders: Vec<_> = (0..6)
                .map(|n| {
                    let sender = sender.clone();
                    thread::spawn(move || sender.send(n))
                })
                .collect();
            thread::yield_now();
            let received: Vec<_> = receiver.iter().take(6).collect();
            assert_eq!(received, [0, 1, 2, 3, 4, 5]);
            join_all(senders).into_iter().for_each(Result::unwrap);
        });
    }
}

#[test]
fn two_receivers_that_both_wait_take_turns() {
    check(|| {
        let (sender, receiver) = channel::bounded(0);
        let receivers = [(); 2].map(|()| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().count())
        });
        drop(receiver);
        // Both receivers are in the wait queue from now on.
        thread::yield_now();
        for _ in 0..100 {
            sender.send(()).unwrap();
            thread::yield_now();
        }
        drop(sender);
        assert_eq!(join_all(receivers), [50, 50]);
    });
}

#[test]
fn what_is_left_comes_before_the_end() {
    check(|| {
        let (sender, receiver) = channel::bounded(4);
        let clone = sender.clone();
        sender.send(1).unwrap();
        clone.send(2).unwrap();
        clone.send(3).unwrap();
        drop(sender);
        assert_eq!(receiver.try_recv(), Ok(1));
        drop(clone);
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(receiver.recv_timeout(HOUR), Ok(3));
        // After the last message the channel stays disconnected.
        for _ in 0..2 {
            assert_eq!(receiver.recv(), Err(RecvError));
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
            assert_eq!(
                receiver.recv_timeout(HOUR),
                Err(RecvTimeoutError::Disconnected)
            );
        }
        assert_eq!(receiver.iter().next(), None);
        assert_eq!(receiver.clone().try_iter().next(), None);
        assert_eq!(receiver.into_iter().next(), None);
    });
}

#[test]
fn without_receivers_senders_keep_their_messages() {
    for capacity in CAPACITIES {
        check(move || {
            let (sender, receiver) = open(capacity);
            let clone = receiver.clone();
            drop(receiver);
            assert!(!sender.is_disconnected());
            drop(clone);
            assert!(sender.is_disconnected());
            let boxed = || Box::new(7);
            assert_eq!(sender.send(boxed()), Err(SendError(boxed())));
            let error = sender.try_send(boxed());
            assert_eq!(error, Err(TrySendError::Disconnected(boxed())));
            let error = sender.send_timeout(boxed(), HOUR);
            assert_eq!(error, Err(SendTimeoutError::Disconnected(boxed())));
            assert_eq!((sender.len(), sender.clone().is_disconnected()), (0, true));
        });
    }
}

#[test]
fn a_waiter_learns_that_the_last_other_end_is_gone() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        sender.send(0).unwrap();
        let senders: Vec<_> = (1..4)
            .map(|n| {
                let sender = sender.clone();
                thread::spawn(move || sender.send_timeout(n, HOUR).map_err(|e| e.into_inner()))
            })
            .collect();
        let clone = receiver.clone();
        thread::yield_now();
        drop(receiver);
        thread::yield_now();
        assert!(senders.iter().all(|sender| !sender.is_finished()));
        drop(clone);
        assert_eq!(join_all(senders), [Err(1), Err(2), Err(3)]);

        let (sender, receiver) = channel::bounded::<()>(1);
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let receiver = receiver.clone();
                thread::spawn(move || receiver.recv_timeout(HOUR))
            })
            .collect();
        let clone = sender.clone();
        thread::yield_now();
        drop(sender);
        thread::yield_now();
        assert!(receivers.iter().all(|receiver| !receiver.is_finished()));
        drop(clone);
        assert_eq!(
            join_all(receivers),
            [Err(RecvTimeoutError::Disconnected); 3]
        );
    });
}

#[test]
fn a_clone_keeps_a_channel_open_and_no_message_goes_to_both() {
    check(|| {
        let (mut sender, mut receiver) = channel::bounded(3);
        for n in 0..50 {
            // Each assignment drops an end and keeps its clone.
            sender = sender.clone();
            receiver = receiver.clone();
            sender.send(n).unwrap();
            let other = receiver.clone();
            assert!(other.same_channel(&receiver) && sender.same_channel(&sender.clone()));
            assert_eq!(other.recv(), Ok(n));
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        }
        let (other_sender, other_receiver) = channel::bounded(3);
        assert!(!sender.same_channel(&other_sender));
        assert!(!receiver.same_channel(&other_receiver));
        assert_eq!(format!("{sender:?}"), "Sender { len: 0, .. }");
        other_sender.send(0).unwrap();
        assert_eq!(format!("{other_receiver:?}"), "Receiver { len: 1, .. }");
    });
}

#[test]
fn every_message_is_dropped_once() {
    check(|| {
        let alive = Rc::new(Cell::new(0));
        let new = || Counted::new(&alive);
        // Messages that are left in the channel, with the ends dropped in both orders.
        for sender_first in [true, false] {
            let (sender, receiver) = channel::unbounded();
            (0..5).for_each(|_| sender.send(new()).unwrap());
            drop(receiver.recv().unwrap());
            assert_eq!(alive.get(), 4);
            if sender_first {
                drop(sender);
                assert_eq!(alive.get(), 4);
                drop(receiver);
            } else {
                drop(receiver);
                assert_eq!(alive.get(), 0);
                drop(sender.send(new()).unwrap_err());
            }
            assert_eq!(alive.get(), 0);
        }
        // The messages of a sender that is cancelled, and of a sender whose timeout scope ends.
        let (sender, receiver) = channel::bounded(0);
        let (theirs, message) = (sender.clone(), new());
        let cancelled = thread::spawn(move || theirs.send(message));
        thread::yield_now();
        cancelled.cancel();
        assert_eq!(alive.get(), 1);
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert_eq!(alive.get(), 0);
        let late = time::timeout(Duration::from_millis(1), || sender.send(new()));
        assert!(late.is_err());
        assert_eq!(alive.get(), 0);
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        // A message handed to a receiver that is cancelled before it runs: the receiver has the
        // message, and drops it.
        let waiting = thread::spawn(move || receiver.recv().map(drop));
        thread::yield_now();
        sender.try_send(new()).unwrap();
        waiting.cancel();
        assert_eq!(alive.get(), 1);
        assert!(waiting.join().unwrap().is_ok());
        assert_eq!(alive.get(), 0);
    });
}

#[test]
fn a_message_that_was_handed_over_survives_a_cancel() {
    check(|| {
        let (sender, receiver) = channel::bounded(0);
        let got = Rc::new(Cell::new(0));
        let (theirs, log) = (receiver.clone(), got.clone());
        let cancelled = thread::spawn(move || {
            log.set(theirs.recv().unwrap());
            thread::yield_now();
            log.set(0);
        });
        thread::yield_now();
        sender.send(1).unwrap();
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert_eq!(got.get(), 1);
        // A waiter that was cancelled before is skipped, on both sides.
        let receivers = [(); 2].map(|()| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.recv())
        });
        thread::yield_now();
        receivers[0].cancel();
        sender.try_send(3).unwrap();
        let ended = receivers.map(|receiver| receiver.join().ok());
        assert_eq!(ended, [None, Some(Ok(3))]);
        let senders = [4, 5].map(|n| {
            let sender = sender.clone();
            thread::spawn(move || sender.send(n))
        });
        thread::yield_now();
        senders[0].cancel();
        assert_eq!(receiver.try_recv(), Ok(5));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        let ended = senders.map(|sender| sender.join().ok());
        assert_eq!(ended, [None, Some(Ok(()))]);
    });
}

#[test]
fn a_sender_that_gives_up_has_its_message_back_and_leaves_no_trace() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let moment = Duration::from_millis(1);
        assert_eq!(
            receiver.recv_timeout(moment),
            Err(RecvTimeoutError::Timeout)
        );
        assert_eq!(
            receiver.recv_timeout(Duration::ZERO),
            Err(RecvTimeoutError::Timeout)
        );
        assert_eq!(
            sender.send_timeout(1, Duration::ZERO),
            Ok(()),
            "there is room"
        );
        let late = sender.send_timeout(2, moment);
        assert_eq!(late, Err(SendTimeoutError::Timeout(2)));
        let late = sender.send_timeout(3, Duration::ZERO);
        assert_eq!(late, Err(SendTimeoutError::Timeout(3)));
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(1));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        // A receiver that has timed out takes no message from a later send.
        let scoped = time::timeout(moment, || receiver.recv());
        assert!(scoped.is_err());
        sender.try_send(4).unwrap();
        assert_eq!(sender.try_send(5), Err(TrySendError::Full(5)));
        assert_eq!(receiver.recv(), Ok(4));
        let error = SendTimeoutError::Timeout(Rc::new(()));
        assert_eq!(format!("{error:?}"), "Timeout(..)");
        assert_eq!(error.to_string(), "timed out waiting for room in a channel");
        let error = SendTimeoutError::from(SendError(6));
        assert_eq!(error, SendTimeoutError::Disconnected(6));
        assert_eq!(error.to_string(), "sending on a closed channel");
    });
}

#[test]
fn iterators_end_when_they_should_and_can_be_left() {
    check(|| {
        let (sender, receiver) = channel::unbounded();
        (0..10).for_each(|n| sender.send(n).unwrap());
        let mut seen = Vec::new();
        for n in &receiver {
            seen.push(n);
            if n == 2 {
                break;
            }
        }
        seen.extend(receiver.try_iter().take(2));
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert_eq!(receiver.len(), 5);
        let mut now = receiver.try_iter();
        assert_eq!(now.by_ref().count(), 5);
        assert_eq!(now.next(), None);
        sender.send(10).unwrap();
        assert_eq!(now.next(), Some(10), "it looks again each time");
        let all = thread::spawn(move || receiver.into_iter().sum::<u32>());
        for n in 0..5 {
            sender.send(n).unwrap();
            thread::yield_now();
        }
        assert!(!all.is_finished());
        drop(sender);
        assert_eq!(all.join().unwrap(), 10);
    });
}

#[test]
fn messages_are_of_any_type() {
    check(|| {
        // Messages without a size: the channel keeps only their number.
        let (sender, receiver) = channel::unbounded::<()>();
        (0..1000).for_each(|_| sender.send(()).unwrap());
        drop(sender);
        assert_eq!(receiver.iter().count(), 1000);
        // Large messages.
        let (sender, receiver) = channel::bounded(0);
        let sending = thread::spawn(move || sender.send([7u8; 8192]).is_ok());
        assert_eq!(receiver.recv(), Ok([7; 8192]));
        assert!(sending.join().unwrap());
        // Messages that are not `Clone`, not `Debug` and of no known type; and an end of a channel
        // as a message.
        let (sender, receiver) = channel::bounded::<Box<dyn FnOnce() -> u32>>(0);
        let (replies, reply) = channel::bounded::<Sender<u32>>(1);
        let server = thread::spawn(move || {
            let job = receiver.recv().unwrap();
            reply.recv().unwrap().send(job()).unwrap();
        });
        let (answer, answered) = channel::bounded(0);
        replies.send(answer).unwrap();
        assert!(sender.send(Box::new(|| 42)).is_ok());
        assert_eq!(answered.recv(), Ok(42));
        server.join().unwrap();
        // Messages with references: a channel need not be 'static.
        let text = String::from("borrowed");
        let (sender, receiver) = channel::bounded::<&str>(1);
        thread::scope(|scope| {
            scope.spawn(|| sender.send(&text[..6]).unwrap());
            assert_eq!(receiver.recv(), Ok("borrow"));
        });
    });
}

#[test]
fn primes_pass_a_chain_of_sieves() {
    for capacity in [Some(0), Some(3), None] {
        check(move || {
            let (sender, mut numbers) = open(capacity);
            drop(thread::spawn(move || {
                // Sends until the receiver is gone.
                (2..).try_for_each(|n| sender.send(n))
            }));
            let mut primes: Vec<u32> = Vec::new();
            while primes.len() < 50 {
                let prime = numbers.recv().unwrap();
                primes.push(prime);
                let (sender, rest) = open(capacity);
                let input = std::mem::replace(&mut numbers, rest);
                drop(thread::spawn(move || {
                    let mut others = input.iter().filter(|n| n % prime != 0);
                    others.try_for_each(|n| sender.send(n))
                }));
            }
            assert_eq!((primes[0], primes[1], primes[49]), (2, 3, 229));
            assert!(primes.is_sorted());
            // The disconnection goes up the chain, from sieve to sieve.
            drop(numbers);
            while ethreads::runtime::stats().unwrap().ethreads > 1 {
                thread::yield_now();
            }
        });
    }
}

#[test]
fn many_senders_and_many_receivers_share_a_channel() {
    for capacity in CAPACITIES {
        check(move || {
            let (sender, receiver) = open(capacity);
            let senders: Vec<_> = (0..10)
                .map(|sender_number| {
                    let sender = sender.clone();
                    thread::spawn(move || {
                        for n in 0..100 {
                            sender.send((sender_number, n)).unwrap();
                            if n % 7 == 0 {
                                thread::yield_now();
                            }
                        }
                    })
                })
                .collect();
            drop(sender);
            let receivers: Vec<_> = (0..10)
                .map(|_| {
                    let receiver = receiver.clone();
                    thread::spawn(move || Vec::from_iter(receiver.iter()))
                })
                .collect();
            drop(receiver);
            join_all(senders);
            let received = join_all(receivers);
            for one in &received {
                // The messages from one sender to one receiver keep their order.
                for sender in 0..10 {
                    let mut of_it = one.iter().filter(|(from, _)| *from == sender);
                    assert!(of_it.by_ref().is_sorted(), "{capacity:?}");
                }
            }
            let mut all = received.concat();
            all.sort_unstable();
            let sent = (0..10).flat_map(|sender| (0..100).map(move |n| (sender, n)));
            assert!(all.into_iter().eq(sent), "{capacity:?}");
        });
    }
}

#[test]
fn an_ethread_that_never_waits_still_lets_others_run() {
    check(|| {
        let (sender, receiver) = channel::unbounded();
        let ran = Rc::new(Cell::new(false));
        let flag = ran.clone();
        let other = thread::spawn(move || flag.set(true));
        let mut rounds = 0;
        while !ran.get() {
            sender.send(rounds).unwrap();
            assert_eq!(receiver.recv(), Ok(rounds));
            rounds += 1;
            assert!(rounds < 1_000_000, "it holds the shard");
        }
        other.join().unwrap();
    });
}
