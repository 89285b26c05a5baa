//! Payloads that panic when they are dropped, and payloads that are raised again elsewhere.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::thread::{self, Cancelled};
use ethreads::time::{self, Elapsed};
use ethreads::{RunError, Runtime, bridge, runtime};

use crate::support::{collect_log, fresh, leaving_nothing as check, logged, text};

const HOUR: Duration = Duration::from_secs(3600);

type Payload = Box<dyn Any + Send>;

/// Panics when it is dropped, with a payload that also panics when it is dropped.
struct Explosive(&'static str);

impl Drop for Explosive {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic::panic_any(Self(self.0));
        }
    }
}

/// Returns the payload that `f` unwinds with.
fn caught<R>(f: impl FnOnce() -> R) -> Payload {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it does not panic"),
        Err(payload) => payload,
    }
}

/// Checks the name of an explosive payload, and forgets the payload.
#[track_caller]
fn defuse(payload: Payload, name: &str) {
    let explosive = payload.downcast::<Explosive>().expect("an explosive");
    assert_eq!(explosive.0, name);
    std::mem::forget(explosive);
}

#[test]
fn an_explosive_payload_passes_every_boundary_whole() {
    check(|| {
        fn explode() {
            panic::panic_any(Explosive("passed"));
        }
        defuse(caught(|| time::timeout(HOUR, explode)), "passed");
        defuse(
            caught(|| {
                time::timeout_io(HOUR, || {
                    explode();
                    Ok(())
                })
            }),
            "passed",
        );
        defuse(caught(|| thread::uncancellable(explode)), "passed");
        defuse(thread::catch_panic(explode).unwrap_err(), "passed");
        defuse(caught(|| thread::scope(|_| explode())), "passed");
        let child = || {
            thread::scope(|scope| {
                scope.spawn(explode);
            });
        };
        defuse(caught(child), "passed");
        let joined = || thread::scope(|scope| scope.spawn(explode).join().unwrap_err());
        defuse(joined(), "passed");
        defuse(thread::spawn(explode).join().unwrap_err(), "passed");
        defuse(caught(|| bridge::blocking(explode)), "passed");
        let resumed = || {
            bridge::suspend(|me: bridge::Suspended<()>| {
                assert!(me.resume_with(explode).is_ok());
            });
        };
        defuse(caught(resumed), "passed");
        let beside = || bridge::suspend(|_: bridge::Suspended<()>| explode());
        defuse(caught(beside), "passed");
    });
}

#[test]
fn closures_that_explode_at_the_end_of_a_scope_leave_it_closed() {
    check(|| {
        let explosive = Explosive("captured");
        let elapses = || {
            // The deadline passes. Values that are dropped while it unwinds do not explode. Values
            // that are dropped when the closure returns do.
            time::timeout(Duration::ZERO, move || {
                let _captured = explosive;
                assert!(panic::catch_unwind(|| thread::sleep(HOUR)).is_err());
            })
        };
        defuse(caught(elapses), "captured");
        let explosive = Explosive("captured");
        let masked = || thread::uncancellable(move || drop(explosive));
        defuse(caught(masked), "captured");
        // Neither a deadline nor a mask is left.
        thread::yield_now();
        let waits = thread::spawn(thread::park);
        thread::yield_now();
        waits.cancel();
        assert!(waits.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn an_explosive_in_a_cancelled_ethread_is_a_panic_of_its_own() {
    check(|| {
        // The closure has not begun: it is dropped without being run, on the ethread's own stack.
        let explosive = Explosive("unborn");
        let unborn = thread::spawn(move || drop(explosive));
        unborn.cancel();
        defuse(unborn.join().unwrap_err(), "unborn");
        // The ethread catches its cancel, and drops the explosive when it ends.
        let explosive = Explosive("caught");
        let catches = thread::spawn(move || {
            let _captured = explosive;
            assert!(panic::catch_unwind(|| thread::park()).is_err());
        });
        thread::yield_now();
        catches.cancel();
        defuse(catches.join().unwrap_err(), "caught");
        // The cancel unwinds the ethread. The explosive does not panic while the ethread unwinds.
        let explosive = Explosive("unwound");
        let unwinds = thread::spawn(move || {
            let _captured = explosive;
            thread::park();
        });
        thread::yield_now();
        unwinds.cancel();
        assert!(unwinds.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn explosive_payloads_without_a_join_are_told_and_leaked() {
    collect_log();
    let result = fresh(|| {
        ethreads::run_main(|| {
            let failed = || {
                thread::scope(|scope| {
                    for _ in 0..2 {
                        let builder = thread::Builder::new().name("explodes in its scope");
                        let child = builder.spawn_scoped(scope, || {
                            drop(panic::catch_unwind(|| thread::park()));
                            panic::panic_any(Explosive("of a child"));
                        });
                        drop(child.unwrap());
                    }
                    thread::yield_now();
                    panic!("of the body");
                });
            };
            // One payload is discarded by the other child, and one by the scope.
            assert_eq!(text(&*caught(failed)), "of the body");
            let stats = runtime::stats().unwrap();
            assert_eq!((stats.ethreads, stats.scopes), (1, 0));
        })
    });
    assert!(matches!(result, Err(RunError::Panicked(2))), "{result:?}");
    // A payload that its ethread discards is logged with the name of the ethread.
    assert_eq!(logged("'explodes in its scope'").len(), 2);
}

/// Gets a payload out of an ethread or a scope.
type Steal = fn() -> Payload;

/// Payloads of interrupts that were caught before they reached their boundary. What they end is
/// already over.
fn interrupts() -> [(&'static str, Steal); 4] {
    [
        ("cancel", || {
            let slot = Rc::new(Cell::new(None));
            let theirs = slot.clone();
            let thief = thread::spawn(move || theirs.set(Some(caught(thread::park))));
            thread::yield_now();
            thief.cancel();
            thief.join().unwrap();
            slot.take().unwrap()
        }),
        ("deadline", || {
            let mut payload = None;
            let stolen = time::timeout(Duration::ZERO, || {
                payload = Some(caught(|| thread::sleep(HOUR)));
            });
            assert_eq!(stolen, Ok(()));
            payload.unwrap()
        }),
        ("failure of a scope", || {
            let mut payload = None;
            let failed = || {
                thread::scope(|scope| {
                    scope.spawn(|| panic!("of a child"));
                    payload = Some(caught(|| thread::sleep(HOUR)));
                });
            };
            assert_eq!(text(&*caught(failed)), "of a child");
            payload.unwrap()
        }),
        ("deadline of a parent", || {
            let slot = RefCell::new(None);
            let elapsed = time::timeout(Duration::ZERO, || {
                thread::scope(|scope| {
                    scope.spawn(|| *slot.borrow_mut() = Some(caught(|| thread::sleep(HOUR))));
                });
            });
            assert!(elapsed.is_err());
            slot.take().unwrap()
        }),
    ]
}

/// Raises a payload within boundaries that could mistake it for their own. Returns the payload.
fn raised_within_all(payload: Payload) -> Payload {
    let mut payload = Some(payload);
    let mut again = || panic::resume_unwind(payload.take().unwrap());
    let scoped = caught(|| {
        let _ = time::timeout(HOUR, || {
            thread::scope(|_| thread::uncancellable(&mut again))
        });
        unreachable!("it is not of this timeout");
    });
    // The payload is a panic, not an interrupt, which would pass `catch_panic`.
    thread::catch_panic(AssertUnwindSafe(|| panic::resume_unwind(scoped))).unwrap_err()
}

#[track_caller]
fn assert_is_a_panic<T>(joined: Result<T, Payload>, name: &str) {
    let Err(payload) = joined else {
        panic!("{name}: it is taken for nothing");
    };
    assert!(
        !payload.is::<Cancelled>() && !payload.is::<Elapsed>(),
        "{name}"
    );
}

#[test]
fn an_interrupt_that_is_over_is_a_panic_wherever_it_is_raised() {
    for (name, interrupt) in interrupts() {
        check(move || {
            // The payload is raised in the ethread that had it, and in another ethread, in every
            // boundary.
            let payload = raised_within_all(interrupt());
            let other = thread::spawn(move || {
                let payload = raised_within_all(payload);
                panic::resume_unwind(payload)
            });
            let joined: Result<(), _> = other.join();
            assert_is_a_panic(joined, name);

            // The payload is raised in a child. The scope raises it again as a panic.
            let payload = interrupt();
            let failed = caught(|| {
                thread::scope(|scope| {
                    scope.spawn(|| panic::resume_unwind(payload));
                    thread::sleep(HOUR);
                });
            });
            assert!(
                !failed.is::<Cancelled>() && !failed.is::<Elapsed>(),
                "{name}"
            );
            // No interrupt is left over.
            thread::yield_now();
        });
    }
}

#[test]
fn an_interrupt_that_leaves_its_os_thread_is_a_panic_there() {
    for (name, interrupt) in interrupts() {
        let stolen = move || {
            let slot = Rc::new(Cell::new(None));
            let theirs = slot.clone();
            ethreads::run_main(move || theirs.set(Some(interrupt()))).unwrap();
            slot.take().unwrap()
        };
        // The payload is raised on an OS thread without ethreads.
        let payload = fresh(stolen);
        let plain = std::thread::spawn(move || panic::resume_unwind(payload));
        let joined: Result<(), _> = plain.join();
        assert_is_a_panic(joined, name);

        // The payload is raised in an ethread of another shard, and on that shard's OS thread,
        // outside of ethreads.
        let payload = fresh(stolen);
        fresh(move || {
            let result = Runtime::builder().run(move || {
                let raises = thread::spawn(|| panic::resume_unwind(raised_within_all(payload)));
                let joined: Result<(), _> = raises.join();
                joined.unwrap_err()
            });
            assert_is_a_panic(Err::<(), _>(raised_within_all(result.unwrap())), name);
        });

        // The payload is raised on the pool, and comes back to the waiting ethread.
        let payload = fresh(stolen);
        check(move || {
            let back = || bridge::blocking(move || panic::resume_unwind(payload));
            let payload = raised_within_all(caught(back));
            let waits = thread::spawn(|| bridge::blocking(move || panic::resume_unwind(payload)));
            let joined: Result<(), _> = waits.join();
            assert_is_a_panic(joined, name);
        });
    }
}

/// An interrupt whose scope is not over ends that scope, however deep inside it is raised. Raised
/// in another ethread, it does not.
#[test]
fn an_interrupt_that_was_kept_ends_its_own_scope_only() {
    check(|| {
        let slot: Rc<Cell<Option<Payload>>> = Rc::default();
        let after = Rc::new(Cell::new(false));
        let elapsed = time::timeout(Duration::ZERO, || {
            let payload = caught(|| thread::sleep(HOUR));
            // In another ethread the payload is a panic, and is caught there.
            let theirs = slot.clone();
            let other = thread::spawn(move || theirs.set(Some(raised_within_all(payload))));
            while !other.is_finished() {
                // A suspension point beyond the deadline.
                drop(panic::catch_unwind(|| thread::yield_now()));
            }
            let payload = slot.take().unwrap();
            let _inner = time::timeout(HOUR, || -> () {
                thread::scope(|_| panic::resume_unwind(payload))
            });
            after.set(true);
        });
        assert!(elapsed.is_err());
        assert!(!after.get(), "the inner scope has taken it");
    });
}

#[test]
fn a_joined_interrupt_is_not_taken_for_the_joiners() {
    check(|| {
        let cancelled = || {
            let waits = thread::spawn(thread::park);
            thread::yield_now();
            waits.cancel();
            waits.join().unwrap_err()
        };
        // The payload that a join returns is a plain value: if it is raised, it is a panic.
        let payload = thread::catch_panic(|| panic::resume_unwind(cancelled()));
        assert!(payload.unwrap_err().is::<Cancelled>());
        let raises = caught(|| time::timeout(HOUR, || panic::resume_unwind(cancelled())));
        assert!(raises.is::<Cancelled>());
        let counted = thread::spawn(move || panic::resume_unwind(cancelled()));
        let joined: Result<(), _> = counted.join();
        assert!(joined.unwrap_err().is::<Cancelled>());
    });
    // A payload that is not joined is counted as a panic.
    let result = fresh(|| {
        ethreads::run_main(|| {
            drop(thread::spawn(|| {
                let waits = thread::spawn(thread::park);
                thread::yield_now();
                waits.cancel();
                panic::resume_unwind(waits.join().unwrap_err())
            }));
            (0..5).for_each(|_| thread::yield_now());
        })
    });
    assert!(matches!(result, Err(RunError::Panicked(1))), "{result:?}");
}
