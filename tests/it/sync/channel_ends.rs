//! `sync::channel`: ends that are dropped at unusual moments, destructors that use the channel, and
//! callers that are not ethreads.

use std::cell::{Cell, RefCell};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::channel::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError,
};
use ethreads::sync::select::Operation;
use ethreads::thread;
use ethreads::{Runtime, bridge};

use crate::support::{OnDrop, deadlock, fresh, leaving_nothing as check, text};

const HOUR: Duration = Duration::from_secs(3600);

/// A message whose destructor calls a closure with the number of the message.
struct Calls(u32, Rc<dyn Fn(u32)>);

impl Drop for Calls {
    fn drop(&mut self) {
        (self.1)(self.0);
    }
}

#[test]
fn a_message_that_is_dropped_with_its_channel_may_use_the_other_end() {
    check(|| {
        let (sender, receiver) = channel::unbounded();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (theirs, log) = (sender.clone(), seen.clone());
        let on_drop: Rc<dyn Fn(u32)> = Rc::new(move |n| {
            log.borrow_mut()
                .push((n, theirs.len(), theirs.is_disconnected()));
            if n < 10 {
                // The send fails at once and returns the message, which is dropped in turn.
                let next = Calls(n + 10, Rc::new(|_| ()));
                assert!(matches!(
                    theirs.try_send(next),
                    Err(TrySendError::Disconnected(_))
                ));
                let next = Calls(n + 20, Rc::new(|_| ()));
                assert!(theirs.clone().send(next).is_err());
            }
        });
        (0..3).for_each(|n| assert!(sender.send(Calls(n, on_drop.clone())).is_ok()));
        drop(receiver);
        assert_eq!(*seen.borrow(), [(0, 0, true), (1, 0, true), (2, 0, true)]);
    });
}

#[test]
fn the_message_of_a_sender_that_is_cancelled_may_use_the_channel() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let nothing: Rc<dyn Fn(u32)> = Rc::new(|_| ());
        assert!(sender.send(Calls(1, nothing.clone())).is_ok());
        let (sends, receives, log) = (sender.clone(), receiver.clone(), seen.clone());
        let uses_it = Rc::new(move |_| {
            // The sender of this message has left the wait queue by now.
            let first = receives.try_recv().map(|message| message.0);
            let sent = sends.try_send(Calls(3, nothing.clone())).is_ok();
            let second = receives.try_recv().map(|message| message.0);
            let end = receives.try_recv().is_err();
            log.borrow_mut().push((first, sent, second, end));
        });
        let theirs = sender.clone();
        let waiting = thread::spawn(move || theirs.send(Calls(2, uses_it)).is_ok());
        thread::yield_now();
        let other = sender.clone();
        let behind = thread::spawn(move || other.send(Calls(5, Rc::new(|_| ()))).is_ok());
        thread::yield_now();
        waiting.cancel();
        assert!(waiting.join().is_err());
        // Receiving the first message made room for the sender behind, which left no room for the
        // destructor's own message.
        assert_eq!(*seen.borrow(), [(Ok(1), false, Ok(5), true)]);
        assert!(behind.join().unwrap());
        assert_eq!(receiver.try_iter().count(), 0);
    });
}

#[test]
fn a_message_may_be_the_last_end_of_its_own_channel() {
    struct Holds(#[expect(dead_code)] Sender<Self>);
    check(|| {
        let (sender, receiver) = channel::unbounded();
        let clone = sender.clone();
        sender.send(Holds(clone)).ok().unwrap();
        drop(sender);
        let waiting = receiver.clone();
        // The message holds the last sender: when it is dropped the channel ends.
        drop(receiver.recv().unwrap());
        assert!(matches!(waiting.recv(), Err(RecvError)));
        // Dropping the last receiver drops the message, and its sender, inside the channel.
        let (sender, receiver) = channel::unbounded();
        sender.send(Holds(sender.clone())).ok().unwrap();
        let sender = Rc::new(sender);
        let weak = Rc::downgrade(&sender);
        drop(sender);
        drop(receiver);
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn a_panic_in_the_destructor_of_a_message_leaves_a_channel_that_is_closed() {
    check(|| {
        let (sender, receiver) = channel::unbounded();
        let dropped = Rc::new(Cell::new(0));
        let log = dropped.clone();
        let on_drop: Rc<dyn Fn(u32)> = Rc::new(move |n| {
            log.set(log.get() + 1);
            assert_ne!(n, 1, "on purpose");
        });
        (0..3).for_each(|n| assert!(sender.send(Calls(n, on_drop.clone())).is_ok()));
        let result = panic::catch_unwind(AssertUnwindSafe(move || drop(receiver)));
        assert!(text(&*result.unwrap_err()).contains("on purpose"));
        assert_eq!(dropped.get(), 3);
        assert!(sender.is_disconnected() && sender.is_empty());
    });
}

#[test]
fn an_unwinding_ethread_does_what_it_can_without_waiting() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let log = Rc::new(RefCell::new(Vec::new()));
        let (s, r, seen) = (sender.clone(), receiver.clone(), log.clone());
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| {
                let mut seen = seen.borrow_mut();
                seen.push(r.recv() == Err(RecvError));
                seen.push(r.recv_timeout(HOUR) == Err(RecvTimeoutError::Timeout));
                seen.push(s.send(1) == Ok(()));
                seen.push(s.send(2) == Err(SendError(2)));
                seen.push(s.send_timeout(3, HOUR) == Err(SendTimeoutError::Timeout(3)));
                seen.push(r.iter().eq([1]));
            });
            panic!("on purpose");
        });
        assert!(unwinds.join().is_err());
        assert_eq!(*log.borrow(), [true; 6]);
        // No waiter is left in the wait queue.
        assert_eq!(sender.try_send(4), Ok(()));
        assert_eq!(receiver.try_recv(), Ok(4));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn ends_that_are_dropped_while_unwinding_are_gone_like_others() {
    check(|| {
        let unwinds: [fn(); 2] = [|| panic!("on purpose"), || thread::sleep(HOUR)];
        for unwind in unwinds {
            let (sender, receiver) = channel::bounded::<u32>(0);
            let holder = thread::spawn(move || {
                let _sender = sender;
                thread::yield_now();
                unwind();
            });
            let waiting = thread::spawn(move || receiver.recv());
            (0..3).for_each(|_| thread::yield_now());
            holder.cancel();
            assert!(holder.join().is_err());
            assert_eq!(waiting.join().unwrap(), Err(RecvError));

            let (sender, receiver) = channel::bounded::<u32>(0);
            let holder = thread::spawn(move || {
                let _receiver = receiver;
                thread::yield_now();
                unwind();
            });
            let waiting = thread::spawn(move || sender.send(5));
            (0..3).for_each(|_| thread::yield_now());
            holder.cancel();
            assert!(holder.join().is_err());
            assert_eq!(waiting.join().unwrap(), Err(SendError(5)));
        }
    });
}

#[test]
fn an_end_that_is_forgotten_keeps_its_channel_open() {
    fresh(|| {
        let (sender, receiver) = channel::bounded::<u32>(0);
        let (theirs, other) = (sender.clone(), receiver.clone());
        let waiting = thread::spawn(move || receiver.recv());
        std::mem::forget((sender, other));
        let deadlock = deadlock(ethreads::run());
        let report = deadlock.to_string();
        assert!(report.contains("a message of a channel"), "{report}");
        // The remaining sender can still send.
        assert_eq!(theirs.try_send(6), Ok(()));
        ethreads::run().unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(6));
        let waiting = thread::spawn(move || theirs.send(7));
        let deadlock = self::deadlock(ethreads::run());
        let report = deadlock.to_string();
        assert!(report.contains("room in a channel"), "{report}");
        deadlock.cancel_all();
        ethreads::run().unwrap();
        assert!(waiting.join().is_err());
    });
}

type Ends = (Sender<u32>, Receiver<u32>);

#[test]
fn a_channel_outlives_its_scheduler_and_forgets_its_waiters() {
    fresh(|| {
        let of_receivers: &'static Ends = Box::leak(Box::new(channel::bounded(1)));
        let of_senders: &'static Ends = Box::leak(Box::new(channel::bounded(1)));
        let run = |f: fn(&'static Ends, &'static Ends)| {
            let builder = Runtime::builder().grace(Duration::ZERO);
            builder.run(move || f(of_receivers, of_senders))
        };
        let _ = run(|of_receivers, of_senders| {
            of_senders.0.send(1).unwrap();
            // Two waiters of each kind end with the shard, two are leaked where they are.
            for _ in 0..2 {
                drop(thread::spawn(|| of_receivers.1.recv()));
                drop(thread::spawn(|| of_senders.0.send(2)));
                drop(thread::spawn(|| {
                    thread::uncancellable(|| of_receivers.1.recv())
                }));
                drop(thread::spawn(|| {
                    thread::uncancellable(|| of_senders.0.send(3))
                }));
            }
            thread::yield_now();
        });
        // Uses the channels first without a scheduler, then with another scheduler.
        for round in 0..2 {
            let use_it: fn(&'static Ends, &'static Ends) = |of_receivers, of_senders| {
                assert_eq!(of_receivers.0.try_send(4), Ok(()));
                assert_eq!(of_receivers.0.try_send(5), Err(TrySendError::Full(5)));
                assert_eq!(of_receivers.1.try_recv(), Ok(4));
                assert_eq!(of_senders.1.try_recv(), Ok(1));
                assert_eq!(of_senders.1.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(of_senders.0.try_send(1), Ok(()));
            };
            if round == 0 {
                use_it(of_receivers, of_senders);
                continue;
            }
            let result = run(|of_receivers, of_senders| {
                let waiting = thread::spawn(|| of_receivers.1.recv());
                thread::yield_now();
                assert_eq!(of_receivers.0.try_send(6), Ok(()));
                assert_eq!(waiting.join().unwrap(), Ok(6));
                let waiting = thread::spawn(|| of_senders.0.send(7));
                thread::yield_now();
                assert_eq!(of_senders.1.recv(), Ok(1));
                assert_eq!(waiting.join().unwrap(), Ok(()));
                assert_eq!(of_senders.1.recv(), Ok(7));
                assert_eq!(of_senders.1.try_recv(), Err(TryRecvError::Empty));
            });
            result.unwrap();
        }
    });
}

#[test]
fn the_end_of_a_shard_ends_its_waits() {
    fresh(|| {
        let ends = channel::bounded::<Rc<()>>(0);
        let message = Rc::new(());
        let theirs = message.clone();
        let (sender, receiver) = ends.clone();
        ethreads::run_main(move || {
            for _ in 0..3 {
                let (sender, message) = (sender.clone(), theirs.clone());
                drop(thread::spawn(move || sender.send(message)));
            }
            let (_others, receiver) = (receiver, channel::bounded::<u32>(0));
            drop(thread::spawn(move || receiver.1.recv()));
            thread::yield_now();
        })
        .unwrap();
        assert_eq!(Rc::strong_count(&message), 1);
        assert!(matches!(ends.1.try_recv(), Err(TryRecvError::Empty)));
        drop(ends.1);
        assert!(ends.0.is_disconnected());
    });
}

#[test]
fn an_os_thread_without_ethreads_uses_a_channel_by_itself() {
    fresh(|| {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).unwrap();
        assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(
            receiver.recv_timeout(Duration::from_millis(1)),
            Err(RecvTimeoutError::Timeout)
        );
        let stuck = panic::catch_unwind(AssertUnwindSafe(|| receiver.recv())).unwrap_err();
        let report = text(&*stuck);
        assert!(report.contains("a message of a channel"), "{report}");
        assert!(report.contains("can never end"), "{report}");
        // The receive that panicked has left the wait queue.
        sender.send(3).unwrap();
        let stuck = panic::catch_unwind(AssertUnwindSafe(|| sender.send(4))).unwrap_err();
        assert!(text(&*stuck).contains("room in a channel"));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [3]);
        // The OS thread runs ethreads while it waits.
        let theirs = sender.clone();
        let ethread = thread::spawn(move || theirs.send(5));
        assert_eq!(receiver.recv(), Ok(5));
        ethread.join().unwrap().unwrap();
        let other = receiver.clone();
        let ethread = thread::spawn(move || Vec::from_iter(other.iter().take(3)));
        (6..9).for_each(|n| sender.send(n).unwrap());
        assert_eq!(ethread.join().unwrap(), [6, 7, 8]);
        drop(sender);
        assert_eq!(receiver.recv(), Err(RecvError));
    });
}

#[test]
fn on_the_schedulers_side_a_channel_works_but_for_waiting() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let (s, r) = (sender.clone(), receiver.clone());
        let got = bridge::suspend(move |me: bridge::Suspended<_>| {
            s.send(1).unwrap();
            assert_eq!(s.try_send(2), Err(TrySendError::Full(2)));
            let got = r.recv();
            assert!(me.resume(got).is_ok());
        });
        assert_eq!(got, Ok(1));
        let waits = thread::spawn(move || {
            bridge::suspend(move |_: bridge::Suspended<()>| {
                let _ = receiver.recv();
            });
        });
        let payload = waits.join().unwrap_err();
        assert!(text(&*payload).contains("on the scheduler's side"));
        assert!(sender.is_disconnected());
    });
}

#[cfg(feature = "sim")]
mod at_one_time {
    use ethreads::sim;
    use ethreads::time::Instant;

    use super::*;

    #[test]
    fn a_limit_is_exact() {
        let run = sim::run(1, || {
            let (sender, receiver) = channel::bounded(0);
            let start = Instant::now();
            assert_eq!(receiver.recv_timeout(HOUR), Err(RecvTimeoutError::Timeout));
            assert_eq!(start.elapsed(), HOUR);
            let late = sender.send_timeout(1, HOUR);
            assert_eq!(late, Err(SendTimeoutError::Timeout(1)));
            assert_eq!(start.elapsed(), HOUR * 2);
            assert_eq!(
                sender.send_timeout(1, Duration::MAX / 4),
                Err(SendTimeoutError::Timeout(1)),
                "centuries end as well"
            );
        });
        run.unwrap();
    }

    #[test]
    fn nothing_is_lost_when_thousands_give_up_at_the_time_of_a_message() {
        for seed in 0..6 {
            let run = sim::run(seed, || {
                let (sender, receiver) = channel::bounded(0);
                let receivers: Vec<_> = (0..2000)
                    .map(|_| {
                        let receiver = receiver.clone();
                        thread::spawn(move || receiver.recv_timeout(HOUR).ok())
                    })
                    .collect();
                let senders: Vec<_> = (0..1000)
                    .map(|n| {
                        let sender = sender.clone();
                        thread::spawn(move || {
                            thread::sleep(HOUR);
                            sender.try_send(n).err().map(|_| n)
                        })
                    })
                    .collect();
                let receivers = receivers.into_iter().map(|handle| handle.join().unwrap());
                let received = receivers.flatten();
                let mut all: Vec<u32> = received.collect();
                let senders = senders.into_iter().map(|handle| handle.join().unwrap());
                all.extend(senders.flatten());
                all.sort_unstable();
                assert!(all.into_iter().eq(0..1000));
                assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(sender.try_send(0), Err(TrySendError::Full(0)));
            });
            run.unwrap();
        }
    }

    #[test]
    fn nothing_is_lost_when_thousands_of_senders_give_up_at_once() {
        for seed in 0..6 {
            let run = sim::run(seed, || {
                let (sender, receiver) = channel::bounded(1);
                let senders: Vec<_> = (0..2000)
                    .map(|n| {
                        let sender = sender.clone();
                        thread::spawn(move || {
                            let sent = sender.send_timeout(n, HOUR);
                            sent.err().map(SendTimeoutError::into_inner)
                        })
                    })
                    .collect();
                let theirs = receiver.clone();
                let taking = thread::spawn(move || {
                    thread::sleep(HOUR);
                    Vec::from_iter((0..500).filter_map(|_| theirs.try_recv().ok()))
                });
                let senders = senders.into_iter().map(|handle| handle.join().unwrap());
                let mut all: Vec<u32> = senders.flatten().collect();
                all.extend(taking.join().unwrap());
                all.extend(receiver.try_iter());
                all.sort_unstable();
                assert!(all.into_iter().eq(0..2000));
            });
            run.unwrap();
        }
    }
}

/// The message of the waiter that was left behind is not dropped: that would happen in the middle
/// of another ethread's wait.
#[test]
fn a_waiter_left_by_another_shard_of_the_thread_does_no_harm() {
    struct Waits;

    impl Drop for Waits {
        fn drop(&mut self) {
            thread::yield_now();
        }
    }

    fresh(|| {
        let (sender, receiver) = channel::bounded(0);
        let theirs = sender.clone();
        let first = Runtime::builder().grace(Duration::from_millis(1));
        let left = first.run(move || {
            drop(thread::spawn(move || {
                thread::uncancellable(|| drop(theirs.send(Waits)))
            }));
            thread::yield_now();
        });
        left.unwrap();
        let second = Runtime::builder().run(move || {
            let sends = thread::spawn(move || sender.sending(Waits).perform().is_ok());
            thread::yield_now();
            mem::forget(receiver.try_recv().unwrap());
            assert!(sends.join().unwrap());
        });
        second.unwrap();
    });
}
