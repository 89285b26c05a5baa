//! `thread::Local`: values that each ethread has of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ethreads::thread::{self, Cancelled, Local};

use crate::support::{collect_log, fresh, logged};

fn check(f: impl FnOnce() + Send + 'static) {
    fresh(|| ethreads::run_main(f)).unwrap();
}

static COUNTER: Local<Cell<u32>> = Local::new(|| Cell::new(0));

#[test]
fn each_ethread_has_its_own_and_so_has_the_os_thread() {
    fresh(|| {
        COUNTER.set(100);
        let mut ethreads = Vec::new();
        for n in 0..3 {
            ethreads.push(thread::spawn(move || {
                for turn in 0..n {
                    assert_eq!(COUNTER.get(), turn);
                    COUNTER.set(turn + 1);
                    thread::yield_now();
                }
                COUNTER.get()
            }));
        }
        for (n, ethread) in (0..).zip(ethreads) {
            assert_eq!(ethread.join().unwrap(), n);
        }
        assert_eq!(COUNTER.replace(1), 100);
        assert_eq!((COUNTER.take(), COUNTER.get()), (1, 0));
    });
}

#[test]
fn a_place_that_is_used_again_has_nothing_of_its_last_owner() {
    check(|| {
        for _ in 0..3 {
            let ethread = thread::spawn(|| COUNTER.replace(7));
            assert_eq!(ethread.join().unwrap(), 0);
        }
    });
}

static PATH: Local<RefCell<Vec<&'static str>>> =
    Local::inherited(|| RefCell::new(vec!["root"]), Clone::clone);

#[test]
fn children_inherit_what_their_parent_had_when_it_spawned_them() {
    check(|| {
        let heirless = thread::spawn(|| PATH.with_borrow(Vec::clone));
        PATH.with_borrow_mut(|path| path.push("a"));
        let child = thread::spawn(|| {
            PATH.with_borrow_mut(|path| path.push("b"));
            let grandchild = thread::spawn(|| PATH.with_borrow(Vec::clone));
            grandchild.join().unwrap()
        });
        PATH.with_borrow_mut(|path| path.push("too late"));
        assert_eq!(heirless.join().unwrap(), ["root"]);
        assert_eq!(child.join().unwrap(), ["root", "a", "b"]);
        assert_eq!(PATH.with_borrow(Vec::len), 3);
        thread::scope(|scope| {
            let scoped = scope.spawn(|| PATH.with_borrow(Vec::len));
            assert_eq!(scoped.join().unwrap(), 3);
        });
    });
}

static SLOW: Local<u32> = Local::new(|| {
    thread::yield_now();
    COUNTER.get() + 1
});

#[test]
fn making_a_value_may_suspend_and_use_others() {
    check(|| {
        let ethreads = [1, 2].map(|n| {
            thread::spawn(move || {
                COUNTER.set(n);
                SLOW.with(|value| *value)
            })
        });
        assert_eq!(ethreads.map(|ethread| ethread.join().unwrap()), [2, 3]);
    });
}

/// Tells of its end, and asks for another value then.
struct Noted(Rc<RefCell<Vec<&'static str>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        COUNTER.set(1);
        self.0.borrow_mut().push("value");
    }
}

static NOTED: Local<RefCell<Option<Noted>>> = Local::new(|| RefCell::new(None));

#[test]
fn values_end_after_the_closure_and_before_the_join() {
    check(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let theirs = log.clone();
        let ethread = thread::spawn(move || {
            NOTED.with_borrow_mut(|noted| *noted = Some(Noted(theirs.clone())));
            SLEEPER.with(|_| ());
            theirs.borrow_mut().push("closure");
        });
        ethread.join().unwrap();
        assert_eq!(*log.borrow(), ["closure", "value"]);
        assert_eq!(Rc::strong_count(&log), 1);
    });
}

/// Suspends when it goes: the ethread is still there.
struct Sleeper;

impl Drop for Sleeper {
    fn drop(&mut self) {
        thread::yield_now();
    }
}

static SLEEPER: Local<Sleeper> = Local::new(|| Sleeper);

#[test]
fn values_of_who_is_cancelled_or_panics_end_too() {
    check(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let spawn = |end: fn()| {
            let log = log.clone();
            thread::spawn(move || {
                NOTED.with_borrow_mut(|noted| *noted = Some(Noted(log)));
                end();
            })
        };
        let cancelled = spawn(|| thread::park());
        thread::yield_now();
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert!(spawn(|| panic!("on purpose")).join().is_err());
        assert_eq!(*log.borrow(), ["value", "value"]);
    });
}

struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        panic!("a local value that explodes");
    }
}

static EXPLOSIVE: Local<Explosive> = Local::new(|| Explosive);

/// Makes itself anew whenever it goes.
struct Phoenix(Cell<u32>);

impl Drop for Phoenix {
    fn drop(&mut self) {
        PHOENIX.with(|phoenix| phoenix.0.set(self.0.get() + 1));
    }
}

static PHOENIX: Local<Phoenix> = Local::new(|| Phoenix(Cell::new(0)));

#[test]
fn values_that_misbehave_when_they_go_do_no_harm() {
    collect_log();
    check(|| {
        let ethread = thread::spawn(|| {
            EXPLOSIVE.with(|_| ());
            PHOENIX.with(|_| ());
            7
        });
        assert_eq!(ethread.join().unwrap(), 7);
        assert_eq!(logged("a local value that explodes").len(), 1);
    });
}
