//! `sync::Promise`: settled once for all waiters, whatever happens to its resolver, and promises
//! that are made of several.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::{Promise, PromiseError, Resolver};
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::{RunError, time};

use crate::support::{OnDrop, fresh, leaving_nothing as check, text};

use PromiseError::{Broken, Rejected};

const HOUR: Duration = Duration::from_secs(3600);

type Outcome<T> = Result<T, PromiseError<&'static str>>;
type Ours<T> = Promise<T, &'static str>;

fn promise<T>() -> (Ours<T>, Resolver<T, &'static str>) {
    Promise::new()
}

fn waiter<T: Clone + 'static>(promise: &Ours<T>) -> JoinHandle<Outcome<T>> {
    let promise = promise.clone();
    thread::spawn(move || promise.wait())
}

#[test]
fn all_waiters_are_told_and_a_late_one_does_not_wait() {
    check(|| {
        let settled: [fn(Resolver<u32, &'static str>); 3] = [
            |resolver| resolver.resolve(1),
            |resolver| resolver.reject("no"),
            |resolver| resolver.settle(Ok(2)),
        ];
        for (settle, outcome) in settled.into_iter().zip([Ok(1), Err(Rejected("no")), Ok(2)]) {
            let (promise, resolver) = promise();
            let waiters = [(); 3].map(|()| waiter(&promise));
            thread::yield_now();
            assert!(promise.get().is_none() && !promise.is_settled());
            settle(resolver);
            assert!(promise.is_settled());
            assert_eq!(promise.get(), Some(outcome.as_ref()));
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), outcome);
            }
            // Past its deadline an ethread may not wait, so this call does not wait.
            let late = time::timeout(Duration::ZERO, || promise.wait());
            assert_eq!(late.unwrap(), outcome);
        }
        assert_eq!(Ours::resolved(3).wait(), Ok(3));
        assert_eq!(Ours::<()>::rejected("no").wait(), Err(Rejected("no")));
    });
}

#[test]
fn a_promise_is_broken_by_whatever_ends_its_resolver() {
    check(|| {
        for how in ["drop", "panic", "cancel", "deadline"] {
            let (promise, resolver) = promise::<u32>();
            let waiters = [(); 2].map(|()| waiter(&promise));
            let keeper = thread::spawn(move || {
                let limit = if how == "deadline" {
                    Duration::ZERO
                } else {
                    HOUR
                };
                let _ = time::timeout(limit, || {
                    let _resolver = resolver;
                    match how {
                        "drop" => (),
                        "panic" => panic!("on purpose"),
                        _ => thread::sleep(HOUR),
                    }
                });
            });
            thread::yield_now();
            keeper.cancel();
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), Err(Broken), "{how}");
            }
            assert_eq!(promise.wait(), Err(Broken));
            drop(keeper.join());
        }
        // An ethread that never began breaks its promise too.
        let (promise, resolver) = promise::<u32>();
        let keeper = thread::spawn(move || resolver.resolve(1));
        keeper.cancel();
        assert_eq!(promise.wait(), Err(Broken));
        assert!(keeper.join().is_err());
    });
}

#[test]
fn a_waiter_that_goes_does_not_disturb_the_others() {
    check(|| {
        let (promise, resolver) = promise();
        let [first, gone, late, last] = [HOUR, HOUR, Duration::from_millis(1), HOUR].map(|limit| {
            let promise = promise.clone();
            thread::spawn(move || time::timeout(limit, || promise.wait()).ok())
        });
        thread::yield_now();
        gone.cancel();
        assert!(gone.join().unwrap_err().is::<Cancelled>());
        assert_eq!(late.join().unwrap(), None);
        assert!(!promise.is_settled());
        resolver.resolve("kept");
        assert_eq!(first.join().unwrap(), Some(Ok("kept")));
        assert_eq!(last.join().unwrap(), Some(Ok("kept")));
    });
}

#[test]
fn an_ethread_that_unwinds_does_not_wait_for_it() {
    check(|| {
        let (ours, _resolver) = promise::<u32>();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (log, settled) = (seen.clone(), Ours::resolved(1));
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| log.borrow_mut().extend([ours.wait(), settled.wait()]));
            panic!("on the way");
        });
        assert!(unwinds.join().is_err());
        assert_eq!(*seen.borrow(), [Err(Broken), Ok(1)]);
    });
}

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Three promises that are settled in this order: `before` of them before `make` makes a promise of
/// the three, and the others after. Any of them may be rejected or broken.
fn of_three<T: Clone + 'static>(
    order: [usize; 3],
    before: usize,
    outcomes: [Outcome<usize>; 3],
    make: impl FnOnce(&[Ours<usize>]) -> Ours<T>,
) -> Outcome<T> {
    let (promises, mut resolvers): (Vec<_>, Vec<_>) =
        (0..3).map(|_| promise()).map(|(p, r)| (p, Some(r))).unzip();
    let mut settle = |n: usize| {
        let resolver = resolvers[n].take().unwrap();
        match outcomes[n] {
            Ok(value) => resolver.resolve(value),
            Err(Rejected(error)) => resolver.reject(error),
            Err(_) => drop(resolver),
        }
    };
    order[..before].iter().for_each(|n| settle(*n));
    let made = make(&promises);
    let waits = waiter(&made);
    thread::yield_now();
    order[before..].iter().for_each(|n| settle(*n));
    waits.join().unwrap()
}

#[test]
fn all_of_them_are_in_their_order_or_the_first_error() {
    check(|| {
        for order in ORDERS {
            for before in 0..=3 {
                let all = |outcomes| of_three(order, before, outcomes, |p| Promise::all(p));
                assert_eq!(all([Ok(1), Ok(2), Ok(3)]), Ok(vec![1, 2, 3]), "{order:?}");
                for error in [Rejected("no"), Broken] {
                    assert_eq!(all([Ok(1), Err(error), Ok(3)]), Err(error), "{order:?}");
                }
                // Of the promises that were settled already, the first in the list is the first.
                let two = [Err(Rejected("first")), Ok(2), Err(Rejected("third"))];
                let settled: Vec<_> = order[..before].iter().filter(|n| **n != 1).collect();
                let first = match settled.len() {
                    2 => 0,
                    1 => *settled[0],
                    _ => *order.iter().find(|n| **n != 1).unwrap(),
                };
                let error = ["first", "", "third"][first];
                assert_eq!(all(two), Err(Rejected(error)), "{order:?} {before}");
            }
        }
        assert_eq!(Ours::<u32>::all([]).wait(), Ok(vec![]));
        let twice = Ours::resolved(4);
        assert_eq!(Promise::all([&twice, &twice]).wait(), Ok(vec![4, 4]));
    });
}

#[test]
fn an_error_of_one_does_not_wait_for_the_rest() {
    check(|| {
        let ((slow, _never), (fails, resolver)) = (promise::<u32>(), promise());
        let all = Promise::all([&slow, &fails]);
        resolver.reject("at once");
        assert_eq!(all.get(), Some(Err(&Rejected("at once"))));
    });
}

#[test]
fn a_race_is_won_by_whatever_comes_first() {
    check(|| {
        for order in ORDERS {
            for before in 0..=3 {
                let outcomes = [Ok(1), Err(Rejected("no")), Err(Broken)];
                let first = match before {
                    // Of the promises that were settled already, the first in the list wins.
                    1.. => *order[..before].iter().min().unwrap(),
                    0 => order[0],
                };
                let won = of_three(order, before, outcomes, |p| Promise::race(p));
                assert_eq!(won, outcomes[first], "{order:?} {before}");
            }
        }
        assert_eq!(Ours::<u32>::race([]).wait(), Err(Broken));
    });
}

#[test]
fn what_is_made_of_a_value_is_a_promise_too() {
    check(|| {
        for settled_before in [true, false] {
            let (first, resolver) = promise::<u32>();
            let mut resolver = Some(resolver);
            if settled_before {
                resolver.take().unwrap().resolve(20);
            }
            let doubled = first.map(|n| n * 2);
            let text = doubled.and_then(|n| {
                thread::yield_now();
                Ok(n.to_string())
            });
            let fails = doubled.and_then(|_| Err::<(), _>("too much"));
            let after = fails.map(|()| unreachable!("there is no value"));
            if let Some(resolver) = resolver {
                thread::yield_now();
                resolver.resolve(20);
            }
            assert_eq!(text.wait(), Ok("40".into()));
            assert_eq!(fails.wait(), Err(Rejected("too much")));
            assert_eq!(Ours::<()>::wait(&after), Err(Rejected("too much")));
        }
        let (first, resolver) = promise::<u32>();
        let second = first.map(|n| n + 1);
        drop(resolver);
        assert_eq!(second.wait(), Err(Broken));
    });
}

#[test]
fn a_panic_in_what_is_made_of_it_breaks_only_that() {
    fresh(|| {
        let run = ethreads::run_main(|| {
            let first = Ours::resolved(1);
            let broken = first.map(|_| -> u32 { panic!("on purpose") });
            let spawned = Ours::<u32>::spawn(|| panic!("on purpose"));
            assert_eq!(broken.wait(), Err(Broken));
            assert_eq!(spawned.wait(), Err(Broken));
            assert_eq!(first.map(|n| n + 1).wait(), Ok(2));
        });
        // The ethreads that panicked were not joined.
        assert!(
            matches!(run, Err(RunError::Panicked(_)) | Ok(())),
            "{run:?}"
        );
    });
}

/// Panics when it is cloned while `fails` is true.
#[derive(Debug)]
struct Fragile {
    fails: Rc<Cell<bool>>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.fails.get(), "it is too fragile");
        Self {
            fails: self.fails.clone(),
        }
    }
}

#[test]
fn a_clone_that_panics_is_a_panic_of_the_waiter() {
    check(|| {
        let (promise, resolver) = promise::<Fragile>();
        let fails = Rc::new(Cell::new(true));
        let panics = waiter(&promise);
        let waits = waiter(&promise);
        thread::yield_now();
        resolver.resolve(Fragile {
            fails: fails.clone(),
        });
        let payload = panics.join().unwrap_err();
        assert_eq!(text(&*payload), "it is too fragile");
        assert!(waits.join().is_err());
        fails.set(false);
        assert!(promise.wait().is_ok());
    });
}

#[test]
fn a_clone_that_panics_leaves_no_waiter_for_what_was_made_of_it() {
    check(|| {
        let (fragile, resolver) = promise::<Fragile>();
        let (other, second) = promise::<Fragile>();
        let race = Promise::race([&fragile, &other]);
        let all = Promise::all([&fragile, &other]);
        let waits = [waiter(&race).map_to_unit(), waiter(&all).map_to_unit()];
        let plain = waiter(&fragile);
        thread::yield_now();
        let fails = Rc::new(Cell::new(true));
        let theirs = fails.clone();
        let settles = thread::spawn(move || resolver.resolve(Fragile { fails: theirs }));
        // The resolving ethread panics, as the clone was not possible.
        assert!(settles.join().is_err());
        assert!(plain.join().is_err());
        fails.set(false);
        second.resolve(Fragile { fails });
        let [race, all] = waits.map(|waits| waits.join().unwrap());
        assert_eq!(race, Err(Broken), "there was no value to have");
        assert_eq!(
            all,
            Ok(()),
            "the clone of another is no concern of this one"
        );
    });
}

/// Discards the value.
trait MapToUnit {
    fn map_to_unit(self) -> JoinHandle<Outcome<()>>;
}

impl<T: 'static> MapToUnit for JoinHandle<Outcome<T>> {
    fn map_to_unit(self) -> JoinHandle<Outcome<()>> {
        thread::spawn(move || self.join().unwrap().map(drop))
    }
}

#[test]
fn settling_may_begin_from_what_a_settled_one_drops() {
    check(|| {
        // The destructor of a value settles the next promise, in the middle of another settling.
        let (second, resolver) = promise::<u32>();
        let mut resolver = Some(resolver);
        let value = Rc::new(OnDrop(move || {
            if let Some(resolver) = resolver.take() {
                resolver.resolve(2);
            }
        }));
        let (first, settles) = promise::<Rc<OnDrop<_>>>();
        let waits = waiter(&second);
        drop(first);
        settles.resolve(value);
        assert_eq!(waits.join().unwrap(), Ok(2));
    });
}

#[test]
fn errors_say_what_has_happened() {
    let error = PromiseError::Rejected(std::io::Error::other("the disk is gone"));
    assert_eq!(error.to_string(), "the disk is gone");
    let broken = PromiseError::<std::io::Error>::Broken.to_string();
    assert_eq!(broken, "promise dropped before it was fulfilled");
}
