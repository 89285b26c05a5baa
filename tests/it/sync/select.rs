//! `sync::select`: what the macro and the operations mean, and that exactly one operation happens.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::select;
use ethreads::sync::Signal;
use ethreads::sync::channel::{self, Receiver, RecvError, SendError, Sender, TrySendError};
use ethreads::sync::select::{Either, Operation, after, any, at};
use ethreads::thread;
use ethreads::time::{self, Instant};

use crate::support::{leaving_nothing as check, text};

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

/// A channel with `count` messages in it.
fn filled(count: u32) -> (Sender<u32>, Receiver<u32>) {
    let (sender, receiver) = channel::unbounded();
    (0..count).for_each(|n| sender.send(n).unwrap());
    (sender, receiver)
}

#[test]
fn bodies_are_blocks_or_expressions_with_commas_or_without() {
    check(|| {
        let (_sender, receiver) = filled(20);
        // One arm.
        assert_eq!(select! { n = receiver.receiving() => n }, Ok(0));
        assert_eq!(select! { n = receiver.receiving() => n, }, Ok(1));
        assert_eq!(select! { n = receiver.receiving() => { n } }, Ok(2));
        assert_eq!(select! { n = receiver.receiving() => { n }, }, Ok(3));
        assert_eq!(select! { biased; n = receiver.receiving() => n }, Ok(4));
        // Several arms, with patterns that have commas and bars of their own.
        let never = Signal::<(u32, u32)>::new();
        let sure = receiver.receiving().map(|n| n.map_err(void));
        let value = select! {
            (a, b) = never.waiting() => { a + b }
            Ok(n @ (0..=9 | 11..)) | Ok(n @ 10) = sure => n,
            () = after(HOUR) => { 0 }
        };
        assert_eq!(value, 5);
        let value = select! {
            biased;
            _ = never.waiting() => unreachable!("nothing signals"),
            Err(RecvError) | Ok(_) = receiver.receiving() => if receiver.len() > 3 { 1 } else { 2 },
            () = after(HOUR) => 3,
        };
        assert_eq!(value, 1);
        // The `default` arm runs if no operation is possible.
        let with_default = select! { _ = never.waiting() => 1, default => 2 };
        let with_comma = select! { _ = never.waiting() => 1, default => 3, };
        let with_block = select! { _ = never.waiting() => { 1 } default => { 4 } };
        let biased = select! { biased; _ = never.waiting() => { 1 }, default => { 5 }, };
        assert_eq!([with_default, with_comma, with_block, biased], [2, 3, 4, 5]);
        let possible = select! { n = receiver.receiving() => n, default => Ok(0) };
        assert_eq!(possible, Ok(7));
        // A pattern named `default` is a variable.
        let default = select! { default = receiver.receiving() => default };
        assert_eq!(default, Ok(8));
    });
}

fn void(_: RecvError) -> std::convert::Infallible {
    unreachable!("the sender is here")
}

#[test]
fn ten_things_are_not_too_many() {
    check(|| {
        let signals: Vec<_> = (0..10).map(|_| Rc::new(Signal::new())).collect();
        for n in 0..10 {
            let theirs = signals.clone();
            let s = move |n: usize| theirs[n].clone();
            let waiting = thread::spawn(move || {
                let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(&s);
                let [f, g, h, i, j] = [5, 6, 7, 8, 9].map(&s);
                select! {
                    x = a.waiting() => (0, x),
                    x = b.waiting() => (1, x),
                    x = c.waiting() => { (2, x) }
                    x = d.waiting() => (3, x),
                    x = e.waiting() => (4, x),
                    x = f.waiting() => { (5, x) },
                    x = g.waiting() => (6, x),
                    x = h.waiting() => (7, x),
                    x = i.waiting() => (8, x),
                    x = j.waiting() => (9, x),
                }
            });
            thread::yield_now();
            assert!(signals.iter().all(|signal| signal.waiters() == 1));
            signals[n].signal(n * 10).unwrap();
            assert_eq!(waiting.join().unwrap(), (n, n * 10));
            assert!(signals.iter().all(|signal| signal.waiters() == 0));
        }
    });
}

#[test]
fn bodies_are_code_of_the_function_around() {
    fn until_the_end(receiver: &Receiver<u32>) -> Result<u32, RecvError> {
        let mut sum = 0;
        let never = Signal::<()>::new();
        loop {
            select! {
                n = receiver.receiving() => sum += n?,
                () = never.waiting() => return Ok(0),
            }
            if sum > 1000 {
                return Ok(sum);
            }
        }
    }
    check(|| {
        let (sender, receiver) = filled(3);
        let clock = Signal::<()>::new();
        let mut odd = 0;
        let last = 'outer: loop {
            // An inner loop, whose `break` is not the outer loop's.
            for _ in 0..3 {
                select! {
                    n = receiver.receiving() => match n {
                        Ok(0) => continue 'outer,
                        Ok(1) => { odd += 1; break; }
                        Ok(n) => break 'outer n,
                        Err(RecvError) => unreachable!("there are three"),
                    },
                    () = clock.waiting() => continue,
                }
            }
            odd += 10;
        };
        assert_eq!((last, odd), (2, 11));
        sender.send(5).unwrap();
        drop(sender);
        assert_eq!(until_the_end(&receiver), Err(RecvError));
        let (sender, receiver) = filled(3);
        sender.send(1000).unwrap();
        assert_eq!(until_the_end(&receiver), Ok(1003));
    });
}

#[test]
fn a_body_may_choose_again_and_use_what_was_chosen_from() {
    check(|| {
        let (sender, receiver) = filled(2);
        let full = channel::bounded(0);
        let mut message = 4;
        let sum = select! {
            a = receiver.receiving() => {
                let chosen = a.unwrap() + 100;
                let inner = select! {
                    b = receiver.receiving() => chosen + b.unwrap(),
                    default => select! { _ = full.1.receiving() => 0 },
                };
                // Nothing is borrowed any more.
                drop((sender, receiver));
                message += 1;
                inner
            }
            sent = full.0.sending({ message += 1; message }) => {
                drop(full);
                sent.map_or(1, |()| 2)
            }
        };
        assert_eq!((sum, message), (101, 6));
    });
}

#[test]
fn operations_are_evaluated_once_and_in_their_order_whatever_happens() {
    check(|| {
        let log = RefCell::new(Vec::new());
        let (_sender, receiver) = filled(8);
        let full = channel::bounded(0);
        let note = |what| log.borrow_mut().push(what);
        let said = |what, value: u32| {
            note(what);
            value
        };
        for _ in 0..4 {
            select! {
                n = { note("first"); &receiver }.receiving() => { note("body"); n.unwrap(); }
                _ = { note("second"); &full.0 }.sending(said("value", 1)) => note("sent"),
                () = after(HOUR * said("time", 1)) => note("late"),
            }
            let log = log.take();
            assert_eq!(log, ["first", "second", "value", "time", "body"]);
        }
    });
}

#[test]
fn in_order_the_first_of_several_possible_things_happens() {
    check(|| {
        let ((_a, first), (_b, second)) = (filled(100), filled(100));
        for _ in 0..50 {
            select! {
                biased;
                _ = first.receiving() => (),
                _ = second.receiving() => unreachable!("the first one is possible"),
            }
            let both = first.receiving().or(second.receiving());
            assert!(matches!(both.perform_in_order(), Either::First(_)));
        }
        assert_eq!((first.len(), second.len()), (0, 100));
        let both = || first.receiving().or(second.receiving());
        assert_eq!(both().try_perform_in_order(), Some(Either::Second(Ok(0))));
        // Of two operations that become possible during the wait, the earlier happens, not the
        // first in order.
        let signals = Rc::new([Signal::new(), Signal::new()]);
        let theirs = signals.clone();
        let waiting = thread::spawn(move || {
            let [a, b] = &*theirs;
            select! { biased; n = a.waiting() => n, n = b.waiting() => n }
        });
        thread::yield_now();
        assert_eq!(signals[1].signal(1), Ok(()));
        assert_eq!(
            signals[0].signal(0),
            Err(0),
            "it is woken, and waits for nothing else"
        );
        assert_eq!(waiting.join().unwrap(), 1);
    });
}

/// How often each of `N` operations happens, if all of them are always possible.
fn shares<const N: usize>(rounds: usize, mut choose: impl FnMut() -> usize) -> [usize; N] {
    let mut counts = [0; N];
    (0..rounds).for_each(|_| counts[choose()] += 1);
    counts
}

#[test]
fn each_of_several_possible_things_has_its_share() {
    check(|| {
        let full: Vec<_> = (0..7).map(|_| filled(3000)).collect();
        let r = |n: usize| full[n].1.receiving();
        let two = || select! { _ = r(0) => 0, _ = r(1) => 1 };
        for share in shares::<2>(1000, two) {
            assert!(share > 300, "{share} of 1000");
        }
        let many = || any((0..7).map(r)).perform().0;
        for share in shares::<7>(1400, many) {
            assert!(share > 100, "{share} of 1400");
        }
        // Some operations are not possible.
        let never = Signal::<()>::new();
        let some = || {
            select! {
                () = never.waiting() => unreachable!("nothing signals"),
                _ = r(0) => 0,
                _ = r(1) => 1,
            }
        };
        for share in shares::<2>(1000, some) {
            assert!(share > 200, "{share} of 1000");
        }
        let tried = || select! { _ = r(0) => 0, _ = r(1) => 1, default => unreachable!() };
        for share in shares::<2>(1000, tried) {
            assert!(share > 300, "{share} of 1000");
        }
    });
}

#[test]
fn choices_that_alternate_do_not_take_each_others_turns() {
    check(|| {
        let full: Vec<_> = (0..4).map(|_| filled(3000)).collect();
        let r = |n: usize| full[n].1.receiving();
        // Each round makes `stride` choices, of which only the last one counts.
        for stride in 2..=8 {
            for things in [2, 4] {
                let choose = || {
                    let all = || any((0..things).map(r));
                    (1..stride).for_each(|_| assert!(all().try_perform().is_some()));
                    let chosen = all().perform();
                    full.iter().for_each(|(sender, _)| sender.send(0).unwrap());
                    chosen.0
                };
                let counts = shares::<4>(200, choose);
                for share in &counts[..things] {
                    assert!(*share > 20, "{things} things, 1 of {stride}: {counts:?}");
                }
            }
        }
    });
}

/// A message that counts the living messages of its kind.
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
fn exactly_one_thing_happens_when_two_are_possible() {
    check(|| {
        for _ in 0..20 {
            let alive = Rc::new(Cell::new(0));
            let new = || Counted::new(&alive);
            let ((a, from_a), (b, from_b)) = (channel::bounded(1), channel::bounded(1));
            a.send(new()).ok().unwrap();
            let happened = select! {
                message = from_a.receiving() => { drop(message); 1 }
                sent = b.sending(new()) => { assert!(sent.is_ok()); 2 }
            };
            // Either one message was received and one was dropped unsent, or both are in channels.
            let left = (from_a.len(), from_b.len(), alive.get());
            assert_eq!(left, if happened == 1 { (0, 0, 0) } else { (1, 1, 2) });
        }
    });
}

#[test]
fn exactly_one_thing_happens_when_two_become_possible_in_one_turn() {
    check(|| {
        let alive = Rc::new(Cell::new(0));
        let signal = Rc::new(Signal::new());
        let [a, b] = [(); 2].map(|()| channel::bounded::<Counted>(0));
        let spawn = || {
            let (a, b) = (a.clone(), b.clone());
            let (signal, message) = (signal.clone(), Counted::new(&alive));
            thread::spawn(move || {
                select! {
                    got = a.1.receiving() => got.map(drop).map_or("end", |()| "received"),
                    sent = b.0.sending(message) => if sent.is_ok() { "sent" } else { "end" },
                    () = signal.waiting() => "signalled",
                }
            })
        };
        for first in 0..3 {
            let waiting = spawn();
            thread::yield_now();
            let mut done = Vec::new();
            for n in [first, (first + 1) % 3, (first + 2) % 3] {
                let worked = match n {
                    0 => a.0.try_send(Counted::new(&alive)).is_ok(),
                    1 => b.1.try_recv().is_ok(),
                    _ => signal.signal(()).is_ok(),
                };
                done.push(worked);
            }
            assert_eq!(done, [true, false, false], "{first}");
            let expected = ["received", "sent", "signalled"][first];
            assert_eq!(waiting.join().unwrap(), expected);
            // The message of the lost send was not sent, and is gone; so is the received message.
            assert_eq!((alive.get(), signal.waiters()), (0, 0));
        }
        // A cancel by that time changes nothing: it comes too late.
        let waiting = spawn();
        thread::yield_now();
        assert!(b.1.try_recv().is_ok());
        waiting.cancel();
        assert!(a.0.try_send(Counted::new(&alive)).is_err());
        assert_eq!(waiting.join().unwrap(), "sent");
        assert_eq!((alive.get(), signal.waiters()), (0, 0));
    });
}

#[test]
fn a_choice_that_ends_otherwise_leaves_all_its_queues() {
    check(|| {
        let alive = Rc::new(Cell::new(0));
        let signal = Rc::new(Signal::<()>::new());
        let ends = channel::bounded::<Counted>(0);
        let wait = || {
            let (signal, ends, message) = (signal.clone(), ends.clone(), Counted::new(&alive));
            move || {
                select! {
                    () = signal.waiting().map(|()| panic!("on purpose")) => (),
                    got = ends.1.receiving() => drop(got),
                    sent = ends.0.sending(message) => assert!(sent.is_ok()),
                    () = after(HOUR) => unreachable!("it is not that late"),
                }
            }
        };
        let nothing_left = || {
            assert_eq!((signal.waiters(), alive.get()), (0, 0));
            let sent = ends.0.try_send(Counted::new(&alive));
            assert!(matches!(sent, Err(TrySendError::Full(_))));
            assert!(ends.1.try_recv().is_err());
        };
        // A cancel ends the choice.
        let waiting = thread::spawn(wait());
        thread::yield_now();
        assert_eq!((signal.waiters(), alive.get()), (1, 1));
        waiting.cancel();
        // The waiter is passed over before it has run.
        assert_eq!(signal.signal(()), Err(()));
        assert!(waiting.join().unwrap_err().is::<thread::Cancelled>());
        nothing_left();
        // The end of a scope ends the choice.
        assert!(time::timeout(MOMENT, wait()).is_err());
        nothing_left();
        // A panic of a `map` closure ends the choice.
        let waiting = thread::spawn(wait());
        thread::yield_now();
        signal.signal(()).unwrap();
        assert_eq!(text(&*waiting.join().unwrap_err()), "on purpose");
        nothing_left();
        // The choice is dropped and has never waited.
        drop(wait());
        nothing_left();
    });
}

#[test]
fn a_choice_does_not_meet_itself_in_a_channel() {
    check(|| {
        let (sender, receiver) = channel::bounded(0);
        for _ in 0..4 {
            let alone = select! {
                got = receiver.receiving() => Some(got),
                sent = sender.sending(1) => sent.map(|()| Ok(2)).ok(),
                () = after(MOMENT) => None,
            };
            assert_eq!(alone, None);
            let at_once = select! {
                biased;
                _ = sender.sending(1) => true,
                _ = receiver.receiving() => true,
                default => false,
            };
            assert!(!at_once);
        }
        // With room in the channel, the choice sends and receives in turn.
        let (sender, receiver) = channel::bounded(1);
        let mut log = Vec::new();
        for n in 0..6 {
            select! {
                got = receiver.receiving() => log.push(got.unwrap()),
                sent = sender.sending(n) => sent.unwrap(),
            }
        }
        assert_eq!(log, [0, 2, 4]);
    });
}

#[test]
fn two_choices_that_send_or_receive_meet_each_other() {
    check(|| {
        for count in [2, 3, 10] {
            let (sender, receiver) = channel::bounded(0);
            let ethreads: Vec<_> = (0..count)
                .map(|n| {
                    let (sender, receiver) = (sender.clone(), receiver.clone());
                    thread::spawn(move || {
                        select! {
                            got = receiver.receiving() => Some((got.unwrap(), n)),
                            sent = sender.sending(n) => { sent.unwrap(); None }
                            () = after(MOMENT * 20) => Some((n, n)),
                        }
                    })
                })
                .collect();
            let done: Vec<_> = ethreads.into_iter().map(|e| e.join().unwrap()).collect();
            let sent = (0..count).filter(|n| done[*n].is_none());
            let mut received: Vec<_> = done.iter().flatten().collect();
            received.sort_unstable();
            let alone = received.iter().filter(|(from, to)| from == to).count();
            assert_eq!(alone, count % 2, "all but one find a partner: {done:?}");
            let from = received
                .iter()
                .filter(|(from, to)| from != to)
                .map(|(from, _)| *from);
            assert!(sent.eq(from), "{done:?}");
        }
    });
}

#[test]
fn the_end_of_a_channel_is_something_that_happens() {
    check(|| {
        let (sender, receiver) = channel::bounded::<u32>(0);
        let other = channel::bounded::<u32>(0);
        let waiting = thread::spawn(move || {
            select! {
                got = receiver.receiving() => got,
                got = other.1.receiving() => got,
            }
        });
        thread::yield_now();
        drop(sender);
        assert_eq!(waiting.join().unwrap(), Err(RecvError));

        let (sender, receiver) = channel::bounded(0);
        let other = channel::bounded(0);
        let theirs = sender.clone();
        let waiting = thread::spawn(move || {
            select! {
                sent = theirs.sending(Box::new(1)) => sent,
                sent = other.0.sending(Box::new(2)) => sent,
            }
        });
        thread::yield_now();
        drop(receiver);
        assert_eq!(waiting.join().unwrap(), Err(SendError(Box::new(1))));
        // The same holds if the channel ended before the choice.
        let gone = select! { sent = sender.sending(Box::new(3)) => sent, default => Ok(()) };
        assert_eq!(gone, Err(SendError(Box::new(3))));
    });
}

#[test]
fn operations_are_values_that_can_be_put_together() {
    check(|| {
        let (sender, receiver) = filled(4);
        let called = Cell::new(0);
        let count = |by: u32| {
            let called = &called;
            move |_: Result<u32, RecvError>| called.set(called.get() + by)
        };
        // Only the `map` closure of the operation that has happened is called.
        let never = channel::bounded::<u32>(0);
        let both = receiver
            .receiving()
            .map(count(1))
            .or(never.1.receiving().map(count(100)));
        assert_eq!(both.perform(), Either::First(()));
        assert_eq!(called.get(), 1);
        let text = receiver
            .receiving()
            .map(|n| n.unwrap() + 1)
            .map(|n| format!("<{n}>"));
        assert_eq!(text.perform(), "<2>");
        // A choice within a choice within a choice.
        let pair = || never.1.receiving().or(after(HOUR));
        let deep = any([
            pair().or(never.1.receiving()),
            pair().or(receiver.receiving()),
        ]);
        assert_eq!(deep.perform(), (1, Either::Second(Ok(2))));
        let Either::Second(Ok(last)) = pair().or(receiver.receiving()).perform() else {
            panic!("only that is possible");
        };
        assert_eq!(last, 3);
        // A choice of no operations never happens.
        let none = || any(std::iter::empty::<channel::Receiving<'_, u32>>());
        assert_eq!(none().try_perform(), None);
        let timer = none().or(any([none(), none()])).or(after(MOMENT));
        assert!(matches!(timer.perform(), Either::Second(())));
        // An operation may be there or not.
        for there in [None, Some(&sender)] {
            select! {
                (_, sent) = any(there.map(|sender| sender.sending(9))) => {
                    assert!(there.is_some() && sent.is_ok());
                }
                () = after(MOMENT) => assert!(there.is_none()),
                (_, _) = any::<Option<channel::Sending<'_, u32>>>(None) => unreachable!(),
            }
        }
        // A choice among many operations returns the right index.
        let signals: Vec<_> = (0..50).map(|_| Signal::new()).collect();
        thread::scope(|scope| {
            for n in [0, 17, 49] {
                let waits = || any(signals.iter().map(Signal::waiting)).perform();
                let waiting = scope.spawn(waits);
                thread::yield_now();
                signals[n].signal(n * 2).unwrap();
                assert_eq!(waiting.join().unwrap(), (n, n * 2));
                assert!(signals.iter().all(|signal| signal.waiters() == 0));
            }
        });
    });
}

#[test]
fn the_first_of_several_times_comes_first() {
    check(|| {
        let now = Instant::now();
        let times = [HOUR * 2, MOMENT, HOUR].map(|time| at(now + time));
        assert_eq!(any(times).perform(), (1, ()));
        assert!(now.elapsed() >= MOMENT);
        // A time that has passed is possible at once.
        assert_eq!(at(now).try_perform(), Some(()));
        assert_eq!(after(Duration::ZERO).try_perform(), Some(()));
        assert_eq!(after(HOUR).try_perform(), None);
        let later = select! { () = at(now + HOUR) => 1, () = at(now) => 2, default => 3 };
        assert_eq!(later, 2);
    });
}
