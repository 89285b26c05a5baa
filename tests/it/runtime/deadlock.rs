//! Reports of waits that can never end: in a shard where nothing can happen any more, and in cycles
//! of waiters while the shard goes on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::{Mutex, OnceCell, RwLock, channel};
use ethreads::{Deadlock, Runtime, thread, time};

use crate::support::{OnDrop, collect_log, deadlock, fresh, logged, on_log};

/// Runs the spawned ethreads into a deadlock, cancels all of them, and lets them unwind. Returns
/// the report.
fn report_of_run() -> Deadlock {
    let report = deadlock(ethreads::run());
    report.cancel_all();
    ethreads::run().unwrap();
    report
}

fn named(name: &str, f: impl FnOnce() + 'static) -> thread::JoinHandle<()> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(f).unwrap()
}

/// Spawns two ethreads that each hold one of two locks and want the other lock.
fn embrace(first: &str, second: &str) -> [thread::JoinHandle<()>; 2] {
    let locks = Rc::new((Mutex::new(()), Mutex::new(())));
    let theirs = locks.clone();
    let a = named(first, move || {
        let _mine = theirs.0.lock().unwrap();
        thread::yield_now();
        drop(theirs.1.lock());
    });
    let b = named(second, move || {
        let _mine = locks.1.lock().unwrap();
        thread::yield_now();
        drop(locks.0.lock());
    });
    [a, b]
}

#[test]
fn owners_are_called_by_their_names() {
    fresh(|| {
        let lock = Rc::new((Mutex::new(()), RwLock::new(()), OnceCell::new()));
        let theirs = lock.clone();
        let owner = named("the owner", move || {
            let _guards = (theirs.0.lock().unwrap(), theirs.1.write().unwrap());
            theirs.2.get_or_init(|| thread::park());
        });
        let id = owner.thread().id();
        let wants = lock.clone();
        drop(named("wants the lock", move || drop(wants.0.lock())));
        let wants = lock.clone();
        drop(named("wants to read", move || drop(wants.1.read())));
        drop(named("wants the value", move || {
            lock.2.get_or_init(|| ()).to_owned()
        }));
        drop(named("wants the end", move || drop(owner.join())));
        let report = report_of_run();
        let waits_for: Vec<_> = report.parked().iter().map(|p| &*p.waits_for).collect();
        let owner = format!("'the owner' ({id})");
        assert_eq!(
            waits_for,
            [
                "unpark".to_owned(),
                format!("a lock that ethread {owner} holds"),
                format!("a lock that ethread {owner} holds"),
                format!("a value that ethread {owner} makes"),
                format!("the end of ethread {owner}"),
            ]
        );
    });
}

#[test]
fn one_that_has_ended_with_a_lock_is_called_by_its_number() {
    fresh(|| {
        let lock = Rc::new(Mutex::new(()));
        let theirs = lock.clone();
        let owner = named("gone", move || std::mem::forget(theirs.lock()));
        let id = owner.thread().id();
        drop(owner);
        thread::yield_now();
        // The new ethread takes the slot of the ended owner.
        drop(named("new", || thread::park()));
        drop(thread::spawn(move || drop(lock.lock())));
        let report = report_of_run();
        let last = &report.parked()[1];
        assert_eq!(last.waits_for, format!("a lock that ethread {id} holds"));
    });
}

#[test]
fn a_circle_is_told_while_the_rest_goes_on() {
    fresh(|| {
        collect_log();
        let embraced = embrace("Romeo", "Juliet");
        let rest = thread::spawn(|| (0..10).for_each(|_| thread::yield_now()));
        rest.join().unwrap();
        let told = logged("'Romeo'");
        assert_eq!(told.len(), 1, "{told:?}");
        let [a, b] = embraced.each_ref().map(|ethread| ethread.thread().id());
        let lines: Vec<_> = told[0].lines().collect();
        assert!(
            lines[0].contains("these ethreads wait for each other"),
            "{told:?}"
        );
        let juliet = format!("ethread 'Juliet' ({b}) waits for a lock that ethread 'Romeo' ({a})");
        let romeo = format!("ethread 'Romeo' ({a}) waits for a lock that ethread 'Juliet' ({b})");
        assert!(lines[1].trim().starts_with(&juliet), "{told:?}");
        assert!(lines[2].trim().starts_with(&romeo), "{told:?}");
        assert!(
            lines[1].contains("tests/it/runtime/deadlock.rs:"),
            "{told:?}"
        );
        embraced.iter().for_each(thread::JoinHandle::cancel);
        for ethread in embraced {
            assert!(ethread.join().is_err());
        }
    });
}

#[test]
fn a_circle_of_joins_and_locks_is_told_where_it_closes() {
    fresh(|| {
        collect_log();
        let lock = Rc::new(Mutex::new(()));
        let theirs = lock.clone();
        let first = named("first of three", move || {
            let _mine = theirs.lock().unwrap();
            thread::park();
            // By now the third ethread waits for the lock, and the second for the end of the third.
            SECOND.with(|second| second.take().unwrap().join().unwrap());
        });
        let third = named("third of three", move || drop(lock.lock()));
        let second = named("second of three", move || third.join().unwrap());
        SECOND.with(|slot| slot.set(Some(second)));
        thread::yield_now();
        assert!(logged("of three'").is_empty(), "it is not closed yet");
        first.thread().unpark();
        thread::yield_now();
        thread::yield_now();
        let told = logged("of three'");
        assert_eq!((told.len(), told[0].lines().count()), (1, 4), "{told:?}");
        first.cancel();
        // The ethreads that wait for the first one, directly or not, go on.
        assert!(first.join().is_err());
    });

    thread_local! {
        static SECOND: Cell<Option<thread::JoinHandle<()>>> = const { Cell::new(None) };
    }
}

#[test]
fn an_ethread_that_waits_for_itself_is_a_circle_of_one() {
    fresh(|| {
        collect_log();
        let again = named("locks twice", || {
            let lock = Mutex::new(());
            let _guard = lock.lock().unwrap();
            drop(lock.lock());
        });
        thread::yield_now();
        thread::yield_now();
        assert_eq!(logged("'locks twice'").len(), 1);
        again.cancel();
        assert!(again.join().is_err());
    });
}

#[test]
fn an_ethread_that_wants_a_lock_back_waits_for_its_new_owner() {
    fresh(|| {
        collect_log();
        let locks = Rc::new((Mutex::new(()), RwLock::new(())));
        let theirs = locks.clone();
        let back = named("wants it back", move || {
            let (mutex, rwlock) = (theirs.0.lock().unwrap(), theirs.1.write().unwrap());
            thread::yield_now();
            // The next waiter owns the lock from here on, and has not run yet.
            drop(mutex);
            drop(theirs.0.lock());
            drop(rwlock);
            drop(theirs.1.write());
        });
        thread::yield_now();
        drop(locks.0.lock());
        drop(locks.1.write());
        back.join().unwrap();
        // A cycle would be reported in this turn.
        thread::yield_now();
        assert!(logged("'wants it back'").is_empty());
    });
}

#[test]
fn the_os_threads_own_wait_may_close_a_circle() {
    let caught = std::panic::catch_unwind(|| {
        fresh(|| {
            collect_log();
            let lock = Rc::new(Mutex::new(()));
            let theirs = lock.clone();
            let wants = named("wants the main thread's", move || drop(theirs.lock()));
            let _guard = lock.lock().unwrap();
            thread::yield_now();
            wants.join().unwrap();
        });
    });
    assert!(caught.is_err(), "no other ethread could go on");
    let told = logged("'wants the main thread's'");
    assert!(
        told.iter()
            .any(|text| text.contains("these ethreads wait for each other")),
        "{told:?}"
    );
}

#[test]
fn a_wait_that_ends_by_itself_closes_no_circle() {
    fresh(|| {
        collect_log();
        let locks = Rc::new((Mutex::new(()), Mutex::new(())));
        let theirs = locks.clone();
        let patient = named("patient", move || {
            let _mine = theirs.0.lock().unwrap();
            thread::yield_now();
            drop(theirs.1.lock());
        });
        let impatient = named("impatient", move || {
            let _mine = locks.1.lock().unwrap();
            thread::yield_now();
            let locked = time::timeout(Duration::from_millis(1), || drop(locks.0.lock()));
            assert!(locked.is_err());
        });
        impatient.join().unwrap();
        patient.join().unwrap();
        assert!(logged("'patient'").is_empty());
    });
}

#[test]
fn a_waiter_for_a_circle_of_others_is_not_in_it() {
    fresh(|| {
        collect_log();
        let [a, b] = embrace("left in a circle", "right in a circle");
        let joins = named("outside of it", move || drop(a.join()));
        for _ in 0..3 {
            thread::yield_now();
        }
        assert_eq!(logged("in a circle'").len(), 1);
        assert!(logged("'outside of it'").is_empty());
        b.cancel();
        assert!(b.join().is_err());
        joins.join().unwrap();
    });
}

#[test]
fn an_unwinding_ethread_does_not_wait_and_closes_no_circle() {
    fresh(|| {
        collect_log();
        let slot: Rc<RefCell<Option<thread::JoinHandle<()>>>> = Rc::default();
        let other = slot.clone();
        let unwinds = named("unwinds in a ring", move || {
            let _joins = OnDrop(move || assert!(other.take().unwrap().join().is_err()));
            thread::yield_now();
            panic!("as it should");
        });
        let joins = named("joins in a ring", move || assert!(unwinds.join().is_err()));
        slot.replace(Some(joins));
        ethreads::run().unwrap();
        assert!(logged("in a ring'").is_empty());
    });
}

#[test]
fn a_cancelled_ethread_does_not_wait_and_closes_no_circle() {
    fresh(|| {
        collect_log();
        let locks = Rc::new((Mutex::new(()), Mutex::new(())));
        let theirs = locks.clone();
        let me: Rc<RefCell<Option<thread::JoinHandle<()>>>> = Rc::default();
        let slot = me.clone();
        let cancelled = named("cancelled in time", move || {
            let _mine = theirs.0.lock().unwrap();
            thread::yield_now();
            slot.take().unwrap().cancel();
            drop(theirs.1.lock());
        });
        me.replace(Some(cancelled));
        let other = named("goes on in time", move || {
            let _mine = locks.1.lock().unwrap();
            assert!(locks.0.lock().is_err(), "its holder has unwound");
        });
        other.join().unwrap();
        assert!(logged("in time'").is_empty());
    });
}

/// After a hand-over the waiters further back in the wait queue wait for the new owner too.
#[test]
fn a_lock_that_was_handed_over_closes_no_circle_with_its_last_holder() {
    fresh(|| {
        collect_log();
        let lock = Rc::new((Mutex::new(()), RwLock::new(())));
        let other = Rc::new(Mutex::new(()));
        for rw in [false, true] {
            let (first, wanted) = (lock.clone(), other.clone());
            let had = named("had the lock", move || {
                let guards = if rw {
                    (None, Some(first.1.write().unwrap()))
                } else {
                    (Some(first.0.lock().unwrap()), None)
                };
                thread::yield_now();
                thread::yield_now();
                drop(guards);
                drop(wanted.lock());
            });
            let take = move |lock: &(Mutex<()>, RwLock<()>)| {
                if rw {
                    drop(lock.1.write());
                } else {
                    drop(lock.0.lock());
                }
            };
            let next = lock.clone();
            let next = named("had the lock next", move || take(&next));
            let (behind, mine) = (lock.clone(), other.clone());
            let behind = named("had the lock last", move || {
                let _mine = mine.lock().unwrap();
                take(&behind);
            });
            for ethread in [had, next, behind] {
                ethread.join().unwrap();
            }
        }
        let told = logged("'had the lock");
        assert!(told.is_empty(), "{told:?}");
    });
}

#[test]
fn a_value_that_another_ethread_makes_now_closes_no_circle_with_the_failed_maker() {
    fresh(|| {
        collect_log();
        let cell = Rc::new(OnceCell::new());
        let slot: Rc<RefCell<Option<thread::JoinHandle<()>>>> = Rc::default();
        let (first, last) = (cell.clone(), slot.clone());
        let failed = named("failed to make it", move || {
            let made = first.get_or_try_init(|| {
                thread::yield_now();
                thread::yield_now();
                Err(())
            });
            assert!(made.is_err());
            last.take().unwrap().join().unwrap();
        });
        let next = cell.clone();
        let next = named("next to make it", move || {
            next.get_or_init(|| {
                thread::yield_now();
                1
            });
        });
        let last = named("last to make it", move || {
            assert_eq!(*cell.get_or_init(|| 2), 1)
        });
        slot.replace(Some(last));
        failed.join().unwrap();
        next.join().unwrap();
        let told = logged("to make it'");
        assert!(told.is_empty(), "{told:?}");
    });
}

#[test]
fn a_circle_with_the_new_owner_of_a_lock_is_told() {
    fresh(|| {
        collect_log();
        let locks = Rc::new((Mutex::new(()), Mutex::new(())));
        let first = locks.clone();
        let had = named("had it once", move || {
            let _lock = first.0.lock().unwrap();
            thread::yield_now();
            thread::yield_now();
        });
        let next = locks.clone();
        let next = named("has it now", move || {
            let _lock = next.0.lock().unwrap();
            drop(next.1.lock());
        });
        let last = named("waits for it", move || {
            let _mine = locks.1.lock().unwrap();
            drop(locks.0.lock());
        });
        had.join().unwrap();
        thread::yield_now();
        thread::yield_now();
        let told = logged("'waits for it'");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!told[0].contains("'had it once'"), "{told:?}");
        let holder = format!(
            "a lock that ethread 'has it now' ({}) holds",
            next.thread().id()
        );
        assert!(told[0].contains(&holder), "{told:?}");
        next.cancel();
        assert!(next.join().is_err());
        last.join().unwrap();
    });
}

/// No ethread waits for the logger, so the reported cycle may end while the logger waits.
#[test]
fn a_logger_that_waits_may_see_the_end_of_the_circle() {
    thread_local! {
        static WAITED: Cell<bool> = const { Cell::new(false) };
    }

    fn wait_once() {
        if !WAITED.replace(true) {
            (0..5).for_each(|_| thread::yield_now());
        }
    }

    fresh(|| {
        collect_log();
        for round in 0..3 {
            WAITED.set(false);
            let slot: Rc<RefCell<Option<Box<dyn std::any::Any>>>> = Rc::default();
            let theirs = slot.clone();
            // The ethread waits for itself, until the test drops the guard in `slot`.
            let wants = named("wants it again", move || match round {
                0 => {
                    let lock: &'static Mutex<()> = Box::leak(Box::default());
                    theirs.replace(Some(Box::new(lock.lock().unwrap())));
                    drop(lock.lock());
                }
                1 => {
                    let lock: &'static RwLock<()> = Box::leak(Box::default());
                    theirs.replace(Some(Box::new(lock.write().unwrap())));
                    drop(lock.read());
                }
                _ => {
                    let lock: &'static Mutex<()> = Box::leak(Box::default());
                    let guard = lock.lock().unwrap();
                    let joined = thread::spawn(move || drop(lock.lock()));
                    thread::yield_now();
                    theirs.replace(Some(Box::new(guard)));
                    joined.join().unwrap();
                }
            });
            on_log(Some(wait_once));
            while !WAITED.get() {
                thread::yield_now();
            }
            drop(slot.take());
            let joined = time::timeout(Duration::from_secs(60), || wants.join());
            on_log(None);
            assert!(joined.is_ok_and(|joined| joined.is_ok()), "round {round}");
        }
    });
}

#[test]
fn what_was_left_locked_by_another_shard_of_the_thread_is_waited_for_like_anything() {
    fresh(|| {
        let lock = Rc::new(Mutex::new(()));
        let theirs = lock.clone();
        let first = Runtime::builder().grace(Duration::from_millis(1));
        let left = first.run(move || {
            // These ethreads give the holder a slot that the next shard does not have.
            (0..10).for_each(|_| drop(thread::spawn(|| thread::sleep(Duration::from_secs(1)))));
            drop(thread::spawn(move || {
                let _guard = theirs.lock();
                thread::uncancellable(|| thread::park());
            }));
            thread::yield_now();
        });
        left.unwrap();
        let second = Runtime::builder().run(move || {
            time::timeout(Duration::from_millis(1), || drop(lock.lock())).unwrap_err();
        });
        second.unwrap();
    });
}

#[test]
fn a_holder_that_is_no_ethread_has_no_number() {
    fresh(|| {
        let lock = Rc::new(Mutex::new(()));
        let _guard = lock.lock().unwrap();
        let theirs = lock.clone();
        drop(thread::spawn(move || drop(theirs.lock())));
        let report = report_of_run();
        let waits_for = &report.parked()[0].waits_for;
        assert_eq!(
            waits_for,
            "a lock that was taken before there were ethreads"
        );
    });
}

#[inline(never)]
fn wait_in_vain() {
    std::hint::black_box(());
    thread::park();
    std::hint::black_box(());
}

#[test]
fn a_report_has_the_calls_of_each_ethread() {
    fresh(|| {
        drop(named("deep", || {
            std::hint::black_box(());
            wait_in_vain();
        }));
        let report = report_of_run();
        let backtrace = report.parked()[0]
            .backtrace
            .as_ref()
            .expect("there is room for one");
        let calls = backtrace.to_string();
        let lines: Vec<_> = calls.lines().collect();
        assert!(lines[0].contains("wait_in_vain"), "{calls}");
        assert!(lines[0].contains("deadlock.rs:"), "{calls}");
        // The second line is the closure, which may lack its path in a release build. Nothing
        // around the closure is listed.
        assert_eq!(lines.len(), 2, "{calls}");
        assert!(lines[1].contains("deadlock.rs:"), "{calls}");
        // The plain format has no calls; the alternate format has them.
        assert!(!report.to_string().contains("wait_in_vain"), "{report}");
        assert!(format!("{report:#}").contains("wait_in_vain"), "{report:#}");
        let again = backtrace.to_string();
        assert_eq!(calls, again);
    });
}

#[test]
fn an_ethread_goes_on_after_it_was_traced() {
    fresh(|| {
        let (waits, told) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (counts, tells) = (waits.clone(), told.clone());
        let ethread = thread::spawn(move || {
            let local = [7; 64];
            for _ in 0..3 {
                counts.set(counts.get() + 1);
                // The closure of `suspend` is called once, even if the ethread is traced.
                ethreads::bridge::suspend(|me: ethreads::bridge::Suspended<()>| {
                    tells.set(tells.get() + 1);
                    LAST.set(Some(me));
                });
                assert_eq!(local, [7; 64]);
            }
        });
        for turn in 1..=3 {
            let report = deadlock(ethreads::run());
            assert!(report.parked()[0].backtrace.is_some());
            assert_eq!((waits.get(), told.get()), (turn, turn));
            LAST.take().unwrap().resume(()).unwrap();
        }
        ethreads::run().unwrap();
        assert!(ethread.is_finished());
    });

    thread_local! {
        static LAST: Cell<Option<ethreads::bridge::Suspended<()>>> = const { Cell::new(None) };
    }
}

#[test]
fn a_call_through_std_is_told_with_the_code_that_made_it() {
    fresh(|| {
        drop(named("counts", || {
            let (sender, receiver) = channel::unbounded::<u8>();
            assert_eq!(receiver.iter().fold(0, |count, _| count + 1), 0);
            drop(sender);
        }));
        let report = report_of_run();
        let location = report.parked()[0].location.file();
        assert!(location.contains("library/core/"), "{location}");
        let report = report.to_string();
        let (_, code) = report.split_once(", in ").expect("it is told");
        assert!(code.contains("tests/it/runtime/deadlock.rs:"), "{report}");
    });
}

#[test]
fn one_without_room_for_it_has_no_backtrace() {
    /// Leaves less room than a backtrace needs on a stack of 256 KiB.
    #[inline(never)]
    fn fill_and_park() {
        let mut filled = [1u8; 232 << 10];
        std::hint::black_box(&mut filled);
        thread::park();
        std::hint::black_box(&filled);
    }
    fresh(|| {
        let small = thread::Builder::new().stack_size(256 << 10);
        drop(small.spawn(fill_and_park).unwrap());
        let report = report_of_run();
        assert!(report.parked()[0].backtrace.is_none());
    });
}

/// Names and lines are not looked up on the stack of the reported ethread.
#[test]
fn a_circle_of_ethreads_with_little_stack_is_told() {
    fresh(|| {
        collect_log();
        let small = || thread::Builder::new().stack_size(64 << 10);
        let again = small().name("has little stack".to_owned()).spawn(|| {
            let lock = Mutex::new(());
            let _guard = lock.lock().unwrap();
            drop(lock.lock());
        });
        let again = again.unwrap();
        thread::yield_now();
        thread::yield_now();
        assert_eq!(logged("'has little stack'").len(), 1);
        again.cancel();
        assert!(again.join().is_err());
    });
}
