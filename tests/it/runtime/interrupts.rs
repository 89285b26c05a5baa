//! Cancels and deadlines that meet something else: a wake-up, a panic, each other, a loop.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::net::UnixStream;
use ethreads::runtime::WouldPark;
use ethreads::sync::{
    Barrier, Condvar, Mutex, OnceCell, Promise, RwLock, Semaphore, Signal, WaitGroup, channel,
};
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::time::{self, Elapsed, Instant};
use ethreads::{RunError, bridge};

use crate::net::support::until_waiting;
use crate::support::{OnDrop, collect_log, fresh, leaving_nothing as check, logged, on_log, text};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(2);

/// Holds the shard until `end`, so that no other ethread runs.
fn hold_the_shard_until(end: Instant) {
    while Instant::now() < end {}
}

/// A wait, and a closure that ends it. If the closure is not called, no ethread is left behind.
type Woken = (Box<dyn FnOnce() -> u32>, Box<dyn FnOnce()>);
type Make = fn() -> Woken;

/// Waits that are served, whether or not the waiter runs before its deadline.
fn waits_that_are_served() -> [(&'static str, Make); 13] {
    [
        ("lock", || {
            let mutex = Rc::new(Mutex::new(1));
            let theirs = mutex.clone();
            let holder = thread::spawn(move || {
                let _guard = theirs.lock().unwrap();
                thread::park();
            });
            thread::yield_now();
            let unpark = OnDrop(move || holder.thread().unpark());
            let release = move || {
                drop(unpark);
                // The holder has to run to release the lock.
                thread::yield_now();
            };
            (Box::new(move || *mutex.lock().unwrap()), Box::new(release))
        }),
        ("acquire", || {
            let semaphore = Rc::new(Semaphore::new(0));
            let theirs = semaphore.clone();
            let wait = move || semaphore.acquire().count() as u32;
            (Box::new(wait), Box::new(move || theirs.add_permits(1)))
        }),
        ("Condvar::wait", || {
            let shared = Rc::new((Mutex::new(1), Condvar::new()));
            let theirs = shared.clone();
            let wait = move || *shared.1.wait(shared.0.lock().unwrap()).unwrap();
            (Box::new(wait), Box::new(move || theirs.1.notify_one()))
        }),
        ("Barrier::wait", || {
            let barrier = Rc::new(Barrier::new(2));
            let theirs = barrier.clone();
            let wait = move || u32::from(!barrier.wait().is_leader());
            let comes = move || assert!(theirs.wait().is_leader());
            (Box::new(wait), Box::new(comes))
        }),
        ("WaitGroup::wait", || {
            let group = WaitGroup::new();
            let member = group.join();
            let wait = move || {
                group.wait();
                1
            };
            (Box::new(wait), Box::new(move || drop(member)))
        }),
        ("RwLock::read", || {
            let lock = Rc::new(RwLock::new(1));
            let theirs = lock.clone();
            let writer = thread::spawn(move || {
                let _guard = theirs.write().unwrap();
                thread::park();
            });
            thread::yield_now();
            let unpark = OnDrop(move || writer.thread().unpark());
            let release = move || {
                drop(unpark);
                thread::yield_now();
            };
            (Box::new(move || *lock.read().unwrap()), Box::new(release))
        }),
        ("OnceCell::wait", || {
            let cell = Rc::new(OnceCell::new());
            let theirs = cell.clone();
            let set = move || theirs.set(1).unwrap();
            (Box::new(move || *cell.wait()), Box::new(set))
        }),
        ("Promise::wait", || {
            let (promise, resolver) = Promise::<u32, ()>::new();
            let resolve = move || resolver.resolve(1);
            (Box::new(move || promise.wait().unwrap()), Box::new(resolve))
        }),
        ("Signal::wait", || {
            let signal = Rc::new(Signal::new());
            let theirs = signal.clone();
            let give = move || theirs.signal(1).unwrap();
            (Box::new(move || signal.wait()), Box::new(give))
        }),
        ("Receiver::recv", || {
            let (sender, receiver) = channel::bounded(1);
            let send = move || sender.send(1).unwrap();
            (Box::new(move || receiver.recv().unwrap()), Box::new(send))
        }),
        ("Sender::send", || {
            let (sender, receiver) = channel::bounded(1);
            sender.send(1).unwrap();
            let wait = move || sender.send(1).map_or(0, |()| 1);
            (
                Box::new(wait),
                Box::new(move || assert_eq!(receiver.recv(), Ok(1))),
            )
        }),
        ("park", || {
            let parked = Rc::new(RefCell::new(None));
            let theirs = parked.clone();
            let wait = move || {
                *theirs.borrow_mut() = Some(thread::current());
                thread::park();
                1
            };
            let unpark = move || parked.take().unwrap().unpark();
            (Box::new(wait), Box::new(unpark))
        }),
        ("suspend", || {
            let kept = Rc::new(Cell::new(None));
            let theirs = kept.clone();
            let wait = move || bridge::suspend(|me: bridge::Suspended<u32>| theirs.set(Some(me)));
            let resume = move || assert!(kept.take().unwrap().resume(1).is_ok());
            (Box::new(wait), Box::new(resume))
        }),
    ]
}

/// Lets an ethread wait within a deadline, serves it, and lets it run only when the deadline has
/// passed. Returns `None` if the ethread could not be served in time because the machine is busy.
fn served_and_late(make: Make) -> Option<Result<u32, Elapsed>> {
    let (wait, serve) = make();
    let end = Instant::now() + SOON;
    let waiter = thread::spawn(move || {
        let waited = time::deadline(end, wait);
        // The scope is over.
        thread::yield_now();
        waited
    });
    thread::yield_now();
    thread::yield_now();
    let is_in_time = Instant::now() < end && {
        serve();
        Instant::now() < end
    };
    hold_the_shard_until(end);
    let waited = waiter.join().unwrap();
    is_in_time.then_some(waited)
}

#[test]
fn what_was_given_before_the_deadline_is_kept_beyond_it() {
    for (name, make) in waits_that_are_served() {
        check(move || {
            let waited = loop {
                if let Some(waited) = served_and_late(make) {
                    break waited;
                }
            };
            assert_eq!(waited, Ok(1), "{name}");
        });
    }
}

#[test]
fn of_two_deadlines_at_once_the_outer_scope_ends() {
    check(|| {
        for outer_is_first in [true, false] {
            let at = Instant::now() + SOON;
            let later = at + Duration::from_nanos(u64::from(outer_is_first));
            let outer = time::deadline(at, || {
                let inner = time::deadline(later, || thread::sleep(HOUR));
                unreachable!("the outer scope is unwound: {inner:?}");
            });
            assert!(outer.is_err());
        }
    });
}

#[test]
fn an_inner_scope_does_not_give_a_retry_loop_more_time() {
    check(|| {
        let (mut socket, _silent) = UnixStream::pair().unwrap();
        for inner in [HOUR, Duration::ZERO] {
            let mut errors = 0;
            let outer = time::timeout(Duration::ZERO, || {
                loop {
                    let read = time::timeout_io(inner, || socket.read(&mut [0]));
                    assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
                    errors += 1;
                    assert!(errors < 16, "it is not unwound");
                }
            });
            assert!(outer.is_err());
            assert_eq!(errors, 15);
        }
    });
}

#[test]
fn polls_that_have_no_time_let_the_others_run() {
    check(|| {
        let turns = Rc::new(Cell::new(0));
        let theirs = turns.clone();
        let other = thread::spawn(move || {
            loop {
                theirs.set(theirs.get() + 1);
                thread::yield_now();
            }
        });
        let (mut socket, mut peer) = UnixStream::pair().unwrap();
        // Each poll has a timeout scope of its own, so that no scope counts them.
        for _ in 0..1000 {
            let polled = time::timeout_io(Duration::ZERO, || socket.read(&mut [0]));
            assert_eq!(polled.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        assert!(turns.get() > 0, "no other ethread has had a turn");
        peer.write_all(b"x").unwrap();
        let polled = time::timeout_io(Duration::ZERO, || socket.read(&mut [0]));
        assert_eq!(polled.unwrap(), 1);
        other.cancel();
        assert!(other.join().is_err());
    });
}

#[test]
fn a_peer_that_is_always_ready_cannot_outrun_a_cancel() {
    check(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let busy = thread::spawn(move || -> io::Result<()> {
            loop {
                ours.write_all(b"x")?;
                theirs.read_exact(&mut [0])?;
            }
        });
        thread::yield_now();
        busy.cancel();
        assert!(busy.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_panic_before_the_next_suspension_point_is_one_though_it_was_cancelled() {
    check(|| {
        let panics = thread::spawn(|| {
            thread::park();
            panic!("first");
        });
        thread::yield_now();
        // The ethread is woken before it is cancelled, so that wait is over.
        panics.thread().unpark();
        panics.cancel();
        assert_eq!(text(&*panics.join().unwrap_err()), "first");
    });
}

#[test]
fn a_panic_after_a_cancel_that_was_caught_is_one() {
    collect_log();
    let panics = || {
        assert!(panic::catch_unwind(|| thread::sleep(HOUR)).is_err());
        panic!("instead of the cancel");
    };
    check(move || {
        let panics = thread::spawn(panics);
        thread::yield_now();
        panics.cancel();
        let payload = panics.join().unwrap_err();
        assert_eq!(text(&*payload), "instead of the cancel");
    });
    // A panic that is not joined is counted and logged.
    let result = fresh(move || {
        ethreads::run_main(move || {
            let builder = thread::Builder::new().name("panics when it is cancelled");
            drop(builder.spawn(panics).unwrap());
            thread::yield_now();
        })
    });
    assert!(matches!(result, Err(RunError::Panicked(1))));
    assert_eq!(logged("'panics when it is cancelled'").len(), 1);
}

#[test]
fn a_cancel_while_it_panics_changes_nothing() {
    check(|| {
        let slot: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let theirs = slot.clone();
        let panics = thread::spawn(move || {
            let _destructor = OnDrop(|| {
                let me = theirs.borrow();
                me.as_ref().unwrap().cancel();
                // These calls are not suspension points while the ethread unwinds.
                thread::yield_now();
                thread::sleep(HOUR);
                let (mut socket, _silent) = UnixStream::pair().unwrap();
                let error = socket.read(&mut [0]).unwrap_err();
                assert!(error.get_ref().unwrap().is::<WouldPark>());
            });
            panic!("it has begun");
        });
        *slot.borrow_mut() = Some(panics);
        thread::yield_now();
        let panics = slot.take().unwrap();
        assert_eq!(text(&*panics.join().unwrap_err()), "it has begun");
        // If the panic is caught, the cancel still takes effect.
        let theirs = slot.clone();
        let panics = thread::spawn(move || {
            let caught = thread::catch_panic(AssertUnwindSafe(|| {
                let _destructor = OnDrop(|| theirs.borrow().as_ref().unwrap().cancel());
                panic!("it is caught");
            }));
            assert!(caught.is_err());
            thread::yield_now();
            unreachable!("the cancel comes here");
        });
        *slot.borrow_mut() = Some(panics);
        thread::yield_now();
        let panics = slot.take().unwrap();
        let joined: Result<(), _> = panics.join();
        assert!(joined.unwrap_err().is::<Cancelled>());
    });
}

/// Unwinds with the given closure as a destructor.
type Unwind = fn(&mut dyn FnMut());

/// Unwindings that are not panics. Each stops at a boundary of its own.
fn unwindings() -> [(&'static str, Unwind); 4] {
    [
        ("deadline", |destructor| {
            let elapsed = time::timeout(Duration::ZERO, || {
                let _destructor = OnDrop(destructor);
                thread::sleep(HOUR);
            });
            elapsed.unwrap_err();
        }),
        ("deadline of an outer scope", |destructor| {
            let elapsed = time::timeout(SOON, || {
                let _ = time::timeout(HOUR, || {
                    let _destructor = OnDrop(destructor);
                    thread::sleep(HOUR);
                });
            });
            elapsed.unwrap_err();
        }),
        ("failure of a scope", |destructor| {
            let failed = panic::catch_unwind(AssertUnwindSafe(|| {
                thread::scope(|scope| {
                    let _destructor = OnDrop(destructor);
                    scope.spawn(|| panic!("of a child"));
                    thread::sleep(HOUR);
                });
            }));
            assert_eq!(text(&*failed.unwrap_err()), "of a child");
        }),
        ("16 errors", |destructor| {
            let (mut socket, _silent) = UnixStream::pair().unwrap();
            let elapsed: Result<(), _> = time::timeout(Duration::ZERO, || {
                let _destructor = OnDrop(destructor);
                loop {
                    assert!(socket.read(&mut [0]).is_err());
                }
            });
            elapsed.unwrap_err();
        }),
    ]
}

#[test]
fn destructors_never_wait_whatever_unwinds() {
    for (name, unwind) in unwindings() {
        check(move || {
            let turns = Rc::new(Cell::new(0));
            let theirs = turns.clone();
            let other = thread::spawn(move || {
                loop {
                    assert!(!std::thread::panicking());
                    theirs.set(theirs.get() + 1);
                    thread::yield_now();
                }
            });
            let mut ran = false;
            unwind(&mut || {
                let before = turns.get();
                thread::sleep(HOUR);
                thread::park();
                thread::yield_now();
                assert_eq!(time::timeout(HOUR, || thread::sleep(HOUR)), Ok(()));
                let (mut socket, _silent) = UnixStream::pair().unwrap();
                let error = socket.read(&mut [0]).unwrap_err();
                assert!(error.get_ref().unwrap().is::<WouldPark>());
                let payload = thread::spawn(|| ()).join().unwrap_err();
                assert!(payload.is::<WouldPark>());
                assert_eq!(turns.get(), before, "{name}: another ethread has run");
                ran = true;
            });
            assert!(ran, "{name}");
            // Afterwards the ethread suspends as usual.
            thread::yield_now();
            thread::sleep(SOON);
            other.cancel();
            assert!(other.join().is_err());
        });
    }
}

#[test]
fn children_may_be_cancelled_at_any_time_and_their_scope_goes_on() {
    check(|| {
        let dropped = Cell::new(0);
        let (ran, ended) = thread::scope(|scope| {
            let witness = OnDrop(|| dropped.set(dropped.get() + 1));
            let unborn = scope.spawn(move || {
                let _witness = witness;
                unreachable!("it was cancelled before");
            });
            unborn.cancel();
            let witness = OnDrop(|| dropped.set(dropped.get() + 1));
            let waits = scope.spawn(move || {
                let _witness = witness;
                thread::sleep(HOUR);
            });
            thread::yield_now();
            waits.cancel();
            let has_ended = scope.spawn(|| 7);
            while !has_ended.is_finished() {
                thread::yield_now();
            }
            has_ended.cancel();
            let unborn: Result<(), _> = unborn.join();
            assert!(unborn.unwrap_err().is::<Cancelled>());
            // One cancelled child is joined, the other is not.
            drop(waits);
            let sibling = scope.spawn(|| {
                thread::sleep(SOON);
                true
            });
            (sibling.join().unwrap(), has_ended.join().unwrap())
        });
        assert_eq!((ran, ended, dropped.get()), (true, 7, 2));
    });
}

#[test]
fn an_ethread_may_cancel_itself_its_parent_or_its_joiner() {
    check(|| {
        let slot: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let theirs = slot.clone();
        let ended = Rc::new(Cell::new(0));
        let count = ended.clone();
        // The child of a scope cancels its parent, which ends the child too.
        *slot.borrow_mut() = Some(thread::spawn(move || {
            let _after = OnDrop(|| count.set(count.get() * 10 + 2));
            thread::scope(|scope| {
                scope.spawn(|| {
                    let _ended = OnDrop(|| count.set(count.get() * 10 + 1));
                    theirs.borrow().as_ref().unwrap().cancel();
                    thread::sleep(HOUR);
                });
            });
            unreachable!("the cancel goes on from the scope");
        }));
        while ended.get() == 0 {
            thread::yield_now();
        }
        assert!(slot.take().unwrap().join().unwrap_err().is::<Cancelled>());
        assert_eq!(ended.get(), 12, "the child ends first");

        // The joined ethread cancels its joiner.
        let theirs = slot.clone();
        let told = Rc::new(Cell::new(false));
        let flag = told.clone();
        let joined = thread::spawn(move || {
            thread::yield_now();
            theirs.borrow().as_ref().unwrap().cancel();
            flag.set(true);
        });
        *slot.borrow_mut() = Some(thread::spawn(move || joined.join().unwrap()));
        while !told.get() {
            thread::yield_now();
        }
        // The cancel comes before there is a result.
        assert!(slot.take().unwrap().join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_cancel_that_comes_with_a_deadline_is_not_lost() {
    check(|| {
        for _ in 0..20 {
            let (mut socket, _silent) = UnixStream::pair().unwrap();
            let waits = thread::spawn(move || {
                loop {
                    let read = time::timeout_io(SOON, || socket.read(&mut [0]));
                    assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
                }
            });
            until_waiting(1);
            // The deadline passes, and the scheduler has not looked yet when the cancel comes.
            hold_the_shard_until(Instant::now() + SOON);
            waits.cancel();
            let joined: Result<(), _> = waits.join();
            assert!(joined.unwrap_err().is::<Cancelled>());
        }
    });
}

#[test]
fn scopes_opened_in_a_mask_work_and_scopes_around_it_wait() {
    check(|| {
        let outer = time::timeout(SOON, || {
            let masked = thread::uncancellable(|| {
                // The outer deadline passes in here.
                let inner = time::timeout(SOON * 2, || thread::sleep(HOUR));
                assert!(inner.is_err(), "it is the inner scope's");
                let (mut socket, _silent) = UnixStream::pair().unwrap();
                let read = time::timeout_io(SOON, || socket.read(&mut [0]));
                let error = read.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                thread::scope(|scope| scope.spawn(|| thread::sleep(SOON)).join()).unwrap();
                "whole"
            });
            assert_eq!(masked, "whole");
            thread::yield_now();
            unreachable!("the outer deadline has passed");
        });
        let outer: Result<(), _> = outer;
        assert!(outer.is_err());
    });
}

#[test]
fn a_logger_that_panics_does_not_get_in_the_way_of_an_interrupt() {
    collect_log();
    fresh(|| {
        on_log(Some(|| panic!("in the logger")));
        let builder = thread::Builder::new().name("stubborn before a logger that panics");
        let stubborn = builder.spawn(|| {
            // The 16th time is logged.
            for _ in 0..15 {
                assert!(panic::catch_unwind(|| thread::park()).is_err());
            }
            thread::park();
        });
        let stubborn = stubborn.unwrap();
        thread::yield_now();
        stubborn.cancel();
        assert!(stubborn.join().unwrap_err().is::<Cancelled>());
        on_log(None);
    });
    assert_eq!(logged("'stubborn before a logger that panics'").len(), 1);
}
