//! `sync::OnceCell` and `sync::Lazy`: one maker at a time, and what follows a maker that fails.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::{Lazy, OnceCell};
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::time;

use crate::support::{leaving_nothing as check, text};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn many_callers_make_one_value() {
    check(|| {
        let (cell, made) = (Rc::new(OnceCell::new()), Rc::new(Cell::new(0)));
        let callers: Vec<_> = (0..10)
            .map(|n| {
                let (cell, made) = (cell.clone(), made.clone());
                thread::spawn(move || {
                    *cell.get_or_init(|| {
                        made.set(made.get() + 1);
                        (0..3).for_each(|_| thread::yield_now());
                        n
                    })
                })
            })
            .collect();
        thread::yield_now();
        assert_eq!(cell.get(), None);
        for caller in callers {
            assert_eq!(caller.join().unwrap(), 0);
        }
        // A later caller neither waits nor makes anything.
        assert_eq!(*cell.get_or_init(|| unreachable!()), 0);
        assert_eq!((made.get(), cell.get(), *cell.wait()), (1, Some(&0), 0));
    });
}

/// The names of the ethreads that made an attempt, in order.
type Attempts = Rc<RefCell<Vec<u32>>>;

/// An ethread that tries to make the value. The attempt takes a turn, and ends as `made` says.
fn attempt(
    cell: &Rc<OnceCell<u32>>,
    attempts: &Attempts,
    name: u32,
    made: fn(u32) -> Result<u32, u32>,
) -> JoinHandle<Result<u32, u32>> {
    let (cell, attempts) = (cell.clone(), attempts.clone());
    thread::spawn(move || {
        let made = cell.get_or_try_init(|| {
            attempts.borrow_mut().push(name);
            thread::yield_now();
            made(name)
        });
        made.copied()
    })
}

#[test]
fn after_a_failure_the_next_in_line_tries_with_its_own_closure() {
    check(|| {
        let (cell, attempts) = (Rc::new(OnceCell::new()), Attempts::default());
        let fails = attempt(&cell, &attempts, 1, Err);
        let panics = attempt(&cell, &attempts, 2, |_| panic!("on purpose"));
        let is_cancelled = attempt(&cell, &attempts, 3, |_| {
            thread::park();
            Ok(0)
        });
        let makes = attempt(&cell, &attempts, 4, |name| Ok(name * 10));
        let has = attempt(&cell, &attempts, 5, |_| unreachable!());
        assert_eq!(fails.join().unwrap(), Err(1));
        assert_eq!(text(&*panics.join().unwrap_err()), "on purpose");
        (0..3).for_each(|_| thread::yield_now());
        is_cancelled.cancel();
        assert!(is_cancelled.join().unwrap_err().is::<Cancelled>());
        assert_eq!(makes.join().unwrap(), Ok(40));
        assert_eq!(has.join().unwrap(), Ok(40));
        assert_eq!(*attempts.borrow(), [1, 2, 3, 4]);
    });
}

#[test]
fn a_failed_maker_that_asks_again_does_not_overtake_the_waiters() {
    check(|| {
        let (cell, attempts) = (Rc::new(OnceCell::new()), Attempts::default());
        let (ours, theirs) = (cell.clone(), attempts.clone());
        let stubborn = thread::spawn(move || {
            let mut value = None;
            for round in 0..5 {
                let made = ours.get_or_try_init(|| {
                    theirs.borrow_mut().push(100 + round);
                    (0..3).for_each(|_| thread::yield_now());
                    Err(())
                });
                value = made.ok().copied();
                if value.is_some() {
                    break;
                }
            }
            value
        });
        thread::yield_now();
        let makes = attempt(&cell, &attempts, 1, Ok);
        assert_eq!(stubborn.join().unwrap(), Some(1));
        assert_eq!(makes.join().unwrap(), Ok(1));
        assert_eq!(*attempts.borrow(), [100, 1]);
    });
}

#[test]
fn a_caller_that_only_waits_does_not_make_it() {
    check(|| {
        let (cell, attempts) = (Rc::new(OnceCell::new()), Attempts::default());
        let fails = attempt(&cell, &attempts, 1, Err);
        thread::yield_now();
        let theirs = cell.clone();
        let waits = thread::spawn(move || *theirs.wait());
        thread::yield_now();
        let makes = attempt(&cell, &attempts, 2, Ok);
        assert_eq!(fails.join().unwrap(), Err(1));
        assert_eq!(makes.join().unwrap(), Ok(2));
        assert_eq!(waits.join().unwrap(), 2);
        // After a failure that no other attempt follows, the waiter waits on.
        let cell = Rc::new(OnceCell::new());
        let fails = attempt(&cell, &attempts, 3, Err);
        thread::yield_now();
        let theirs = cell.clone();
        let waits = thread::spawn(move || *theirs.wait());
        assert_eq!(fails.join().unwrap(), Err(3));
        (0..3).for_each(|_| thread::yield_now());
        assert!(!waits.is_finished());
        assert_eq!(cell.set(9), Ok(()));
        assert_eq!(waits.join().unwrap(), 9);
    });
}

#[test]
fn a_turn_to_make_it_passes_from_a_waiter_that_has_left() {
    check(|| {
        let (cell, attempts) = (Rc::new(OnceCell::new()), Attempts::default());
        let fails = attempt(&cell, &attempts, 1, |name| {
            thread::sleep(Duration::from_millis(5));
            Err(name)
        });
        thread::yield_now();
        let (ours, theirs) = (cell.clone(), attempts.clone());
        let late = thread::spawn(move || {
            let made = time::timeout(Duration::ZERO, || {
                *ours.get_or_init(|| {
                    theirs.borrow_mut().push(2);
                    0
                })
            });
            made.is_err()
        });
        let leaves = attempt(&cell, &attempts, 3, Ok);
        let makes = attempt(&cell, &attempts, 4, Ok);
        thread::yield_now();
        leaves.cancel();
        assert_eq!(fails.join().unwrap(), Err(1));
        assert_eq!(makes.join().unwrap(), Ok(4));
        assert!(leaves.join().is_err() && late.join().unwrap());
        assert_eq!(*attempts.borrow(), [1, 4]);
    });
}

#[test]
fn a_waiter_whose_turn_it_is_makes_the_value_although_it_is_cancelled_then() {
    check(|| {
        let (cell, attempts) = (Rc::new(OnceCell::new()), Attempts::default());
        let fails = attempt(&cell, &attempts, 1, Err);
        thread::yield_now();
        let ours = cell.clone();
        let makes = thread::spawn(move || *ours.get_or_init(|| 2));
        let waits = attempt(&cell, &attempts, 3, Ok);
        thread::yield_now();
        while !fails.is_finished() {
            thread::yield_now();
        }
        makes.cancel();
        assert_eq!(waits.join().unwrap(), Ok(2));
        drop(makes.join());
        assert_eq!(cell.get(), Some(&2));
    });
}

#[test]
fn what_needs_the_value_in_order_to_make_it_panics_with_a_sentence() {
    check(|| {
        let cell = Rc::new(OnceCell::new());
        let theirs = cell.clone();
        let nested = thread::spawn(move || *theirs.get_or_init(|| *theirs.get_or_init(|| 1)));
        let payload = nested.join().unwrap_err();
        let said = text(&*payload);
        assert!(
            said.contains("the value of a cell is needed at") && said.contains(file!()),
            "{said}"
        );
        // The attempt has made nothing, and blocks no later attempt.
        assert_eq!(*cell.get_or_init(|| 2), 2);
    });
}

#[test]
fn a_value_is_not_set_while_it_is_made_nor_twice() {
    check(|| {
        let cell = Rc::new(OnceCell::new());
        let theirs = cell.clone();
        let maker = thread::spawn(move || {
            *theirs.get_or_init(|| {
                assert_eq!(theirs.set(3), Err(3));
                thread::yield_now();
                1
            })
        });
        thread::yield_now();
        assert_eq!(cell.set(2), Err(2));
        assert_eq!(maker.join().unwrap(), 1);
        assert_eq!(cell.set(2), Err(2));
        let mut cell = Rc::into_inner(cell).unwrap();
        *cell.get_mut().unwrap() += 10;
        assert_eq!((cell.take(), cell.get()), (Some(11), None));
        assert_eq!(cell.set(4), Ok(()));
        assert_eq!(cell.into_inner(), Some(4));
        assert_eq!(OnceCell::from(5).into_inner(), Some(5));
    });
}

#[test]
fn a_maker_past_its_deadline_leaves_the_cell_empty() {
    check(|| {
        let cell = Rc::new(OnceCell::new());
        let made = time::timeout(Duration::ZERO, || {
            *cell.get_or_init(|| {
                thread::sleep(HOUR);
                1
            })
        });
        assert!(made.is_err());
        assert_eq!(cell.get(), None);
        assert_eq!(*cell.get_or_init(|| 2), 2);
    });
}

#[test]
fn a_lazy_value_is_made_by_its_first_use() {
    check(|| {
        let made = Rc::new(Cell::new(0));
        let count = made.clone();
        let lazy = Rc::new(Lazy::new(move || {
            count.set(count.get() + 1);
            thread::yield_now();
            vec![count.get()]
        }));
        assert_eq!(
            format!("{lazy:?}"),
            "Lazy(<uninit>)".replace("<uninit>", &uninit())
        );
        assert_eq!(made.get(), 0);
        let users = [(); 3].map(|()| {
            let lazy = lazy.clone();
            thread::spawn(move || lazy.len() + Lazy::force(&lazy).len())
        });
        for user in users {
            assert_eq!(user.join().unwrap(), 2);
        }
        assert_eq!((made.get(), lazy[0]), (1, 1));
    });
}

/// How a cell without a value is printed, which is up to std.
fn uninit() -> String {
    format!("{:?}", std::cell::OnceCell::<Vec<i32>>::new())
}

#[test]
fn a_lazy_value_whose_closure_has_unwound_is_poisoned() {
    check(|| {
        for how in ["panic", "cancel", "deadline"] {
            let lazy = Rc::new(Lazy::new(move || {
                thread::yield_now();
                if how == "panic" {
                    panic!("on purpose");
                }
                thread::sleep(HOUR);
                1
            }));
            let theirs = lazy.clone();
            let first = thread::spawn(move || {
                let limit = Duration::from_millis(if how == "deadline" { 0 } else { 3_600_000 });
                time::timeout(limit, || **theirs).is_err()
            });
            thread::yield_now();
            // An ethread that waits meanwhile learns of the failure too.
            let theirs = lazy.clone();
            let second = thread::spawn(move || **theirs);
            thread::yield_now();
            if how == "cancel" {
                first.cancel();
            }
            match first.join() {
                Ok(elapsed) => assert!(elapsed && how == "deadline"),
                Err(payload) if how == "cancel" => assert!(payload.is::<Cancelled>()),
                Err(payload) => assert_eq!(text(&*payload), "on purpose"),
            }
            let theirs = lazy.clone();
            for user in [second, thread::spawn(move || **theirs)] {
                let payload = user.join().unwrap_err();
                assert!(text(&*payload).contains("has unwound"), "{how}");
            }
        }
    });
}
