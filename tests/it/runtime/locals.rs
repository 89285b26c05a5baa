//! `thread::Local`: ethread-local values.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

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

/// Logs its drop, and uses another local value in its destructor.
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

/// Suspends in its destructor: the ethread still exists then.
struct Sleeper;

impl Drop for Sleeper {
    fn drop(&mut self) {
        thread::yield_now();
    }
}

static SLEEPER: Local<Sleeper> = Local::new(|| Sleeper);

#[test]
fn values_of_a_cancelled_or_panicked_ethread_end_too() {
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

/// Makes a new value of the same local whenever it is dropped.
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

/// Sets the local value of the ethread that drops it.
struct SetsOnDrop;

impl Drop for SetsOnDrop {
    fn drop(&mut self) {
        COUNTER.set(7);
    }
}

#[test]
fn a_value_that_a_dropped_result_makes_is_not_the_next_ethreads() {
    check(|| {
        drop(thread::spawn(|| SetsOnDrop));
        thread::yield_now();
        assert_eq!(thread::spawn(|| COUNTER.get()).join().unwrap(), 0);
    });
}

#[test]
fn a_value_that_a_joiners_waker_makes_is_not_the_next_ethreads() {
    struct Sets;
    impl Wake for Sets {
        fn wake(self: Arc<Self>) {
            COUNTER.set(7);
        }
    }
    check(|| {
        let waker = Waker::from(Arc::new(Sets));
        let mut ethread = thread::spawn(|| ());
        let poll = Pin::new(&mut ethread).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        thread::yield_now();
        assert!(ethread.is_finished());
        assert_eq!(thread::spawn(|| COUNTER.get()).join().unwrap(), 0);
    });
}

#[test]
fn a_value_that_a_remote_result_makes_is_not_the_next_ethreads() {
    let shards = ethreads::Runtime::builder().shards(1).start().unwrap();
    let shard = &shards.shards()[0];
    let (begins, has_begun) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let handle = shard.spawn(move || {
        begins.send(()).unwrap();
        gone.recv().unwrap();
        SetsOnDrop
    });
    has_begun.recv().unwrap();
    drop(handle.unwrap());
    go.send(()).unwrap();
    // The next ethread comes after the first one, in its slot or in another. So several are tried,
    // one after the other.
    for _ in 0..3 {
        let next = shard.spawn(|| COUNTER.get()).unwrap();
        assert_eq!(next.join().unwrap(), 0);
    }
}

#[test]
fn a_late_value_whose_destructor_sleeps_holds_nothing_up() {
    struct Sleeps;
    impl Drop for Sleeps {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(1));
            SLEPT.set(true);
        }
    }
    static LATE: Local<RefCell<Option<Sleeps>>> = Local::new(|| RefCell::new(None));
    thread_local! {
        static SLEPT: Cell<bool> = const { Cell::new(false) };
    }
    struct MakesLate;
    impl Drop for MakesLate {
        fn drop(&mut self) {
            LATE.with_borrow_mut(|late| *late = Some(Sleeps));
        }
    }
    fresh(|| {
        drop(thread::spawn(|| MakesLate));
        ethreads::run().unwrap();
        assert!(SLEPT.get());
        // The next ethread takes the same slot.
        let other = thread::spawn(|| LATE.with_borrow(Option::is_none));
        assert!(other.join().unwrap());
    });
}

#[test]
fn a_value_made_outside_of_ethreads_is_made_once() {
    static TWICE: Local<u32> = Local::new(|| {
        if !MAKES.replace(true) {
            TWICE.with(|inner| assert_eq!(*inner, 2));
            return 1;
        }
        2
    });
    thread_local! {
        static MAKES: Cell<bool> = const { Cell::new(false) };
    }
    fresh(|| {
        TWICE.with(|value| assert_eq!(*value, 2));
        TWICE.with(|value| assert_eq!(*value, 2));
    });
}
