//! `sync::select`: programs of many choosers, callers that are no ethreads, and events at one time.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::channel::{self, Receiver, Sender};
use ethreads::sync::select::{Operation, after, any};
use ethreads::sync::{Mutex, Signal};
use ethreads::{Runtime, bridge, select, thread};

use crate::support::{OnDrop, deadlock, fresh, in_child, leaving_nothing as check, stderr, text};

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_message_that_may_go_to_one_of_many_goes_to_one() {
    for capacity in [0, 1, 10] {
        check(move || {
            let channels: Vec<_> = (0..4).map(|_| channel::bounded(capacity)).collect();
            let (senders, receivers): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
            let (merge, merged) = channel::bounded(0);
            for receiver in receivers {
                let merge = merge.clone();
                drop(thread::spawn(move || {
                    receiver.iter().for_each(|n| merge.send(n).unwrap());
                }));
            }
            drop(merge);
            let producer = thread::spawn(move || {
                let mut ways = [0; 4];
                for n in 0..1000 {
                    let (way, sent) = any(senders.iter().map(|s| s.sending(n))).perform();
                    sent.unwrap();
                    ways[way] += 1;
                }
                ways
            });
            let mut all: Vec<u32> = merged.iter().collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..1000));
            let ways = producer.join().unwrap();
            assert!(ways.iter().all(|count| *count > 50), "{ways:?}");
        });
    }
}

#[test]
fn many_choosers_on_both_sides_lose_nothing() {
    for capacity in [Some(0), Some(1), None] {
        check(move || {
            let open = || capacity.map_or_else(channel::unbounded, channel::bounded);
            let [(a, from_a), (b, from_b)] = [open(), open()];
            let producers: Vec<_> = (0..8)
                .map(|producer| {
                    let (a, b): (Sender<u32>, Sender<u32>) = (a.clone(), b.clone());
                    thread::spawn(move || {
                        for n in 0..50 {
                            let n = producer * 50 + n;
                            select! {
                                sent = a.sending(n) => sent.unwrap(),
                                sent = b.sending(n) => sent.unwrap(),
                            }
                        }
                    })
                })
                .collect();
            drop((a, b));
            let consumers: Vec<_> = (0..8)
                .map(|_| {
                    let (from_a, from_b) = (from_a.clone(), from_b.clone());
                    thread::spawn(move || {
                        let mut got = Vec::new();
                        let mut open = [Some(from_a), Some(from_b)];
                        while open.iter().any(Option::is_some) {
                            // The end of a channel is reported once, and then that channel is left
                            // out.
                            let ways = open.iter().flatten().map(Receiver::receiving);
                            let (way, message) = any(ways).perform();
                            match message {
                                Ok(n) => got.push(n),
                                Err(_) if open[0].is_some() && way == 0 => open[0] = None,
                                Err(_) => open[1] = None,
                            }
                        }
                        got
                    })
                })
                .collect();
            drop((from_a, from_b));
            producers.into_iter().for_each(|p| p.join().unwrap());
            let mut all: Vec<u32> = consumers
                .into_iter()
                .flat_map(|consumer| consumer.join().unwrap())
                .collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..400), "{capacity:?}");
        });
    }
}

#[test]
fn the_macro_means_std_whatever_names_are_around_it() {
    #[derive(Debug, PartialEq)]
    enum Coin {
        Some,
        None,
        First,
    }
    use Coin::{First, None, Some};
    check(|| {
        let (sender, receiver) = channel::unbounded();
        let look = || {
            select! {
                biased;
                coin = receiver.receiving() => coin.unwrap(),
                () = after(HOUR) => Some,
                default => None,
            }
        };
        assert_eq!(look(), None);
        sender.send(First).unwrap();
        assert_eq!(look(), First);
    });
}

#[test]
fn an_ethread_that_never_waits_still_lets_others_run() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let ran = Rc::new(Cell::new(false));
        let flag = ran.clone();
        let other = thread::spawn(move || flag.set(true));
        let mut rounds = 0;
        while !ran.get() {
            select! {
                sent = sender.sending(()) => sent.unwrap(),
                got = receiver.receiving() => got.unwrap(),
            }
            rounds += 1;
            assert!(rounds < 1_000_000, "it holds the shard");
        }
        other.join().unwrap();
    });
}

#[test]
fn other_waits_work_on_beside_a_choice() {
    check(|| {
        // The wait queue of one signal, with choosers and plain waiters in turn.
        let signal = Rc::new(Signal::new());
        let order = Rc::new(RefCell::new(Vec::new()));
        let waiters: Vec<_> = (0..6)
            .map(|n| {
                let (signal, order) = (signal.clone(), order.clone());
                thread::spawn(move || {
                    let value = if n % 2 == 0 {
                        signal.wait()
                    } else {
                        select! { value = signal.waiting() => value, () = after(HOUR) => 0 }
                    };
                    order.borrow_mut().push((n, value));
                })
            })
            .collect();
        thread::yield_now();
        assert_eq!(signal.waiters(), 6);
        waiters[3].cancel();
        (1..4).for_each(|value| signal.signal(value).unwrap());
        thread::yield_now();
        assert_eq!(*order.borrow(), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(signal.broadcast(4), 2);
        let ended = waiters.into_iter().map(|waiter| waiter.join().is_ok());
        assert_eq!(Vec::from_iter(ended), [true, true, true, false, true, true]);
        assert_eq!(order.borrow()[3..], [(4, 4), (5, 4)]);
        // A guard that is held during a choice stays locked; a cancel of the choice poisons the
        // mutex.
        let mutex = Rc::new(Mutex::new(0));
        let theirs = mutex.clone();
        let holder = thread::spawn(move || {
            let _guard = theirs.lock().unwrap();
            let _: u8 = select! { value = Signal::new().waiting() => value };
        });
        thread::yield_now();
        assert!(mutex.try_lock().is_err());
        holder.cancel();
        assert!(holder.join().is_err());
        assert!(mutex.is_poisoned());
    });
}

#[test]
fn a_choice_that_can_never_end_is_a_deadlock() {
    fresh(|| {
        let ends = channel::bounded::<u32>(0);
        let theirs = ends.clone();
        let waiting = thread::spawn(move || {
            select! {
                _ = theirs.1.receiving() => 1,
                _ = theirs.0.sending(1) => 2,
                _ = any(None::<channel::Receiving<'_, u32>>) => 3,
            }
        });
        let deadlock = deadlock(ethreads::run());
        let report = deadlock.to_string();
        assert!(report.contains("one of 2 things"), "{report}");
        // A receiver comes after all.
        assert_eq!(ends.1.try_recv(), Ok(1));
        ethreads::run().unwrap();
        assert_eq!(waiting.join().unwrap(), 2);
        // A choice with a time is no deadlock.
        let late = thread::spawn(|| {
            let never = Signal::new();
            select! { () = never.waiting() => false, () = after(MOMENT) => true }
        });
        ethreads::run().unwrap();
        assert!(late.join().unwrap());
    });
}

#[test]
fn an_os_thread_without_ethreads_chooses_by_itself() {
    fresh(|| {
        let (sender, receiver) = channel::bounded(1);
        let choose = || {
            select! {
                sent = sender.sending(1) => { sent.unwrap(); 0 }
                got = receiver.receiving() => got.unwrap(),
            }
        };
        assert_eq!([choose(), choose(), choose(), choose()], [0, 1, 0, 1]);
        let late = select! { _ = receiver.receiving() => 1, () = after(MOMENT) => 2 };
        assert_eq!(late, 2);
        let stuck = panic::catch_unwind(AssertUnwindSafe(|| {
            select! { _ = receiver.receiving() => (), () = Signal::new().waiting() => () }
        }));
        let payload = stuck.unwrap_err();
        let report = text(&*payload);
        assert!(report.contains("one of 2 things"), "{report}");
        assert!(report.contains("can never end"), "{report}");
        // The choice has left the wait queue.
        sender.try_send(5).unwrap();
        assert_eq!(receiver.len(), 1);
        assert_eq!(choose(), 5);
        // While the OS thread waits, it runs ethreads.
        let theirs = sender.clone();
        let ethread = thread::spawn(move || theirs.send(6).unwrap());
        let got = select! { got = receiver.receiving() => got.unwrap(), () = after(HOUR) => 0 };
        assert_eq!(got, 6);
        ethread.join().unwrap();
    });
}

#[test]
fn on_the_schedulers_side_only_what_is_possible_at_once_happens() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).unwrap();
        let theirs = receiver.clone();
        let got = bridge::suspend(move |me: bridge::Suspended<u32>| {
            let got = select! { got = theirs.receiving() => got.unwrap(), default => 0 };
            let none = select! { got = theirs.receiving() => got.unwrap(), default => 0 };
            assert!(me.resume(got * 10 + none).is_ok());
        });
        assert_eq!(got, 10);
        let waits = thread::spawn(move || {
            bridge::suspend(move |_: bridge::Suspended<()>| {
                select! { got = receiver.receiving() => { got.unwrap(); } }
            });
        });
        let payload = waits.join().unwrap_err();
        assert!(text(&*payload).contains("on the scheduler's side"));
        assert!(sender.is_disconnected());
    });
}

#[test]
fn a_choice_in_a_scheduler_that_has_ended_means_nothing_to_the_next_one() {
    fresh(|| {
        let ends: &'static (Sender<u32>, Receiver<u32>) = Box::leak(Box::new(channel::bounded(0)));
        let signal: &'static Signal<u32> = Box::leak(Box::new(Signal::new()));
        let choose = move || {
            select! {
                got = ends.1.receiving() => got.unwrap(),
                value = signal.waiting() => value,
            }
        };
        let builder = || Runtime::builder().grace(Duration::ZERO);
        let _ = builder().run(move || {
            // One ethread ends with the shard, the other is leaked.
            drop(thread::spawn(choose));
            drop(thread::spawn(move || thread::uncancellable(choose)));
            thread::yield_now();
            assert_eq!(signal.waiters(), 2);
        });
        let result = builder().run(move || {
            assert_eq!(signal.waiters(), 0);
            assert_eq!(signal.signal(1), Err(1));
            assert!(ends.0.try_send(1).is_err());
            let waiting = thread::spawn(choose);
            thread::yield_now();
            assert_eq!(signal.waiters(), 1);
            assert_eq!(ends.0.try_send(2), Ok(()));
            assert_eq!(waiting.join().unwrap(), 2);
        });
        result.unwrap();
    });
}

#[test]
fn an_unwinding_ethread_takes_what_is_possible_at_once() {
    check(|| {
        let (sender, receiver) = channel::bounded(1);
        let got = Rc::new(RefCell::new(Vec::new()));
        let log = got.clone();
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| {
                sender.try_send(1).unwrap();
                let mut log = log.borrow_mut();
                log.push(select! { got = receiver.receiving() => got.unwrap() });
                log.push(select! { got = receiver.receiving() => got.unwrap(), default => 2 });
                log.push(
                    select! { _ = receiver.receiving() => 0, () = after(Duration::ZERO) => 3 },
                );
            });
            panic!("on purpose");
        });
        assert!(unwinds.join().is_err());
        assert_eq!(*got.borrow(), [1, 2, 3]);
    });
}

#[test]
fn an_unwinding_ethread_that_would_have_to_choose_ends_the_process_with_a_report() {
    let name = "sync::select_more::\
        an_unwinding_ethread_that_would_have_to_choose_ends_the_process_with_a_report";
    if let Some(output) = in_child(name) {
        let text = stderr(&output);
        assert!(!output.status.success());
        assert!(text.contains("called `Operation::perform` at"), "{text}");
        assert!(text.contains("while it unwinds"), "{text}");
        return;
    }
    check(|| {
        let _destructor = OnDrop(|| {
            select! { () = Signal::new().waiting() => (), () = after(HOUR) => () }
        });
        panic!("on purpose");
    });
}

#[cfg(feature = "sim")]
mod at_one_time {
    use ethreads::{sim, time};

    use super::*;

    #[test]
    fn a_message_and_a_time_at_once_are_one_of_both() {
        let mut seen = [false; 2];
        for seed in 0..40 {
            let run = sim::run(seed, || {
                let (sender, receiver) = channel::bounded(0);
                let waiting = thread::spawn(move || {
                    select! { got = receiver.receiving() => Some(got), () = after(HOUR) => None }
                });
                let other = thread::spawn(move || {
                    thread::sleep(HOUR);
                    sender.try_send(1).is_ok()
                });
                let got = waiting.join().unwrap();
                let sent = other.join().unwrap();
                assert_eq!(got, sent.then_some(Ok(1)));
                sent
            });
            seen[usize::from(run.unwrap())] = true;
        }
        // The time was reached before either ethread ran.
        assert_eq!(seen, [true, false]);
    }

    #[test]
    fn a_scope_and_a_message_at_once_are_one_of_both() {
        for seed in 0..40 {
            let run = sim::run(seed, || {
                let (sender, receiver) = channel::bounded(0);
                let dropped = Rc::new(Cell::new(0));
                let message = |count: &Rc<Cell<u32>>| {
                    let count = count.clone();
                    OnDrop(move || count.set(count.get() + 1))
                };
                let theirs = message(&dropped);
                let waiting = thread::spawn(move || {
                    let sent = time::timeout(HOUR, || {
                        let never = Signal::<()>::new();
                        select! {
                            sent = sender.sending(theirs) => sent.is_ok(),
                            () = never.waiting() => unreachable!("nothing signals"),
                        }
                    });
                    sent.unwrap_or(false)
                });
                let taking = thread::spawn(move || {
                    thread::sleep(HOUR);
                    thread::yield_now();
                    receiver.try_recv().is_ok()
                });
                assert_eq!(waiting.join().unwrap(), taking.join().unwrap());
                assert_eq!(dropped.get(), 1);
            });
            run.unwrap();
        }
    }

    #[test]
    fn thousands_choose_and_give_up_at_once() {
        let run = sim::run(3, || {
            let signals: Rc<Vec<_>> = Rc::new((0..3).map(|_| Signal::<u32>::new()).collect());
            let waiting: Vec<_> = (0..3000)
                .map(|_| {
                    let signals = signals.clone();
                    thread::spawn(move || {
                        let signal = any(signals.iter().map(Signal::waiting));
                        select! { (n, _) = signal => n, () = after(HOUR) => 3 }
                    })
                })
                .collect();
            thread::sleep(HOUR / 2);
            for (n, signal) in signals.iter().enumerate() {
                assert_eq!(signal.waiters(), 3000, "{n} still has the woken ones in it");
                (0..800).for_each(|_| signal.signal(1).unwrap());
            }
            let ended = waiting.into_iter().map(|w| w.join().unwrap());
            let mut counts = [0; 4];
            ended.for_each(|n| counts[n] += 1);
            assert_eq!(counts, [800, 800, 800, 600]);
            assert!(signals.iter().all(|signal| signal.waiters() == 0));
        });
        run.unwrap();
    }
}
